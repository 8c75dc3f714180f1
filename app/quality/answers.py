"""How well questions are answered, beside two rows for scale.

Every row goes through the generator of events that the API reads. The oracle may read the gold
documents alone; the extractive row answers with the sentence of the evidence that is nearest to
the question, and asks no model.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from time import perf_counter
from typing import TypeVar

from app.domain.access import AccessScope, Scope
from app.domain.answers import AbstentionReason, Answer, AnswerStatus
from app.domain.documents import Passage
from app.domain.errors import OporaError
from app.domain.ports import Embedder
from app.domain.text import search_keys, sentences
from app.quality.answer_scores import FAILED, Outcome, Score, scores
from app.quality.datasets import Dataset, JudgedQuestion
from app.quality.evaluate import ALL, EVERYTHING, members
from app.services.answering import Answering, Finished, Retrieved
from app.services.drafts import Question

T = TypeVar("T")


class AnswerWay(StrEnum):
    """Who answers."""

    OPORA = "opora"
    ORACLE = "oracle"
    EXTRACTIVE = "extractive"


@dataclass(frozen=True, slots=True)
class AnswersGroup:
    """The metrics of all questions, or of those in one language, by way.

    `abstentions` counts them by reason, `failures` by the error's code; a failure is in no metric.
    """

    language: str
    answerable: int
    unanswerable: int
    scores: dict[AnswerWay, dict[str, Score]]
    abstentions: dict[AnswerWay, dict[str, int]]
    failures: dict[AnswerWay, dict[str, int]]


@dataclass(frozen=True, slots=True)
class AnswersPerQuestion:
    """What the metrics were made of: lists in the order of the questions."""

    question_ids: list[str]
    outcomes: dict[AnswerWay, list[Outcome]]


@dataclass(frozen=True, slots=True)
class AnswersResult:
    """One dataset, measured."""

    dataset: str
    documents: int
    rejected: int
    questions: int
    left_out: int
    documents_sha256: str
    questions_sha256: str
    groups: list[AnswersGroup]
    per_question: AnswersPerQuestion | None = None


@dataclass(frozen=True, slots=True)
class AnswersReport:
    """What was measured, and with what."""

    opora: str
    embedder: str
    reranker: str | None
    chat_model: str
    settings: dict[str, object]
    datasets: list[AnswersResult]


def reader_of(document_id: str) -> str:
    """Return who may read a document of a dataset: one principal for each document."""
    return f"group:{document_id}"


async def ask_all(
    answering: Mapping[AnswerWay, Answering],
    embedder: Embedder,
    dataset: Dataset,
    at_once: int,
    progress: Callable[[int], None],
) -> dict[AnswerWay, list[Outcome]]:
    """Ask every question in every way, one way after the other.

    Args:
        answering: For each way who answers, over documents that `reader_of` may read; for the
            extractive one with a model that claims nothing.
        embedder: That of the index.
        dataset: What is asked.
        at_once: How many questions are asked side by side.
        progress: Told of each question in each way.
    """
    permits = asyncio.Semaphore(at_once)

    async def one(way: AnswerWay, question: JudgedQuestion) -> Outcome:
        async with permits:
            outcome = await _ask(way, answering[way], embedder, question)
            progress(1)
            return outcome

    return {
        way: list(await asyncio.gather(*(one(way, question) for question in dataset.questions)))
        for way in answering
    }


def judge(
    dataset: Dataset, outcomes: dict[AnswerWay, list[Outcome]], rejected: int
) -> AnswersResult:
    """Measure what `ask_all` gave; `rejected` documents could not be indexed."""
    languages = [question.language for question in dataset.questions]
    found = sorted(set(languages))
    groups = []
    for name in [ALL, *found] if len(found) > 1 else [ALL]:
        among = members(languages, name).tolist()
        questions = _only(dataset.questions, among)
        of = {way: _only(all_of, among) for way, all_of in outcomes.items()}
        unanswerable = sum(question.gold.answerable is False for question in questions)
        groups.append(
            AnswersGroup(
                name,
                len(questions) - unanswerable,
                unanswerable,
                {way: scores(questions, some) for way, some in of.items()},
                {way: _reasons(some, AnswerStatus.ABSTAINED) for way, some in of.items()},
                {way: _reasons(some, FAILED) for way, some in of.items()},
            )
        )
    return AnswersResult(
        dataset=dataset.name,
        documents=len(dataset.documents),
        rejected=rejected,
        questions=len(dataset.questions),
        left_out=dataset.left_out,
        documents_sha256=dataset.documents_sha256(),
        questions_sha256=dataset.gold_sha256(),
        groups=groups,
        per_question=AnswersPerQuestion([q.question_id for q in dataset.questions], outcomes),
    )


async def _ask(
    way: AnswerWay, answering: Answering, embedder: Embedder, question: JudgedQuestion
) -> Outcome:
    scope = _gold_alone(question) if way is AnswerWay.ORACLE else EVERYTHING
    begun = perf_counter()
    passages: tuple[Passage, ...] = ()
    outcome = Outcome(FAILED, reason="internal")
    try:
        asked = Question(question.text, history=question.history)
        async with aclosing(answering.ask(scope, asked)) as events:
            async for event in events:
                if isinstance(event, Retrieved):
                    passages = event.passages
                elif isinstance(event, Finished):
                    outcome = _outcome(event)
        if way is AnswerWay.EXTRACTIVE and outcome.reason == AbstentionReason.NOTHING_SUPPORTED:
            outcome = await asyncio.to_thread(_nearest, question.text, passages, embedder)
    except OporaError as error:
        outcome = Outcome(FAILED, error.message, error.code)
    return replace(outcome, seconds=round(perf_counter() - begun, 3))


def _gold_alone(question: JudgedQuestion) -> AccessScope:
    readers = frozenset(reader_of(document_id) for document_id in question.relevant)
    return AccessScope("evaluation", readers, frozenset({Scope.ASK}))


def _outcome(event: Finished) -> Outcome:
    result = event.result
    answered = isinstance(result, Answer)
    copies = {passage.chunk_id: passage.duplicates for passage in result.passages}
    return Outcome(
        AnswerStatus.ANSWERED if answered else AnswerStatus.ABSTAINED,
        result.text,
        None if isinstance(result, Answer) else result.reason.value,
        tuple((c.document_id, *copies.get(c.chunk_id, ())) for c in result.citations)
        if isinstance(result, Answer)
        else (),
        result.sentences.supported,
        result.sentences.unsupported,
        result.usage.prompt_tokens,
        result.usage.completion_tokens,
        model=result.provenance.model,
    )


def _nearest(question: str, passages: Sequence[Passage], embedder: Embedder) -> Outcome:
    """Answer with the sentence nearest to the question: by its cosine and the keys that it holds.

    Blocks.
    """
    found = [
        (passage, passage.text[start:end])
        for passage in passages
        for start, end in sentences(passage.text)
    ]
    if not found:
        return Outcome(AnswerStatus.ABSTAINED, reason=AbstentionReason.NOTHING_READABLE.value)
    asked = set(search_keys(question))
    vectors = embedder.embed_passages([question, *(text for _, text in found)])
    cosines = (vectors[1:] @ vectors[0]).tolist()
    shares = [len(asked.intersection(search_keys(text))) / max(len(asked), 1) for _, text in found]
    best = max(range(len(found)), key=lambda place: cosines[place] + shares[place])
    passage, text = found[best]
    return Outcome(AnswerStatus.ANSWERED, text, cited=((passage.document_id, *passage.duplicates),))


def _reasons(outcomes: Sequence[Outcome], status: str) -> dict[str, int]:
    reasons = (o.reason for o in outcomes if o.status == status and o.reason)
    return dict(sorted(Counter(reasons).items()))


def _only(rows: Sequence[T], among: Sequence[bool]) -> list[T]:
    return [row for row, is_in in zip(rows, among, strict=True) if is_in]
