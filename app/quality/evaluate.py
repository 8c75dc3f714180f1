"""How well each way of searching finds the documents that a dataset says are right."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain.access import AccessScope, Scope
from app.domain.errors import RerankerUnavailable
from app.domain.follow_ups import in_context
from app.quality.datasets import Dataset, JudgedQuestion
from app.quality.metrics import DEPTH, METRICS, Interval, Values, interval, per_question
from app.services.retrieval import Retrieval, SearchMode, SearchOptions

ALL = "all"
"""The group that holds every question; the others are named by language."""

_PASSAGES = 100  # of how many a document's best is looked for
_AT_ONCE = 8
EVERYTHING = AccessScope("evaluation", frozenset(), frozenset({Scope.ADMIN}))
"""Who may read all documents."""

Progress = Callable[[int], None]
"""Told how many questions more are done."""


class Way(StrEnum):
    """A way of searching."""

    LEXICAL = "lexical"
    DENSE = "dense"
    HYBRID = "hybrid"
    RERANKED = "hybrid+rerank"


@dataclass(frozen=True, slots=True)
class Gain:
    """What hybrid search adds to the better of its two legs."""

    better_leg: Way
    difference: Interval


@dataclass(frozen=True, slots=True)
class Group:
    """The metrics of all questions, or of those in one language."""

    language: str
    questions: int
    scores: dict[Way, dict[str, Interval]]
    gains: dict[str, Gain]


@dataclass(frozen=True, slots=True)
class PerQuestion:
    """What the metrics were made of: lists in the order of the questions."""

    question_ids: list[str]
    languages: list[str]
    values: dict[Way, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """One dataset, measured."""

    dataset: str
    documents: int
    rejected: int
    questions: int
    left_out: int
    documents_sha256: str
    questions_sha256: str
    groups: list[Group]
    per_question: PerQuestion | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, and with what."""

    opora: str
    embedder: str
    reranker: str | None
    settings: dict[str, object]
    datasets: list[DatasetResult]


async def evaluate(
    retrieval: Retrieval, dataset: Dataset, ways: Sequence[Way], rejected: int, progress: Progress
) -> DatasetResult:
    """Ask every question in every way.

    Args:
        retrieval: Over an index whose document ids are the dataset's.
        dataset: What the index holds and what is asked.
        ways: LEXICAL, DENSE and HYBRID at least.
        rejected: How many documents the index could not take.
        progress: Told of each question in each way.

    Raises:
        RerankerUnavailable: The reranker left a question out, so that its way cannot be judged.
    """
    relevant = [question.relevant for question in dataset.questions]
    values = {
        way: per_question(relevant, await _rankings(retrieval, dataset.questions, way, progress))
        for way in ways
    }
    languages = [question.language for question in dataset.questions]
    found = sorted(set(languages))
    names = [ALL, *found] if len(found) > 1 else [ALL]
    return DatasetResult(
        dataset=dataset.name,
        documents=len(dataset.documents),
        rejected=rejected,
        questions=len(dataset.questions),
        left_out=dataset.left_out,
        documents_sha256=dataset.documents_sha256(),
        questions_sha256=dataset.questions_sha256(),
        groups=[_group(name, values, members(languages, name)) for name in names],
        per_question=PerQuestion(
            [question.question_id for question in dataset.questions],
            languages,
            {way: {name: v.tolist() for name, v in of.items()} for way, of in values.items()},
        ),
    )


def members(languages: Sequence[str], group: str) -> NDArray[np.bool_]:
    """Return which questions are in a group, bool (questions,)."""
    return np.array([group in (ALL, language) for language in languages])


async def _rankings(
    retrieval: Retrieval, questions: Sequence[JudgedQuestion], way: Way, progress: Progress
) -> list[list[str]]:
    rankings: list[list[str]] = []
    for start in range(0, len(questions), _AT_ONCE):
        asked = questions[start : start + _AT_ONCE]
        rankings += await asyncio.gather(*(_ranking(retrieval, q, way) for q in asked))
        progress(len(asked))
    return rankings


async def _ranking(retrieval: Retrieval, question: JudgedQuestion, way: Way) -> list[str]:
    """Return document ids, best first; a document stands where its best passage does."""
    mode = SearchMode.HYBRID if way is Way.RERANKED else SearchMode(way.value)
    options = SearchOptions(mode=mode, rerank=way is Way.RERANKED)
    asked = in_context(question.text, question.history)
    found = await retrieval.search(EVERYTHING, asked, _PASSAGES, options)
    if "rerank_skipped" in found.timings_ms:
        raise RerankerUnavailable(
            f"the reranker did not answer in time for the question {question.question_id!r}"
        )
    documents = dict.fromkeys(
        document_id
        for passage in found.passages
        for document_id in (passage.document_id, *passage.duplicates)
    )
    return list(documents)[:DEPTH]


def _group(name: str, values: dict[Way, dict[str, Values]], among: NDArray[np.bool_]) -> Group:
    scores = {
        way: {metric: interval(of[metric][among]) for metric in METRICS}
        for way, of in values.items()
    }
    gains = {}
    for metric in METRICS:
        better = max(Way.LEXICAL, Way.DENSE, key=lambda leg: scores[leg][metric].value)
        gained = values[Way.HYBRID][metric] - values[better][metric]
        gains[metric] = Gain(better, interval(gained[among]))
    return Group(name, int(among.sum()), scores, gains)
