"""From a question to the best readable passages."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import perf_counter

from app.db.base import now
from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain import ranking
from app.domain.access import AccessScope
from app.domain.documents import Passage, SearchFilters, index_text
from app.domain.errors import RerankerUnavailable
from app.domain.follow_ups import Asked
from app.domain.fusion import Fused, fuse
from app.domain.passages import (
    best_of,
    collapse_duplicates,
    holds_phrase,
    joined,
    neighbour_runs,
)
from app.domain.ports import Ids, Reranker, Scores, Vectors
from app.domain.query import Expand, SearchQuery, read_query
from app.domain.text import (
    phrase_keys,
    search_keys,
    with_beginnings,
)
from app.domain.validity import asks_about_the_past
from app.services import leg_searches
from app.services.batching import Batcher
from app.services.live_documents import LiveDocuments
from app.services.live_index import LiveIndex
from app.services.query_vectors import QueryVectors
from app.services.search_index import Legs, SearchIndex
from app.settings import RerankerSettings, RetrievalSettings
from app.telemetry import get_logger, observe_stage, stage

log = get_logger(__name__)

RERANKED = 30
"""Best fused hits that a reranker reads."""

_CANDIDATES = 50  # taken from each leg before fusion
_RERANKS_AT_ONCE = 4
_LOOK_AHEAD = 2  # passages loaded for each one wanted: some are joined, some are copies


class SearchMode(StrEnum):
    """Which legs search."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search.

    Args:
        filters: What the caller narrows the search to.
        mode: Which legs search.
        rerank: Whether the reranker reads the best hits, where there is one.
        prefer_recent: Whether newer documents gain a little, enough to decide between nearly equal
            hits.
    """

    filters: SearchFilters = field(default_factory=SearchFilters)
    mode: SearchMode = SearchMode.HYBRID
    rerank: bool = True
    prefer_recent: bool = False


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first, and where they came from."""

    passages: tuple[Passage, ...]
    query: SearchQuery
    index: SearchIndex
    generation_id: str
    timings_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Search:
    """One caller's part of a batch."""

    asked: Asked
    scope: AccessScope
    k: int
    options: SearchOptions
    index: SearchIndex


@dataclass(frozen=True, slots=True)
class _Found:
    """What both legs gave for it, best first."""

    query: SearchQuery
    hits: list[Fused]
    timings_ms: dict[str, float]


class Retrieval:
    """Hybrid search under an AccessScope."""

    def __init__(
        self,
        database: Database,
        live: LiveIndex,
        settings: RetrievalSettings,
        reranker: Reranker | None,
        reranker_settings: RerankerSettings,
        expand: Expand,
    ) -> None:
        self._database = database
        self._live = live
        # Each mode has its own, so that lexical search works while an embeddings server is down.
        self._batchers = {mode: Batcher(f"search-{mode}", self._find) for mode in SearchMode}
        self._vectors: dict[SearchMode, QueryVectors] = {}
        self._settings = settings
        self._reranker = reranker
        # Its own, so that a reranker that hangs holds up nothing else.
        self._rerank_threads = ThreadPoolExecutor(_RERANKS_AT_ONCE, "rerank")
        self._reranker_settings = reranker_settings
        self._expand = expand

    async def search(
        self,
        scope: AccessScope,
        asked: Asked,
        limit: int,
        options: SearchOptions = SearchOptions(),
        index: SearchIndex | None = None,
    ) -> SearchResult:
        """Find the best passages that the caller may read.

        Args:
            scope: The caller's rights.
            asked: The question.
            limit: Most passages.
            options: How to search.
            index: That of an earlier search which this one adds to; by default the live one.

        Raises:
            IndexUnavailable: This process has not loaded an index yet.
            EmbedderUnavailable: The embeddings server does not answer.
            Overloaded: Too many searches wait.
        """
        index = index or self._live.current
        generation_id = index.generation_id
        timings_ms: dict[str, float] = {}
        with stage("retrieve", timings_ms):
            k = max(_CANDIDATES, limit)
            found = await self._batchers[options.mode].submit(
                _Search(asked, scope, k, options, index)
            )
        timings_ms |= found.timings_ms
        query, hits = found.query, found.hits
        readings = [query.text, asked.translated] if asked.translated else [query.text]
        reranker = self._reranker if options.rerank else None
        first = len(hits) if query.phrases or reranker else _LOOK_AHEAD * limit
        for count in (first, len(hits)):
            loaded = await self._load(scope, hits[:count], timings_ms)
            if reranker:
                loaded = await self._rerank(reranker, query.text, loaded, timings_ms)
            if query.phrases:
                loaded = await asyncio.to_thread(_lift_phrases, query.phrases, loaded)
            with stage("rank", timings_ms):
                passages = await asyncio.to_thread(self._shape, index.legs, readings, loaded, limit)
            if len(passages) == limit or count >= len(hits):
                break
        return SearchResult(passages, query, index, generation_id, timings_ms)

    def warm(self) -> None:
        """Load the models, so that no question waits for them. Blocks."""
        self._live.current.embedder.embed_queries(["?"])
        if self._reranker:
            self._reranker.score("?", ["?"])

    def has_documents(self, scope: AccessScope, filters: SearchFilters) -> bool:
        """Whether there is anything that the caller may read and the filters let through."""
        documents = self._live.current.documents
        allowed = documents.allowed(scope, filters)
        return len(documents) > 0 if allowed is None else len(allowed) > 0

    def close(self) -> None:
        """Release the threads."""
        for batcher in self._batchers.values():
            batcher.close()
        self._rerank_threads.shutdown(wait=False, cancel_futures=True)

    def _find(self, searches: Sequence[_Search]) -> list[_Found]:
        """Search for a batch of one mode, which holds two indexes only while they change over."""
        found: dict[int, _Found] = {}
        indexes = {search.index.recipe_id: search.index for search in searches}
        for index in indexes.values():
            places = [place for place, search in enumerate(searches) if search.index is index]
            found.update(
                zip(places, self._find_in(index, [searches[p] for p in places]), strict=True)
            )
        return [found[place] for place in range(len(searches))]

    def _find_in(self, index: SearchIndex, searches: Sequence[_Search]) -> list[_Found]:
        """Search both legs, and put the hits in order."""
        legs, documents = index.legs, index.documents
        mode = searches[0].options.mode
        clock = _Clock()
        allowed = [documents.allowed(search.scope, search.options.filters) for search in searches]
        queries = [
            self._read(search.asked, legs, ids)
            for search, ids in zip(searches, allowed, strict=True)
        ]
        clock.lap("read_query")
        lexical: list[dict[int, float]] = [{} for _ in searches]
        dense, cosines = lexical[:], lexical[:]
        if mode is not SearchMode.DENSE:
            lexical = [
                leg_searches.lexical(legs, query, search.k, ids)
                for query, search, ids in zip(queries, searches, allowed, strict=True)
            ]
            clock.lap("search_lexical")
        if mode is not SearchMode.LEXICAL:
            vectors = self._embed(mode, index, [query.text for query in queries])
            clock.lap("embed_query")
            dense = leg_searches.dense(legs, vectors, [search.k for search in searches], allowed)
            cosines = [
                leg_searches.cosines(legs, vector, worded.keys() - near.keys())
                for vector, near, worded in zip(vectors, dense, lexical, strict=True)
            ]
            clock.lap("search_dense")
        weight = {"hybrid": self._settings.dense_weight, "dense": 1.0, "lexical": 0.0}[mode]
        found = []
        for query, search, near, worded, other in zip(
            queries, searches, dense, lexical, cosines, strict=True
        ):
            best = legs.lexical.best_possible(query.weights)
            hits = self._order(
                documents, fuse(near, worded, other, best, weight), query, search.options
            )
            found.append(_Found(query, hits, clock.laps_ms))
        clock.lap("fuse")
        return found

    def _read(self, asked: Asked, legs: Legs, allowed: Ids | None) -> SearchQuery:
        def knows(key: str) -> bool:
            return legs.lexical.knows(key, allowed)  # what others may read decides nothing here

        query = read_query(asked.question, knows, self._expand)
        translated = dict.fromkeys(search_keys(asked.translated), 1.0)
        weights = dict(asked.earlier_keys)
        for key, weight in (*query.weights.items(), *translated.items()):
            weights[key] = max(weights.get(key, 0.0), weight)
        return replace(
            query,
            text=f"{asked.leans_on} {query.text}".lstrip(),
            weights=with_beginnings(weights),
        )

    def _embed(self, mode: SearchMode, index: SearchIndex, texts: Sequence[str]) -> Vectors:
        known = self._vectors.get(mode)
        if known is None or known.embedder is not index.embedder:
            known = self._vectors[mode] = QueryVectors(index.embedder)
        return known.embed(texts)

    @staticmethod
    def _order(
        documents: LiveDocuments,
        hits: Sequence[Fused],
        query: SearchQuery,
        options: SearchOptions,
    ) -> list[Fused]:
        return ranking.order(
            hits,
            documents.of_chunks([hit.chunk_id for hit in hits]),
            wants_the_past=asks_about_the_past(query.text),
            recent_at=now() if options.prefer_recent else None,
        )

    async def _load(
        self, scope: AccessScope, hits: Sequence[Fused], timings_ms: dict[str, float]
    ) -> list[Passage]:
        """Load what the hits stand for, as far as the caller may still read it."""
        with stage("hydrate", timings_ms):
            async with self._database.reading() as connection:
                return await document_rows.load_passages(connection, scope, hits)

    async def _rerank(
        self,
        reranker: Reranker,
        question: str,
        passages: list[Passage],
        timings_ms: dict[str, float],
    ) -> list[Passage]:
        """Let the reranker order the best passages; where it fails or is slow, leave them."""
        texts = [index_text(p.title, p.heading_path, p.context, p.text) for p in passages]
        begun = perf_counter()
        try:
            async with asyncio.timeout(self._reranker_settings.timeout_s):
                with stage("rerank", timings_ms):
                    scores = await asyncio.get_running_loop().run_in_executor(
                        self._rerank_threads,
                        reranker.score,
                        question,
                        texts[:RERANKED],
                    )
        except (TimeoutError, RerankerUnavailable) as error:
            timings_ms["rerank_skipped"] = round((perf_counter() - begun) * 1000, 3)
            log.warning("rerank.skipped", reason=str(error) or "too slow")
            return passages
        return _reordered(passages, scores)

    def _shape(
        self, legs: Legs, readings: Sequence[str], loaded: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        """Join neighbours, collapse copies, and measure how much of the question's words they hold.

        `readings` are the question in each language that was searched for.
        """
        runs = {
            best_of(run).chunk_id: run
            for run in neighbour_runs(loaded, self._settings.joined_tokens)
        }
        kept = collapse_duplicates(map(joined, runs.values()), limit)
        chunks = [[chunk.chunk_id for chunk in runs[passage.chunk_id]] for passage in kept]
        coverages = [leg_searches.coverages(legs, reading, chunks) for reading in readings]
        return tuple(
            replace(passage, rank=rank, score=round(passage.score, 6), coverage=max(shares))
            for rank, (passage, *shares) in enumerate(zip(kept, *coverages, strict=True), start=1)
        )


class _Clock:
    """Times the stages of a batch, each of which counts for all of its searches."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._begun = perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        now_s = perf_counter()
        observe_stage(name, now_s - self._begun)
        self.laps_ms[name] = round((now_s - self._begun) * 1000, 3)
        self._begun = now_s


def _lift_phrases(phrases: Sequence[tuple[str, ...]], passages: Sequence[Passage]) -> list[Passage]:
    held = {
        passage.chunk_id
        for passage in passages
        if any(holds_phrase(_keys(passage), phrase) for phrase in phrases)
    }
    return ranking.phrases_first(passages, held)


def _reordered(passages: Sequence[Passage], scores: Scores) -> list[Passage]:
    """The passages that the reranker has read, best first, then the others as they were."""
    read = [
        replace(passage, score=float(score))
        for passage, score in zip(passages, scores, strict=False)
    ]
    least = min((passage.score for passage in read), default=1.0)
    rest = [replace(p, score=min(p.score, 1.0) * least) for p in passages[len(read) :]]
    return sorted(read, key=lambda passage: -passage.score) + rest


def _keys(passage: Passage) -> list[str]:
    return phrase_keys(
        index_text(passage.title, passage.heading_path, passage.context, passage.text)
    )
