"""Blending the scores of the two search legs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fused:
    """A chunk with its blended score and what each leg gave it."""

    chunk_id: int
    score: float
    dense: float
    lexical: float
    found_by: tuple[str, ...]


def fuse(
    dense: Mapping[int, float], lexical: Mapping[int, float], dense_weight: float
) -> list[Fused]:
    """Blend two legs by their scores, best first, ties by chunk id.

    Each leg's scores are stretched so that its best hit counts 1 and its last one 0 (min-max over
    the candidates); a chunk that only one leg found counts 0 in the other. Against reciprocal rank
    fusion this keeps how *much* better a hit is (Bruch, Gai, Ingber 2023, section 4).

    Args:
        dense: Cosine similarities by chunk id.
        lexical: BM25 scores by chunk id.
        dense_weight: Share of the dense leg in [0, 1].
    """
    stretched_dense, stretched_lexical = _stretch(dense), _stretch(lexical)
    fused = [
        Fused(
            chunk_id=chunk_id,
            score=dense_weight * stretched_dense.get(chunk_id, 0.0)
            + (1 - dense_weight) * stretched_lexical.get(chunk_id, 0.0),
            dense=dense.get(chunk_id, 0.0),
            lexical=lexical.get(chunk_id, 0.0),
            found_by=tuple(
                name for name, leg in (("dense", dense), ("lexical", lexical)) if chunk_id in leg
            ),
        )
        for chunk_id in dense.keys() | lexical.keys()
    ]
    return sorted(fused, key=lambda hit: (-hit.score, hit.chunk_id))


def _stretch(scores: Mapping[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    span = high - low
    return {key: (score - low) / span if span > 0 else 1.0 for key, score in scores.items()}
