import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.errors import EvaluationRefused
from app.quality.datasets import Dataset, Gold, read_dataset

FIXTURE = Path(__file__).parents[1] / "fixtures" / "answers"


def read(folder: Path, limit: int | None = None, abstain_split: bool = False) -> Dataset:
    return read_dataset(folder, for_answers=True, limit=limit, abstain_split=abstain_split)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "answers"))


def ask(folder: Path, **fields: object) -> None:
    """Make one more question, by default an answerable one."""
    record = {"query_id": "new", "question": "?", "relevant": {}} | fields
    with (folder / "queries.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_answerable_and_unanswerable_questions_are_kept(folder: Path) -> None:
    dataset = read(folder)
    assert [
        q.question_id for q in dataset.questions
    ] == "ru-1 ru-2 ru-3 en-1 en-2 en-3 ru-4".split()
    assert [q.gold.answerable for q in dataset.questions] == [True, True, False] * 2 + [True]
    assert dataset.questions[0].gold == Gold((("двадцать восемь дней", "28 дней"),))
    assert dataset.questions[4].gold == Gold((), "A lost badge is blocked by the guards.")
    assert dataset.left_out == 1
    assert read_dataset(folder).left_out == 2


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"answers": ["a", "b"]}, (("a", "b"),)),
        ({"answers": ["a", "b", " "], "answer_type": "list"}, (("a",), ("b",))),
        ({"answers": ["a"], "meta": {"key_facts": [["x", "y"], ["z"]]}}, (("x", "y"), ("z",))),
    ],
)
def test_what_an_answer_must_hold(
    folder: Path, fields: dict[str, object], groups: tuple[tuple[str, ...], ...]
) -> None:
    ask(folder, **fields)
    assert read(folder).questions[-1].gold == Gold(groups)


def test_a_limit_spreads_over_the_questions(folder: Path) -> None:
    assert [q.question_id for q in read(folder, limit=2).questions] == ["ru-1", "en-1"]
    assert len(read(folder, limit=99).questions) == 7


def test_a_split_takes_documents_and_answers_away(folder: Path) -> None:
    dataset = read(folder, abstain_split=True)
    assert dataset.name == "answers (abstain split)"
    left = [document.document_id for document in dataset.documents]
    assert left == ["leave-ru", "leave-en", "badge-en", "cafe-ru"]
    lost = dataset.questions[1]
    assert (lost.gold.answerable, lost.relevant) == (False, {})


def test_digests_follow_the_gold_answers(folder: Path) -> None:
    before = read(folder)
    lines = (folder / "queries.jsonl").read_text("utf-8")
    (folder / "queries.jsonl").write_text(lines.replace("28 дней", "29 дней"), "utf-8")
    after = read(folder)
    assert before.questions_sha256() == after.questions_sha256()
    assert before.gold_sha256() != after.gold_sha256()


def split_off(folder: Path, content: str) -> None:
    (folder / "abstain_split.json").write_text(content)


def only_unjudged(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    ask(folder)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown word": (
        lambda f: ask(f, answerable="maybe"),
        r"answers/queries\.jsonl, line 9: Invalid enum value 'maybe' - at `\$\.answerable`",
    ),
    "no list": (
        lambda f: ask(f, answers="red"),
        r"queries\.jsonl, line 9: Expected `array`, got `str` - at `\$\.answers`",
    ),
    "empty question": (
        lambda f: ask(f, question=" "),
        r"queries\.jsonl, line 9: the question is empty",
    ),
    "nothing judged": (
        only_unjudged,
        r"queries\.jsonl: no question has a gold answer or is unanswerable",
    ),
    "no split": (
        lambda f: (f / "abstain_split.json").unlink(),
        r"answers/abstain_split\.json: No such file",
    ),
    "broken split": (
        lambda f: split_off(f, "{}"),
        r"abstain_split\.json: Object missing required field `drop_doc_ids`",
    ),
    "unknown document in the split": (
        lambda f: split_off(f, '{"drop_doc_ids": ["d9"], "unanswerable_query_ids": []}'),
        r"abstain_split\.json: there is no document 'd9'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(folder: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    change(folder)
    with pytest.raises(EvaluationRefused, match=message):
        read(folder, abstain_split="split" in fault)
