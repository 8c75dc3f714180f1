"""How a parsed text becomes the chunks and vectors of a recipe."""

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import psycopg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Chunk
from app.db.repositories import jobs as job_rows
from app.db.session import Database
from app.domain.documents import ChunkDraft, JobState, ParsedDocument, index_text
from app.domain.errors import EmptyDocument, JobCancelled
from app.domain.ports import Embedder, Vectors
from app.domain.recipes import Recipe
from app.telemetry import stage
from ingestion.chunking import chunk
from ingestion.work import Progress, Work

_FIRST_BATCH, _LARGEST_BATCH = 32, 1024  # chunks
_BATCH_S = 1.5  # of embedding, between two looks at whether the job is cancelled
_STAGED_CHUNKS = 2000  # new chunks of a document that are kept safe before it is published

_COPY_CHUNK = (
    "COPY chunk (chunk_id, document_id, recipe_id, version, ordinal, char_start, char_end, text, "
    "context, heading_path, pages, tokens, gap, content_sha256) FROM STDIN (FORMAT BINARY)"
)
_CHUNK_TYPES = (
    *("int8", "text", "int2", "int8", "int8", "int8", "int8", "text", "text", "text[]", "int8[]"),
    *("int8", "text", "bytea"),
)
_COPY_EMBEDDING = "COPY embedding (chunk_id, vector) FROM STDIN (FORMAT BINARY)"
_MOVE = """
    UPDATE chunk SET version = %s, ordinal = m.ordinal, char_start = m.char_start,
        char_end = m.char_end, pages = m.pages::bigint[], gap = m.gap
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
        AS m (chunk_id, ordinal, char_start, char_end, pages, gap)
    WHERE chunk.chunk_id = m.chunk_id
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """A document's chunks by a recipe: which of them are stored already, the vectors of the others.

    `chunk_ids` are row for row with `drafts`, None for those that `vectors` float32 (new, dim) are
    of, in order.
    """

    recipe: Recipe
    document_id: str
    parsed: ParsedDocument
    drafts: Sequence[ChunkDraft]
    hashes: Sequence[bytes]
    chunk_ids: Sequence[int | None]
    vectors: Vectors


class Indexer:
    """Cuts and embeds; what a document said before is not embedded again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cut(
        self,
        work: Work,
        document_id: str,
        title: str,
        parsed: ParsedDocument,
        recipe: Recipe,
        embedder: Embedder,
        progress: Progress | None = None,
    ) -> Cut:
        """Prepare a document's chunks.

        Those of a long document are stored batch by batch, without a version, so that a worker
        that takes over after a death finds them.

        Raises:
            EmptyDocument: There is nothing to cut.
            JobCancelled: Somebody wants the end of the job, or another worker has it.
        """
        with stage("chunk"):
            drafts = await asyncio.to_thread(_chunk, work, parsed, recipe, embedder)
        if not drafts:
            raise EmptyDocument("the file holds no text")
        texts = [index_text(title, d.heading_path, d.context, d.text) for d in drafts]
        hashes = _hashes(title, drafts)
        async with self._database.transaction() as session:
            stored = await _stored(session, document_id, recipe)
        chunk_ids = [stored[digest].popleft() if stored[digest] else None for digest in hashes]
        new = [place for place, chunk_id in enumerate(chunk_ids) if chunk_id is None]
        # Of like length beside each other, so that batches hold little padding.
        new.sort(key=lambda place: drafts[place].tokens, reverse=True)
        nothing = np.empty((0, embedder.fingerprint.dimension), np.float32)
        cut = Cut(recipe, document_id, parsed, drafts, hashes, chunk_ids, nothing)
        held: dict[int, Vectors] = {}
        left = len(new)
        async with aclosing(_embedded(work, embedder, texts, new)) as batches:
            async for places, rows in batches:
                held.update(zip(places, rows, strict=True))
                left -= len(places)
                if len(new) > _STAGED_CHUNKS and (len(held) >= _STAGED_CHUNKS or left == 0):
                    ids = await self._stage(work, cut, list(held), np.stack([*held.values()]))
                    for place, chunk_id in zip(held, ids, strict=True):
                        chunk_ids[place] = chunk_id
                    held.clear()
                if progress is not None:
                    await progress(len(drafts) - left, len(drafts), "chunks")
        if not held:
            return cut
        return replace(cut, vectors=np.stack([held[place] for place in sorted(held)]))

    async def _stage(
        self, work: Work, cut: Cut, places: Sequence[int], vectors: Vectors
    ) -> Sequence[int]:
        """Store some chunks without a version, unless another worker has the job."""
        async with self._database.transaction() as session:
            await lock_own_job(session, work)
            return await _insert(session, cut, None, places, vectors)


def fresh(
    recipe: Recipe,
    document_id: str,
    title: str,
    parsed: ParsedDocument,
    drafts: Sequence[ChunkDraft],
    vectors: Vectors,
) -> Cut:
    """The cut of a document of which nothing is stored."""
    nothing = [None] * len(drafts)
    return Cut(recipe, document_id, parsed, drafts, _hashes(title, drafts), nothing, vectors)


async def _embedded(
    work: Work, embedder: Embedder, texts: Sequence[str], places: Sequence[int]
) -> AsyncGenerator[tuple[Sequence[int], Vectors], None]:
    """Embed the texts at some places, in batches that take about `_BATCH_S`.

    The next batch is being embedded while the caller stores the one before.

    Yields:
        Places, and float32 (places, dim) rows.
    """

    async def embed(batch: Sequence[int]) -> tuple[Vectors, float]:
        work.check()
        began = monotonic()
        with stage("embed"):
            rows = await asyncio.to_thread(embedder.embed_passages, [texts[p] for p in batch])
        return rows, max(monotonic() - began, 1e-3)

    size, done = _FIRST_BATCH, 0
    batch = places[:size]
    if not batch:
        return
    running = asyncio.create_task(embed(batch))
    try:
        while batch:
            rows, spent_s = await running
            embedded, done = batch, done + len(batch)
            size = int(min(max(len(batch) * _BATCH_S / spent_s, 1), 2 * size, _LARGEST_BATCH))
            batch = places[done : done + size]
            if batch:
                running = asyncio.create_task(embed(batch))
            yield embedded, rows
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def lock_own_job(session: AsyncSession, work: Work) -> None:
    """Lock a job until the transaction's end.

    Raises:
        JobCancelled: It was cancelled, or another worker has it.
    """
    job = await job_rows.lock_job(session, work.job_id)
    if job is None or job.attempts != work.attempt or job.state != JobState.RUNNING:
        raise JobCancelled("another worker took this job over")
    if job.cancel_requested:
        raise JobCancelled("the job was cancelled")


class Overtaken(Exception):
    """Chunks that a cut wanted to keep are gone: another version was published meanwhile."""


async def store(session: AsyncSession, cut: Cut, version: int) -> None:
    """Make the cut a version's chunks, and the only ones that the recipe has of the document.

    Raises:
        Overtaken: The document has to be cut again; the transaction must be rolled back.
    """
    places = [place for place, chunk_id in enumerate(cut.chunk_ids) if chunk_id is not None]
    connection = await _driver(session)
    ids = [cut.chunk_ids[place] for place in places]
    if places:
        drafts = [cut.drafts[place] for place in places]
        moved = await connection.execute(
            _MOVE,
            (
                version,
                ids,
                [draft.ordinal for draft in drafts],
                [draft.char_start for draft in drafts],
                [draft.char_end for draft in drafts],
                ["{" + ",".join(map(str, draft.pages)) + "}" for draft in drafts],
                [_gap(cut, place) for place in places],
            ),
        )
        if moved.rowcount != len(ids):
            raise Overtaken
    new = [place for place, chunk_id in enumerate(cut.chunk_ids) if chunk_id is None]
    ids += await _insert(session, cut, version, new, cut.vectors)
    await connection.execute(
        "DELETE FROM chunk WHERE document_id = %s AND recipe_id = %s "
        "AND chunk_id NOT IN (SELECT unnest(%s::bigint[]))",
        (cut.document_id, cut.recipe.recipe_id, ids),
    )


async def _insert(
    session: AsyncSession,
    cut: Cut,
    version: int | None,
    places: Sequence[int],
    vectors: Vectors,
) -> Sequence[int]:
    """Store the chunks at some places of a cut with their vectors; return their ids."""
    if not places:
        return []
    connection = await _driver(session)
    numbers = await connection.execute(
        "SELECT nextval(pg_get_serial_sequence('chunk', 'chunk_id')) FROM generate_series(1, %s)",
        (len(places),),
    )
    ids: list[int] = [row[0] for row in await numbers.fetchall()]
    recipe_id = cut.recipe.recipe_id
    async with connection.cursor() as cursor:
        async with cursor.copy(_COPY_CHUNK) as copy:
            copy.set_types(_CHUNK_TYPES)
            for chunk_id, place in zip(ids, places, strict=True):
                d = cut.drafts[place]
                await copy.write_row(
                    (
                        *(chunk_id, cut.document_id, recipe_id, version, d.ordinal),
                        *(d.char_start, d.char_end, d.text, d.context, list(d.heading_path)),
                        *(list(d.pages), d.tokens, _gap(cut, place), cut.hashes[place]),
                    )
                )
        async with cursor.copy(_COPY_EMBEDDING) as copy:
            copy.set_types(("int8", "bytea"))
            for chunk_id, vector in zip(ids, vectors.astype("<f4"), strict=True):
                await copy.write_row((chunk_id, vector.tobytes()))
    return ids


async def _stored(
    session: AsyncSession, document_id: str, recipe: Recipe
) -> dict[bytes, deque[int]]:
    """A document's chunk ids by what the chunks say, in their order."""
    query = (
        select(Chunk.content_sha256, Chunk.chunk_id)
        .filter_by(document_id=document_id, recipe_id=recipe.recipe_id)
        .order_by(Chunk.ordinal, Chunk.chunk_id)
    )
    stored: dict[bytes, deque[int]] = defaultdict(deque)
    for digest, chunk_id in await session.execute(query):
        stored[digest].append(chunk_id)
    return stored


async def _driver(session: AsyncSession) -> psycopg.AsyncConnection:
    """Psycopg's connection beneath a session: what copies rows in bulk."""
    raw = await (await session.connection()).get_raw_connection()
    assert isinstance(raw.driver_connection, psycopg.AsyncConnection)
    return raw.driver_connection


def _chunk(
    work: Work, parsed: ParsedDocument, recipe: Recipe, embedder: Embedder
) -> list[ChunkDraft]:
    def count_tokens(text: str) -> int:
        work.check()
        return embedder.count_tokens(text)

    return chunk(parsed, count_tokens, min(recipe.chunk_tokens, embedder.max_tokens))


def _hashes(title: str, drafts: Sequence[ChunkDraft]) -> list[bytes]:
    """A digest of each chunk's parts; what is read of it is equal where they are."""
    parts = (repr((title, d.heading_path, d.context, d.text)) for d in drafts)
    return [hashlib.sha256(part.encode()).digest() for part in parts]


def _gap(cut: Cut, place: int) -> str | None:
    """The text up to the next chunk, if it is no more than white space."""
    if place + 1 == len(cut.drafts):
        return None
    draft, following = cut.drafts[place], cut.drafts[place + 1]
    if following.char_start < draft.char_end:
        return None
    between = cut.parsed.text[draft.char_end : following.char_start]
    return None if between.strip() else between
