"""Both index legs of a recipe and how they follow the truth in SQL."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.session import Database
from app.domain.documents import IndexedDocument
from app.domain.ports import Embedder, Ids, LexicalIndex, VectorIndex, Vectors
from app.domain.text import index_keys
from app.services.live_documents import LiveDocuments
from app.telemetry import INDEX_CHUNKS, INDEX_LOG, get_logger

log = get_logger(__name__)

_BATCH = 2000
_NOTHING: Ids = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Legs:
    """An empty or loaded pair of indexes, and the generation that they were loaded from."""

    vectors: VectorIndex
    lexical: LexicalIndex
    generation_id: str


class SearchIndex:
    """The searchable state of this process: vectors, keys and what may be read by whom.

    Every change comes from SQL: `load` compares the legs with the live chunks there, `catch_up`
    reads the index log. Both change the legs in place; a search in between may miss what is just
    coming or propose what is just going, and the passages are loaded from SQL anyway.
    """

    def __init__(
        self,
        database: Database,
        recipe_id: int,
        embedder: Embedder,
        load_legs: Callable[[], Awaitable[Legs]],
    ) -> None:
        """Prepare an index of a recipe's chunks; its questions are embedded as they were."""
        self._database = database
        self.recipe_id = recipe_id
        self.embedder = embedder
        self._load_legs = load_legs
        self._documents = LiveDocuments()
        self._legs: Legs | None = None
        self.log_number = 0

    @property
    def legs(self) -> Legs:
        """Both legs, once they are loaded."""
        assert self._legs is not None
        return self._legs

    @property
    def generation_id(self) -> str:
        """The generation with the log number that it was followed to."""
        return f"{self.legs.generation_id}+{self.log_number}"

    @property
    def documents(self) -> LiveDocuments:
        """The live documents that this process knows."""
        return self._documents

    async def load(self) -> None:
        """Load the recipe's active generation, or nothing, and make it equal to SQL."""
        legs = await self._load_legs()
        async with self._database.transaction() as session:
            self.log_number = await index_rows.log_number(session)
            rows = await document_rows.load_indexed(session, self.recipe_id)
            documents = await asyncio.to_thread(LiveDocuments, rows.values())
            live = documents.chunk_ids()
            stale = np.setdiff1d(np.union1d(legs.vectors.ids, legs.lexical.ids), live)
            missing = np.setdiff1d(live, np.intersect1d(legs.vectors.ids, legs.lexical.ids))
            await asyncio.to_thread(_remove, legs, stale)
            await self._add(session, legs, missing)
        self._documents = documents
        self._legs = legs
        self._report()
        log.info(
            "index.loaded",
            recipe=self.recipe_id,
            generation=legs.generation_id,
            documents=len(documents),
            chunks=len(live),
            added=len(missing),
            removed=len(stale),
        )

    async def catch_up(self) -> int:
        """Apply the log rows since the last look; return how many there were."""
        legs = self.legs
        async with self._database.transaction() as session:
            rows = await index_rows.read_log(session, self.log_number)
            if not rows:
                return 0
            touched = sorted({row.document_id for row in rows})
            fresh = await document_rows.load_indexed(session, self.recipe_id, touched)
            before, after = self._documents.chunk_ids(touched), _chunk_ids(fresh.values())
            await asyncio.to_thread(_remove, legs, np.setdiff1d(before, after))
            await self._add(session, legs, np.setdiff1d(after, before))
        await asyncio.to_thread(self._documents.replace, touched, fresh.values())
        self.log_number = rows[-1].number
        self._report()
        log.debug("index.followed", rows=len(rows), log_number=self.log_number)
        return len(rows)

    async def _add(self, session: AsyncSession, legs: Legs, ids: Ids) -> None:
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH].tolist()
            found, texts, vectors = await index_rows.load_chunks(session, batch)
            if found:
                array = np.array(found, dtype=np.int64)
                await asyncio.to_thread(_add, legs, array, texts, vectors)

    def _report(self) -> None:
        INDEX_LOG.set(self.log_number)
        INDEX_CHUNKS.set(self.legs.vectors.size)


def _add(legs: Legs, ids: Ids, texts: list[str], vectors: Vectors) -> None:
    legs.lexical.add(ids, [index_keys(text) for text in texts])
    legs.vectors.add(ids, vectors)


def _remove(legs: Legs, ids: Ids) -> None:
    if len(ids):
        legs.vectors.remove(ids)
        legs.lexical.remove(ids)


def _chunk_ids(documents: Iterable[IndexedDocument]) -> Ids:
    chunks = [np.array(document.chunk_ids, dtype=np.int64) for document in documents]
    return np.sort(np.concatenate(chunks)) if chunks else _NOTHING
