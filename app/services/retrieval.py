"""From a question to the best readable passages."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.documents import Passage, SearchFilters, index_text
from app.domain.errors import IndexUnavailable
from app.domain.fusion import Fused, fuse
from app.domain.ports import Embedder, Ids
from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys
from app.domain.validity import asks_about_the_past
from app.services.search_index import Legs, SearchIndex
from app.settings import RetrievalSettings
from app.telemetry import stage


class SearchMode(StrEnum):
    """Which legs search."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first, and where they came from."""

    passages: tuple[Passage, ...]
    generation_id: str
    timings_ms: dict[str, float]


class Retrieval:
    """Hybrid search under an AccessScope."""

    def __init__(
        self,
        database: Database,
        index: SearchIndex,
        embedder: Embedder,
        settings: RetrievalSettings,
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._settings = settings

    async def search(
        self,
        scope: AccessScope,
        query: str,
        limit: int,
        filters: SearchFilters | None = None,
        mode: SearchMode = SearchMode.HYBRID,
    ) -> SearchResult:
        """Find the best passages that the caller may read.

        Raises:
            IndexUnavailable: This process has not loaded an index yet.
        """
        legs = self._index.legs
        if legs is None:
            raise IndexUnavailable("the index is still loading; try again in a moment")
        timings_ms: dict[str, float] = {}
        generation_id = self._index.generation_id
        allowed = await asyncio.to_thread(self._index.allowed, scope, filters or SearchFilters())
        k = max(self._settings.candidates, limit)
        dense: dict[int, float] = {}
        lexical: dict[int, float] = {}
        with stage("retrieve", timings_ms):
            searches = []
            if mode is not SearchMode.LEXICAL:
                searches.append(asyncio.to_thread(self._dense, legs, query, k, allowed, timings_ms))
            if mode is not SearchMode.DENSE:
                searches.append(asyncio.to_thread(_lexical, legs, query, k, allowed, timings_ms))
            found = await asyncio.gather(*searches)
            if mode is not SearchMode.LEXICAL:
                dense = found[0]
            if mode is not SearchMode.DENSE:
                lexical = found[-1]
            weight = {"hybrid": self._settings.dense_weight, "dense": 1.0, "lexical": 0.0}[mode]
            hits = fuse(dense, lexical, weight)
        with stage("hydrate", timings_ms):
            async with self._database.transaction() as session:
                loaded = await document_rows.load_passages(
                    session, scope, [hit.chunk_id for hit in hits]
                )
        with stage("rank", timings_ms):
            passages = await asyncio.to_thread(_rank, legs, query, hits, loaded, limit)
        return SearchResult(passages, generation_id, timings_ms)

    def _dense(
        self, legs: Legs, query: str, k: int, allowed: Ids | None, timings_ms: dict[str, float]
    ) -> dict[int, float]:
        with stage("embed_query", timings_ms):
            vector = self._embedder.embed_queries([query])
        with stage("search_dense", timings_ms):
            ids, scores = legs.vectors.search(vector, k, allowed)
        return _pairs(ids[0], scores[0])


def _rank(
    legs: Legs, query: str, hits: list[Fused], loaded: Mapping[int, Passage], limit: int
) -> tuple[Passage, ...]:
    """Put the loaded passages in their final order and measure how they bear on the question."""
    alive = [hit for hit in hits if hit.chunk_id in loaded]
    if not asks_about_the_past(query):
        alive = _prefer_in_force(alive, loaded)
    weights = _key_weights(legs, query)
    return tuple(
        replace(
            loaded[hit.chunk_id],
            score=round(hit.score, 6),
            rank=rank,
            found_by=hit.found_by,
            similarity=hit.dense,
            coverage=_coverage(weights, loaded[hit.chunk_id]),
        )
        for rank, hit in enumerate(alive[:limit], start=1)
    )


def _prefer_in_force(hits: list[Fused], loaded: Mapping[int, Passage]) -> list[Fused]:
    """Halve the scores of documents that say of themselves that they are superseded."""
    weighed = [
        replace(hit, score=hit.score / 2) if loaded[hit.chunk_id].superseded else hit
        for hit in hits
    ]
    return sorted(weighed, key=lambda hit: (-hit.score, hit.chunk_id))


def _lexical(
    legs: Legs, query: str, k: int, allowed: Ids | None, timings_ms: dict[str, float]
) -> dict[int, float]:
    with stage("search_lexical", timings_ms):
        return _pairs(*legs.lexical.search(search_keys(query), k, allowed))


def _key_weights(legs: Legs, query: str) -> dict[str, float]:
    """How much each key of the question tells: its idf, up to a factor; unseen keys tell most."""
    keys = set(search_keys(query)) - FUNCTION_KEYS - QUESTION_KEYS
    return {key: legs.lexical.best_possible([key]) for key in keys}


def _coverage(weights: dict[str, float], passage: Passage) -> float:
    held = search_keys(
        index_text(passage.title, passage.heading_path, passage.context, passage.text)
    )
    total = sum(weights.values())
    return sum(weights[key] for key in weights.keys() & set(held)) / total if total else 0.0


def _pairs(ids: np.ndarray, scores: np.ndarray) -> dict[int, float]:
    return {
        int(chunk_id): float(score)
        for chunk_id, score in zip(ids, scores, strict=True)
        if chunk_id >= 0
    }
