"""Datasets: a folder with documents, questions, which document answers which, and gold answers.

Three layouts are read and told apart by what is in the folder:

- BEIR (Thakur et al. 2021): `corpus.jsonl` with `_id`, `title`, `text`; `queries.jsonl` with `_id`,
  `text`; `qrels/<split>.tsv` with the columns `query-id`, `corpus-id`, `score` under a header.
- Opora's own: `corpus.jsonl` with `doc_id`, `title`, `text`; `queries.jsonl` with `query_id`,
  `question`, `lang`, `relevant` ({doc_id: grade}), `history` (turns before: `role`, `content`); for
  answers `answerable` (`yes`, `no`, or what is left out), `answers` (short ones; any is right, all
  where `answer_type` is `list`), `gold_answer` (a long one), `meta.key_facts` (groups of
  alternatives). `abstain_split.json` names documents to leave out and the questions that then have
  no answer.
- Files: `files.jsonl` with `file_id`, `path` in place of the corpus, and the same `queries.jsonl`.

A grade above 0 makes a document relevant. Texts are Markdown, of which plain text is a case.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from app.domain.errors import EvaluationRefused
from app.domain.follow_ups import Turn
from app.domain.text import guess_language
from app.quality.records import by_id, check_known, lines, records

_QRELS_HEADER = ["query-id", "corpus-id", "score"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """What is to be indexed: `content` is Markdown, or the path of a file."""

    document_id: str
    title: str
    content: str | Path = field(repr=False)


@dataclass(frozen=True, slots=True)
class Gold:
    """What a right answer holds: of each group one alternative; `text` is a long right answer.

    `answerable` is None where a question is neither clearly answerable nor clearly not.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    text: str = ""
    answerable: bool | None = True

    @property
    def judges(self) -> bool:
        """Whether an answer can be compared with it."""
        return self.answerable is False or bool(self.answerable and (self.groups or self.text))


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question with the turns before it and the grades of its relevant documents, all above 0."""

    question_id: str
    text: str
    language: str
    relevant: Mapping[str, int]
    history: tuple[Turn, ...] = ()
    gold: Gold = Gold()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus, the questions that can be judged on it, and how many others were left out."""

    name: str
    documents: tuple[CorpusDocument, ...] = field(repr=False)
    questions: tuple[JudgedQuestion, ...] = field(repr=False)
    left_out: int

    def documents_sha256(self) -> str:
        """A name of the corpus that changes with any text or file of it."""
        return _sha256((d.document_id, d.title, _content_key(d.content)) for d in self.documents)

    def questions_sha256(self) -> str:
        """A name of the questions that changes with their wording, order or judgements."""
        return _sha256(
            (q.question_id, q.text, [astuple(t) for t in q.history], sorted(q.relevant.items()))
            for q in self.questions
        )

    def gold_sha256(self) -> str:
        """A name of the questions with their gold answers."""
        gold = (astuple(question.gold) for question in self.questions)
        return _sha256([self.questions_sha256(), *gold])


def read_dataset(
    folder: Path,
    *,
    split: str = "test",
    hard: bool = False,
    rewritten: bool = False,
    questions: Path | None = None,
    limit: int | None = None,
    for_answers: bool = False,
    abstain_split: bool = False,
) -> Dataset:
    """Read a dataset and check it whole.

    Args:
        folder: Its name is the dataset's.
        split: Which `qrels/<split>.tsv` of the BEIR layout; the only one where it is not there.
        hard: Put the documents of `corpus_noq.jsonl` in the place of those with the same ids.
        rewritten: Ask a follow-up in its stand-alone form, `meta.rewrite`, where it has one, and
            without the turns before it.
        questions: Another file than the folder's `queries.jsonl`.
        limit: Keep this many judged questions: the first, for answers evenly spread ones.
        for_answers: Judge by gold answers, in place of by relevant documents.
        abstain_split: Leave the documents that `abstain_split.json` names out.

    Raises:
        EvaluationRefused: A file is missing, a line is broken, an id stands twice or is unknown.
    """
    queries = questions or folder / "queries.jsonl"
    documents = _read_documents(folder)
    if hard:
        documents |= _read_replacements(folder / "corpus_noq.jsonl", documents)
    if _is_beir(queries):
        asked = _read_beir_questions(queries, _qrels_file(folder / "qrels", split), documents)
    else:
        asked = _read_questions(queries, rewritten, documents)
    if abstain_split:
        documents, asked = _split(folder / "abstain_split.json", documents, asked)
    judged = [q for q in asked if (q.gold.judges if for_answers else q.relevant)]
    if not judged:
        lacks = "has a gold answer or is unanswerable" if for_answers else "has a relevant document"
        raise EvaluationRefused(f"{queries}: no question {lacks}")
    return Dataset(
        folder.resolve().name + " (hard)" * hard + " (abstain split)" * abstain_split,
        tuple(documents.values()),
        tuple(_spread(judged, limit) if for_answers else judged[:limit]),
        len(asked) - len(judged),
    )


class _Document(msgspec.Struct):
    doc_id: str
    text: str
    title: str = ""


class _BeirDocument(msgspec.Struct):
    text: str
    doc_id: str = msgspec.field(name="_id")
    title: str = ""


class _File(msgspec.Struct):
    file_id: str
    path: str


_Answerable = Literal["yes", "no", "partial", "underspecified", "conversational", "ambiguous"]


class _Message(msgspec.Struct):
    role: str
    content: str


class _Meta(msgspec.Struct):
    rewrite: str | None = None
    key_facts: list[list[str]] = []


class _Question(msgspec.Struct):
    query_id: str
    question: str
    relevant: dict[str, int]
    lang: str | None = None
    history: list[_Message] = []
    meta: _Meta = msgspec.field(default_factory=_Meta)
    answers: list[str] = []
    gold_answer: str | None = None
    answer_type: str | None = None
    answerable: _Answerable = "yes"


class _AbstainSplit(msgspec.Struct):
    drop_doc_ids: list[str]
    unanswerable_query_ids: list[str]


class _BeirQuestion(msgspec.Struct):
    text: str
    query_id: str = msgspec.field(name="_id")


def _read_documents(folder: Path) -> dict[str, CorpusDocument]:
    corpus, files = folder / "corpus.jsonl", folder / "files.jsonl"
    if files.exists() and not corpus.exists():
        return by_id(
            (place, file.file_id, CorpusDocument(file.file_id, "", _existing(folder, file, place)))
            for place, file in records(files, _File)
        )
    return _read_corpus(corpus, _BeirDocument if _is_beir(corpus) else _Document)


def _read_corpus(
    path: Path, layout: type[_Document] | type[_BeirDocument]
) -> dict[str, CorpusDocument]:
    return by_id(
        (place, document.doc_id, CorpusDocument(document.doc_id, document.title, document.text))
        for place, document in records(path, layout)
    )


def _read_replacements(
    path: Path, documents: Mapping[str, CorpusDocument]
) -> dict[str, CorpusDocument]:
    replacements = _read_corpus(path, _Document)
    for document_id in replacements:
        if document_id not in documents:
            raise EvaluationRefused(f"{path}: {document_id!r} is in no document's place")
    return replacements


def _read_questions(
    path: Path, rewritten: bool, documents: Mapping[str, CorpusDocument]
) -> list[JudgedQuestion]:
    def questions() -> Iterator[tuple[str, str, JudgedQuestion]]:
        for place, question in records(path, _Question):
            for document_id in question.relevant:
                check_known("document", document_id, documents, place)
            if not question.question.strip():
                raise EvaluationRefused(f"{place}: the question is empty")
            rewrite = question.meta.rewrite if rewritten else None
            text = rewrite or question.question
            judged = JudgedQuestion(
                question.query_id,
                text,
                question.lang or _language(text),
                {name: grade for name, grade in question.relevant.items() if grade > 0},
                () if rewrite else _turns(question.history),
                _gold(question),
            )
            yield place, question.query_id, judged

    return list(by_id(questions()).values())


def _gold(question: _Question) -> Gold:
    answers = tuple(answer for answer in question.answers if answer.strip())
    if question.meta.key_facts:
        groups = tuple(tuple(group) for group in question.meta.key_facts if group)
    elif question.answer_type == "list":
        groups = tuple((answer,) for answer in answers)
    else:
        groups = (answers,) if answers else ()
    answerable = {"yes": True, "no": False}.get(question.answerable)
    return Gold(groups, (question.gold_answer or "").strip(), answerable)


def _split(
    path: Path, documents: dict[str, CorpusDocument], asked: Sequence[JudgedQuestion]
) -> tuple[dict[str, CorpusDocument], list[JudgedQuestion]]:
    try:
        split = msgspec.json.decode(path.read_bytes(), type=_AbstainSplit)
    except OSError as error:
        raise EvaluationRefused(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvaluationRefused(f"{path}: {error}") from None
    for document_id in split.drop_doc_ids:
        check_known("document", document_id, documents, str(path))
    dropped, unanswerable = set(split.drop_doc_ids), set(split.unanswerable_query_ids)
    kept = {name: document for name, document in documents.items() if name not in dropped}
    return kept, [
        replace(
            question,
            relevant={n: grade for n, grade in question.relevant.items() if n in kept},
            gold=replace(question.gold, answerable=False)
            if question.question_id in unanswerable
            else question.gold,
        )
        for question in asked
    ]


def _spread(questions: Sequence[T], limit: int | None) -> Sequence[T]:
    """Keep so many at even distances."""
    count = min(limit or len(questions), len(questions))
    return [questions[place * len(questions) // count] for place in range(count)]


def _read_beir_questions(
    path: Path, qrels: Path, documents: Mapping[str, CorpusDocument]
) -> list[JudgedQuestion]:
    texts = by_id((place, q.query_id, q.text) for place, q in records(path, _BeirQuestion))
    relevant: dict[str, dict[str, int]] = {question_id: {} for question_id in texts}
    for place, question_id, document_id, grade in _judgements(qrels):
        check_known("question", question_id, texts, place)
        check_known("document", document_id, documents, place)
        if document_id in relevant[question_id]:
            raise EvaluationRefused(f"{place}: {question_id!r} and {document_id!r} stand twice")
        relevant[question_id][document_id] = grade
    return [
        JudgedQuestion(
            question_id,
            text,
            _language(text),
            {name: grade for name, grade in relevant[question_id].items() if grade > 0},
        )
        for question_id, text in texts.items()
    ]


def _qrels_file(folder: Path, split: str) -> Path:
    wanted = folder / f"{split}.tsv"
    there = sorted(folder.glob("*.tsv"))
    if wanted in there or len(there) != 1:
        return wanted
    return there[0]


def _judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield the place, the question's id, the document's id and the grade."""
    rows = ((place, line.split("\t")) for place, line in lines(path))
    place, header = next(rows, (f"{path}, line 1", []))
    if header != _QRELS_HEADER:
        raise EvaluationRefused(f"{place}: the header is not {' '.join(_QRELS_HEADER)}")
    for place, cells in rows:
        try:
            question_id, document_id, grade = cells
            yield place, question_id, document_id, int(grade)
        except ValueError:
            raise EvaluationRefused(
                f"{place}: not a question's id, a document's id and a whole number between tabs"
            ) from None


def _is_beir(path: Path) -> bool:
    first = next(lines(path), ("", ""))[1]
    return '"_id"' in first


def _existing(folder: Path, file: _File, place: str) -> Path:
    path = folder / file.path
    if not path.is_file():
        raise EvaluationRefused(f"{place}: there is no file {file.path!r}")
    return path


def _turns(messages: Iterable[_Message]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user":
            turns.append(Turn(message.content))
        elif turns:
            turns[-1] = replace(turns[-1], answer=message.content)
    return tuple(turns)


def _language(text: str) -> str:
    return guess_language(text) or "other"


def _content_key(content: str | Path) -> str:
    return content if isinstance(content, str) else hashlib.sha256(content.read_bytes()).hexdigest()


def _sha256(rows: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
