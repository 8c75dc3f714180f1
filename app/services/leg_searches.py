"""What a search asks of the two legs of an index."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise

import numpy as np

from app.domain.ports import Ids, Scores, Vectors
from app.domain.query import SearchQuery
from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys
from app.services.search_index import Legs


def dense(
    legs: Legs, vectors: Vectors, k: Sequence[int], allowed: Sequence[Ids | None]
) -> list[dict[int, float]]:
    """Search once for all questions that want as many hits from the same chunks."""
    found: list[dict[int, float]] = [{} for _ in k]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, (count, ids) in enumerate(zip(k, allowed, strict=True)):
        groups[count, id(ids)].append(place)
    for (count, _), places in groups.items():
        ids, scores = legs.vectors.search(vectors[places], count, allowed[places[0]])
        for place, row_ids, row_scores in zip(places, ids, scores, strict=True):
            found[place] = _pairs(row_ids, row_scores)
    return found


def cosines(legs: Legs, vector: Vectors, chunk_ids: Collection[int]) -> dict[int, float]:
    """The similarities of chunks that the dense leg did not propose."""
    ids = np.array(sorted(chunk_ids), np.int64)
    cosines = legs.vectors.similarities(vector, ids)
    held = np.isfinite(cosines)  # the legs change one after the other
    return _pairs(ids[held], cosines[held])


def lexical(legs: Legs, query: SearchQuery, k: int, allowed: Ids | None) -> dict[int, float]:
    """The best chunks by BM25, and the best of those that may hold a quoted phrase."""
    hits = _pairs(*legs.lexical.search(query.weights, k, allowed))
    for phrase in query.phrases:
        holding = legs.lexical.holding(set(phrase))
        if allowed is not None:
            holding = np.intersect1d(holding, allowed, assume_unique=True)
        if len(holding):
            hits |= _pairs(*legs.lexical.search(query.weights, k, holding))
    return hits


def coverages(legs: Legs, reading: str, chunks: Sequence[Sequence[int]]) -> list[float]:
    """The share of a question's keys that each group of chunks holds, rare keys weighing more."""
    keys = sorted(set(search_keys(reading)) - FUNCTION_KEYS - QUESTION_KEYS)
    weights = np.array([legs.lexical.best_possible({key: 1.0}) for key in keys])
    flat = np.array([chunk_id for group in chunks for chunk_id in group], np.int64)
    held = legs.lexical.held(flat, keys)
    ends = accumulate((len(group) for group in chunks), initial=0)
    total = weights.sum() or 1.0
    return [float(held[a:b].any(axis=0) @ weights / total) for a, b in pairwise(ends)]


def _pairs(ids: Ids, scores: Scores) -> dict[int, float]:
    return {
        chunk_id: score
        for chunk_id, score in zip(ids.tolist(), scores.tolist(), strict=True)
        if chunk_id >= 0
    }
