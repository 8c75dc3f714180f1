"""What moves a fused hit up or down beside its score."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.documents import IndexedDocument, Passage
from app.domain.fusion import Fused

_RECENCY_BONUS = 0.02  # what a document changed just now gains, in fused score
_RECENCY_HALF_LIFE_DAYS = 180


def order(
    hits: Sequence[Fused],
    documents: Sequence[IndexedDocument | None],
    *,
    wants_the_past: bool,
    recent_at: datetime | None,
) -> list[Fused]:
    """Put fused hits in order, best first, ties by chunk id; hits without a document fall out.

    Args:
        hits: Hits of both legs.
        documents: The live document of each hit, None where it is gone.
        wants_the_past: Else the scores of documents are halved that say of themselves that they are
            superseded.
        recent_at: The present time where recency breaks ties: a newer document gains a little, at
            most 0.02. None leaves age out.
    """
    weighed = []
    for hit, document in zip(hits, documents, strict=True):
        if document is None:
            continue
        score = hit.score
        if document.superseded and not wants_the_past:
            score /= 2
        if recent_at is not None:
            age_days = max((recent_at - document.updated_at).total_seconds(), 0) / 86400
            score += _RECENCY_BONUS * 0.5 ** (age_days / _RECENCY_HALF_LIFE_DAYS)
        weighed.append(hit if score == hit.score else replace(hit, score=score))
    return sorted(weighed, key=lambda hit: (-hit.score, hit.chunk_id))


def phrases_first(passages: Iterable[Passage], held: Collection[int]) -> list[Passage]:
    """Put the passages that hold the quoted phrase, by chunk id, before all others.

    Their scores go into the upper half of [0, 1] and the others' into the lower, so that scores
    still fall from the first passage to the last.
    """
    lifted = [
        replace(p, score=(p.score + (p.chunk_id in held)) / 2 if held else p.score)
        for p in passages
    ]
    return sorted(lifted, key=lambda passage: -passage.score)
