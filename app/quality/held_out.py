"""Questions that a company holds back to judge a new index by, before people are answered with it.

A file of JSON lines, `{"question": "...", "documents": ["..."]}`, where a document is named by its
id, its source URI or its title.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from app.domain.errors import EvaluationRefused
from app.domain.follow_ups import Asked
from app.quality.evaluate import EVERYTHING
from app.quality.metrics import DEPTH, Interval, interval, per_question
from app.services.retrieval import Retrieval
from app.services.search_index import SearchIndex

METRIC = "nDCG@10"
_AT_ONCE = 8


class HeldOut(msgspec.Struct, frozen=True):
    """A question, and the documents that answer it."""

    question: Annotated[str, msgspec.Meta(min_length=1)]
    documents: Annotated[list[str], msgspec.Meta(min_length=1)]


def read_held_out(path: Path) -> list[HeldOut]:
    """Read the questions.

    Raises:
        EvaluationRefused: The file cannot be read, or a line is broken; the message names it.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise EvaluationRefused(f"{path.name}: {error.strerror}") from error
    questions = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            questions.append(msgspec.json.decode(line, type=HeldOut))
        except msgspec.MsgspecError as error:
            raise EvaluationRefused(f"{path.name}, line {number}: {error}") from error
    if not questions:
        raise EvaluationRefused(f"{path.name} holds no question")
    return questions


async def gain(
    retrieval: Retrieval, before: SearchIndex, after: SearchIndex, questions: Sequence[HeldOut]
) -> Interval:
    """Return by how much METRIC rises from one index to the other, with its 95 % interval."""
    relevant = [dict.fromkeys(question.documents, 1) for question in questions]
    values = [
        per_question(relevant, await _rankings(retrieval, index, questions))[METRIC]
        for index in (before, after)
    ]
    return interval(values[1] - values[0])


async def _rankings(
    retrieval: Retrieval, index: SearchIndex, questions: Sequence[HeldOut]
) -> list[list[str]]:
    rankings: list[list[str]] = []
    for start in range(0, len(questions), _AT_ONCE):
        asked = questions[start : start + _AT_ONCE]
        rankings += await asyncio.gather(*(_ranking(retrieval, index, one) for one in asked))
    return rankings


async def _ranking(retrieval: Retrieval, index: SearchIndex, asked: HeldOut) -> list[str]:
    """Return documents, best first, each by the name that the question has for it."""
    found = await retrieval.search(EVERYTHING, Asked(asked.question), DEPTH, index=index)
    named = (
        next((n for n in (p.source_uri, p.title) if n in asked.documents), p.document_id)
        for p in found.passages
    )
    return [str(name) for name in dict.fromkeys(named)]
