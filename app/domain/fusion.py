"""Blending the scores of the two search legs."""

from collections.abc import Mapping
from dataclasses import dataclass

_BOTH, _DENSE, _LEXICAL = ("dense", "lexical"), ("dense",), ("lexical",)


@dataclass(frozen=True, slots=True)
class Fused:
    """A chunk with its blended score and what each leg gave it."""

    chunk_id: int
    score: float
    dense: float
    lexical: float
    found_by: tuple[str, ...]


def fuse(
    dense: Mapping[int, float],
    lexical: Mapping[int, float],
    cosines: Mapping[int, float],
    best_possible: float,
    dense_weight: float,
) -> list[Fused]:
    """Blend two legs by calibrated scores, best first, ties by chunk id.

    Each score is taken as a share of the best that there can be: a cosine of 1, and the BM25 score
    of an entry that held each key of the question without end (Bruch, Gai, Ingber 2023, "An
    Analysis of Fusion Functions for Hybrid Retrieval", section 4, normalisation by theoretical
    limits). So a leg that found nothing good has little to say, whatever the other one found.

    Args:
        dense: Cosine similarities by chunk id, of the chunks that the dense leg proposes.
        lexical: BM25 scores by chunk id, of those that the lexical leg proposes.
        cosines: Cosine similarities of those that the lexical leg alone proposes.
        best_possible: The BM25 score that no chunk can exceed.
        dense_weight: Share of the dense leg in [0, 1].

    Returns:
        Hits with scores in [0, 1].
    """
    similarity = {**cosines, **dense}
    lexical_weight = (1 - dense_weight) / best_possible if best_possible else 0.0
    fused = []
    for chunk_id in dense.keys() | lexical.keys():
        near, worded = similarity.get(chunk_id, 0.0), lexical.get(chunk_id, 0.0)
        score = dense_weight * max(near, 0.0) + lexical_weight * worded
        found_by = (
            _BOTH
            if chunk_id in dense and chunk_id in lexical
            else (_DENSE if chunk_id in dense else _LEXICAL)
        )
        fused.append(Fused(chunk_id, score, near, worded, found_by))
    return sorted(fused, key=lambda hit: (-hit.score, hit.chunk_id))
