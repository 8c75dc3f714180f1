import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import EvaluationRefused
from app.domain.follow_ups import Turn
from app.quality.datasets import CorpusDocument, JudgedQuestion, read_dataset

Change = Callable[[Path], object]


def write_lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")


def append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A dataset in Opora's own layout."""
    folder = tmp_path / "own"
    write_lines(
        folder / "corpus.jsonl",
        {"doc_id": "d1", "title": "Отпуск", "text": "Отпуск длится 28 дней.", "lang": "ru"},
        {"doc_id": "d2", "title": "", "text": "# Badges\n\nThey open doors.", "meta": {"a": 1}},
    )
    write_lines(
        folder / "queries.jsonl",
        {
            "query_id": "q1",
            "question": "Сколько он длится?",
            "lang": "ru",
            "relevant": {"d1": 2, "d2": 0},
            "history": [
                {"role": "user", "content": "Есть ли отпуск?"},
                {"role": "assistant", "content": "Да."},
            ],
            "meta": {"rewrite": "Сколько длится отпуск?"},
        },
        {"query_id": "q2", "question": "What opens doors?", "relevant": {"d2": 1}},
        {"query_id": "q3", "question": "Who?", "lang": "en", "relevant": {}},
    )
    write_lines(
        folder / "corpus_noq.jsonl", {"doc_id": "d2", "title": "B", "text": "They open doors."}
    )
    return folder


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A dataset in the layout of BEIR."""
    folder = tmp_path / "beir"
    write_lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "Отпуск", "text": "Отпуск длится 28 дней."},
        {"_id": "d2", "title": "", "text": "Badges open doors."},
    )
    write_lines(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "Сколько длится отпуск?"},
        {"_id": "q2", "text": "What opens doors?"},
        {"_id": "q3", "text": "Unjudged?"},
    )
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"
    )
    return folder


def test_own_layout(own: Path) -> None:
    dataset = read_dataset(own)
    assert dataset.name == "own"
    assert dataset.documents == (
        CorpusDocument("d1", "Отпуск", "Отпуск длится 28 дней."),
        CorpusDocument("d2", "", "# Badges\n\nThey open doors."),
    )
    assert dataset.questions == (
        JudgedQuestion(
            "q1", "Сколько он длится?", "ru", {"d1": 2}, (Turn("Есть ли отпуск?", "Да."),)
        ),
        JudgedQuestion("q2", "What opens doors?", "en", {"d2": 1}),
    )
    assert dataset.left_out == 1


def test_beir_layout(beir: Path) -> None:
    dataset = read_dataset(beir)
    assert [document.document_id for document in dataset.documents] == ["d1", "d2"]
    assert dataset.questions == (
        JudgedQuestion("q1", "Сколько длится отпуск?", "ru", {"d1": 2}),
        JudgedQuestion("q2", "What opens doors?", "en", {"d2": 1}),
    )
    assert dataset.left_out == 1


def test_the_only_split_is_taken(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "dev.tsv")
    assert len(read_dataset(beir).questions) == 2


def test_a_missing_split_among_several_is_named(beir: Path) -> None:
    for name in ("dev", "train"):
        (beir / "qrels" / f"{name}.tsv").write_bytes((beir / "qrels" / "test.tsv").read_bytes())
    with pytest.raises(EvaluationRefused, match=r"qrels/other\.tsv: No such file"):
        read_dataset(beir, split="other")


def test_options(own: Path) -> None:
    rewritten = read_dataset(own, rewritten=True, limit=1)
    assert rewritten.questions == (JudgedQuestion("q1", "Сколько длится отпуск?", "ru", {"d1": 2}),)
    hard = read_dataset(own, hard=True)
    assert hard.name == "own (hard)"
    assert hard.documents[1] == CorpusDocument("d2", "B", "They open doors.")
    others = own / "others.jsonl"
    write_lines(others, {"query_id": "q9", "question": "Doors?", "relevant": {"d2": 1}})
    assert [q.question_id for q in read_dataset(own, questions=others).questions] == ["q9"]


def test_files(own: Path) -> None:
    (own / "corpus.jsonl").unlink()
    write_lines(
        own / "files.jsonl",
        {"file_id": "d1", "path": "a.txt", "bytes": 1},
        {"file_id": "d2", "path": "b.txt"},
    )
    (own / "a.txt").write_text("a")
    with pytest.raises(EvaluationRefused, match=r"files\.jsonl, line 2: there is no file 'b\.txt'"):
        read_dataset(own)
    (own / "b.txt").write_text("b")
    dataset = read_dataset(own)
    assert dataset.documents[1] == CorpusDocument("d2", "", own / "b.txt")
    before = dataset.documents_sha256()
    (own / "b.txt").write_text("c")
    assert dataset.documents_sha256() != before


def test_digests_follow_texts_and_judgements(own: Path) -> None:
    plain, hard = read_dataset(own), read_dataset(own, hard=True)
    assert plain.documents_sha256() == read_dataset(own).documents_sha256()
    assert plain.documents_sha256() != hard.documents_sha256()
    assert plain.questions_sha256() == hard.questions_sha256()
    assert plain.questions_sha256() != read_dataset(own, rewritten=True).questions_sha256()


DOCUMENT = '{"doc_id": "d1", "text": "again"}'
OWN_FAULTS: dict[str, tuple[Change, str]] = {
    "no corpus": (
        lambda f: (f / "corpus.jsonl").unlink(),
        r"own/corpus\.jsonl: No such file or directory",
    ),
    "no questions": (
        lambda f: (f / "queries.jsonl").unlink(),
        r"own/queries\.jsonl: No such file or directory",
    ),
    "broken JSON": (
        lambda f: append(f / "corpus.jsonl", '{"doc_id": '),
        r"corpus\.jsonl, line 3: Input data was truncated",
    ),
    "no object": (lambda f: append(f / "corpus.jsonl", "[1]"), r"corpus\.jsonl, line 3: Expected"),
    "no text": (
        lambda f: append(f / "corpus.jsonl", '{"doc_id": "d3"}'),
        r"corpus\.jsonl, line 3: Object missing required field `text`",
    ),
    "no UTF-8": (
        lambda f: (f / "queries.jsonl").write_bytes(b'{"query_id": "\xff"}\n'),
        r"queries\.jsonl, line 1: not UTF-8",
    ),
    "document twice": (
        lambda f: append(f / "corpus.jsonl", DOCUMENT),
        r"corpus\.jsonl, line 3: 'd1' stands twice",
    ),
    "question twice": (
        lambda f: append(
            f / "queries.jsonl", '{"query_id": "q1", "question": "?", "relevant": {}}'
        ),
        r"queries\.jsonl, line 4: 'q1' stands twice",
    ),
    "unknown document": (
        lambda f: append(
            f / "queries.jsonl", '{"query_id": "q4", "question": "?", "relevant": {"d9": 1}}'
        ),
        r"queries\.jsonl, line 4: there is no document 'd9'",
    ),
    "nothing judged": (
        lambda f: write_lines(
            f / "queries.jsonl", {"query_id": "q1", "question": "?", "relevant": {"d1": 0}}
        ),
        r"queries\.jsonl: no question has a relevant document",
    ),
}
BEIR_FAULTS: dict[str, tuple[Change, str]] = {
    "no qrels": (
        lambda f: (f / "qrels" / "test.tsv").unlink(),
        r"beir/qrels/test\.tsv: No such file or directory",
    ),
    "no header": (
        lambda f: (f / "qrels" / "test.tsv").write_text("q1\td1\t1\n"),
        r"test\.tsv, line 1: the header is not query-id corpus-id score",
    ),
    "empty qrels": (
        lambda f: (f / "qrels" / "test.tsv").write_text(""),
        r"test\.tsv, line 1: the header is not",
    ),
    "too few columns": (
        lambda f: append(f / "qrels" / "test.tsv", "q1\td1"),
        r"test\.tsv, line 5: not a question's id, a document's id and a whole number",
    ),
    "no number": (
        lambda f: append(f / "qrels" / "test.tsv", "q3\td1\tyes"),
        r"test\.tsv, line 5: not a question's id, a document's id and a whole number",
    ),
    "unknown document": (
        lambda f: append(f / "qrels" / "test.tsv", "q1\td9\t1"),
        r"test\.tsv, line 5: there is no document 'd9'",
    ),
    "unknown question": (
        lambda f: append(f / "qrels" / "test.tsv", "q9\td1\t1"),
        r"test\.tsv, line 5: there is no question 'q9'",
    ),
    "judged twice": (
        lambda f: append(f / "qrels" / "test.tsv", "q1\td1\t1"),
        r"test\.tsv, line 5: 'q1' and 'd1' stand twice",
    ),
    "document twice": (
        lambda f: append(f / "corpus.jsonl", '{"_id": "d2", "text": "again"}'),
        r"corpus\.jsonl, line 3: 'd2' stands twice",
    ),
}


@pytest.mark.parametrize("fault", OWN_FAULTS)
def test_faults_of_the_own_layout_are_named(own: Path, fault: str) -> None:
    change, message = OWN_FAULTS[fault]
    change(own)
    with pytest.raises(EvaluationRefused, match=message):
        read_dataset(own)


@pytest.mark.parametrize("fault", BEIR_FAULTS)
def test_faults_of_beir_are_named(beir: Path, fault: str) -> None:
    change, message = BEIR_FAULTS[fault]
    change(beir)
    with pytest.raises(EvaluationRefused, match=message):
        read_dataset(beir)


def test_a_hard_corpus_must_be_there_and_replace(own: Path) -> None:
    append(own / "corpus_noq.jsonl", '{"doc_id": "d9", "text": "new"}')
    with pytest.raises(EvaluationRefused, match=r"corpus_noq\.jsonl: 'd9' is in no document's"):
        read_dataset(own, hard=True)
    (own / "corpus_noq.jsonl").unlink()
    with pytest.raises(EvaluationRefused, match=r"corpus_noq\.jsonl: No such file"):
        read_dataset(own, hard=True)
