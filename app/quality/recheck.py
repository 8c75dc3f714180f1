"""Checking exported answers again, by what they say of themselves and by the documents' texts."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from app.domain.citations import Sentence, read_sentences, table_header
from app.domain.errors import EvaluationRefused
from app.domain.unlinking import as_written
from app.domain.verification import evidence_facts, given_names, missing_facts, read_facts

_MARKER = re.compile(r"\[(\d{1,9})\]")


class CitedPassage(msgspec.Struct):
    """What is needed of a passage of an export."""

    document_id: str
    version: int
    title: str
    text: str
    char_start: int
    char_end: int
    heading_path: list[str] = []
    context: str = ""


class CitedSentence(msgspec.Struct):
    """What is needed of a citation of an export."""

    marker: int
    document_id: str
    version: int
    title: str
    quote: str
    char_start: int
    char_end: int
    answer_start: int
    answer_end: int
    support: float
    document_sha256: str | None = None


class ExportedAnswer(msgspec.Struct):
    """An answer of `POST /v1/ask`, or a turn of a conversation, which has no passages.

    The former does not say what was asked.
    """

    answer_id: str
    status: str
    text: str
    citations: list[CitedSentence]
    passages: list[CitedPassage] | None = None
    reason: str | None = None
    question: str | None = None


class _Conversation(msgspec.Struct):
    turns: list[ExportedAnswer]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to look documents up; each returns None where it cannot tell.

    `text` gives the parsed text of a version, `sha256` the sum of its original bytes as they are
    now.
    """

    text: Callable[[str, int], str | None]
    sha256: Callable[[str, int, str], str | None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed; `citation` counts from 1, None for the answer as a whole."""

    check: str
    citation: int | None
    detail: str


@dataclass(slots=True)
class Recheck:
    """What became of one answer. `checked` and `unchecked` count citations by check."""

    answer_id: str
    failures: list[Failure] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def read_answers(path: Path) -> list[ExportedAnswer]:
    """Read an answer, a list of answers, a conversation, or JSON lines of any of them.

    Raises:
        EvaluationRefused: The file cannot be read or holds something else.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EvaluationRefused(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        values = [msgspec.json.decode(raw)]
    except (msgspec.DecodeError, RecursionError):
        try:
            values = [msgspec.json.decode(line) for line in raw.splitlines() if line.strip()]
        except (msgspec.DecodeError, RecursionError) as error:
            raise EvaluationRefused(
                f"{str(path)!r} is no JSON and no JSON lines: {error}"
            ) from error
    answers = [answer for value in values for answer in _answers(value, path)]
    if not answers:
        raise EvaluationRefused(f"{str(path)!r} holds no answer")
    return answers


def _answers(value: object, path: Path) -> list[ExportedAnswer]:
    if isinstance(value, list):
        return [answer for one in value for answer in _answers(one, path)]
    try:
        if isinstance(value, dict) and "turns" in value:
            return msgspec.convert(value, _Conversation).turns
        return [msgspec.convert(value, ExportedAnswer)]
    except msgspec.ValidationError as error:
        raise EvaluationRefused(
            f"{str(path)!r} holds something that is no answer: {error}"
        ) from error


def recheck(answer: ExportedAnswer, sources: Sources) -> Recheck:
    """Check an answer; nothing of it is believed.

    `status`: an answer has citations, an abstention has none. `spans`: each citation covers a
    sentence of the text, in order, and nothing is left over. `markers`: each marker of the text is
    that of its citation and names its passage. `passages`: the quote stands in the passage.
    `quotes`: it stands at its offsets in the parsed text. `documents`: the sum is still the same.
    `facts`: the quote, its headings and its table's header hold every fact of the sentence.
    """
    result = Recheck(answer.answer_id)
    _check_whole(answer, result)
    for number, citation in enumerate(answer.citations, start=1):
        _check_citation(number, citation, answer, sources, result)
    return result


def _check_whole(answer: ExportedAnswer, result: Recheck) -> None:
    def fail(check: str, detail: str) -> None:
        result.failures.append(Failure(check, None, detail))

    if answer.status == "answered" and not answer.citations:
        fail("status", "the answer has no citation")
    elif answer.status == "abstained" and (answer.citations or not answer.reason):
        fail("status", "an abstention has a reason and no citations")
    elif answer.status not in ("answered", "abstained"):
        fail("status", f"{answer.status!r} is no status")
    result.checked["status"] = 1
    if answer.status != "answered":
        return
    end = 0
    for number, citation in enumerate(answer.citations, start=1):
        if citation.answer_start < end or answer.text[end : citation.answer_start].strip():
            fail("spans", f"the text before sentence {number} has no citation, or two have it")
        end = max(end, citation.answer_end)
    if answer.text[end:].strip():
        fail("spans", "the end of the text has no citation")


def _check_citation(
    number: int,
    citation: CitedSentence,
    answer: ExportedAnswer,
    sources: Sources,
    result: Recheck,
) -> None:
    text = sources.text(citation.document_id, citation.version)
    passages = answer.passages or []
    passage = passages[citation.marker - 1] if 0 < citation.marker <= len(passages) else None
    checks: dict[str, Iterator[str] | None] = {
        "spans": _spans(citation, answer),
        "markers": _markers(citation, answer, passage),
        "passages": None if passage is None else _in_passage(citation, passage),
        "quotes": None if text is None else _at_offsets(citation, text),
        "documents": _sums(citation, sources),
        "facts": _facts(citation, answer, passage, text),
    }
    for check, found in checks.items():
        if found is None:
            result.unchecked[check] = result.unchecked.get(check, 0) + 1
            continue
        result.checked[check] = result.checked.get(check, 0) + 1
        result.failures += [Failure(check, number, detail) for detail in found]


def _sentence(citation: CitedSentence, answer: ExportedAnswer) -> str:
    return answer.text[max(citation.answer_start, 0) : max(citation.answer_end, 0)]


def _spans(citation: CitedSentence, answer: ExportedAnswer) -> Iterator[str]:
    start, end = citation.answer_start, citation.answer_end
    if not 0 <= start < end <= len(answer.text):
        yield f"[{start}, {end}) is no span of the answer's {len(answer.text)} characters"
    elif answer.text[start:end] != answer.text[start:end].strip():
        yield f"[{start}, {end}) does not begin and end with a sentence"
    if not 0 <= citation.support <= 1:
        yield f"support {citation.support} is not in 0 to 1"


def _markers(
    citation: CitedSentence, answer: ExportedAnswer, passage: CitedPassage | None
) -> Iterator[str]:
    named = {int(number) for number in _MARKER.findall(_sentence(citation, answer))}
    if named != {citation.marker}:
        seen = ", ".join(f"[{number}]" for number in sorted(named)) or "no marker"
        yield f"the sentence holds {seen} and not [{citation.marker}]"
    if answer.passages is None:
        return
    if passage is None:
        yield f"[{citation.marker}] names none of the {len(answer.passages)} passages"
    elif (passage.document_id, passage.version) != (citation.document_id, citation.version):
        yield f"[{citation.marker}] names a passage of document {passage.document_id!r}"


def _in_passage(citation: CitedSentence, passage: CitedPassage) -> Iterator[str]:
    start = citation.char_start - passage.char_start
    if start < 0 or passage.text[start : start + len(citation.quote)] != citation.quote:
        yield "the quote does not stand in its passage at its offsets"


def _at_offsets(citation: CitedSentence, text: str) -> Iterator[str]:
    start, end = citation.char_start, citation.char_end
    if not citation.quote or start < 0 or text[start:end] != citation.quote:
        yield f"the quote does not stand at [{start}, {end}) of document {citation.document_id!r}"


def _sums(citation: CitedSentence, sources: Sources) -> Iterator[str] | None:
    said = citation.document_sha256
    if said is None:
        return None
    found = sources.sha256(citation.document_id, citation.version, said)
    if found is None:
        return None
    different = [f"document {citation.document_id!r} has the sum {found}, not {said}"]
    return iter([] if found == said else different)


def _facts(
    citation: CitedSentence,
    answer: ExportedAnswer,
    passage: CitedPassage | None,
    text: str | None,
) -> Iterator[str]:
    above = [citation.title]
    if passage is not None:
        above += [passage.title, *passage.heading_path, passage.context]
    if text is not None:
        above.append(table_header(text, citation.char_start))
    around = read_facts("\n".join(above))
    told = [p.text for p in answer.passages or () if p.document_id == citation.document_id]
    given = given_names(answer.question, [*told, text or ""])
    evidence = evidence_facts(citation.quote)
    for sentence in read_sentences(as_written(_sentence(citation, answer))) or [Sentence("", ())]:
        for fact in missing_facts(read_facts(sentence.text), evidence, around, given):
            yield f"{fact.kind.value} {fact.text!r} is not what the quote or its headings say"
