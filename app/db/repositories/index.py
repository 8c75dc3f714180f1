"""The index log, generations and vectors."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import Chunk, DocumentVersion, Embedding, Generation, IndexLog, Recipe
from app.domain.documents import index_text
from app.domain.ports import Vectors

CHANNEL = "opora_index"
_LOG_LOCK = 0x6F706C6F67


async def lock_log(session: AsyncSession) -> None:
    """Let nobody else append to the index log until the transaction's end."""
    await session.execute(select(func.pg_advisory_xact_lock(_LOG_LOCK)))


async def append_log(session: AsyncSession, kind: str, document_id: str) -> None:
    """Append to the index log; its lock is held until the commit, so numbers follow commits."""
    await append_logs(session, kind, [document_id])


async def append_logs(session: AsyncSession, kind: str, document_ids: Sequence[str]) -> None:
    """Append a row for each document, as `append_log` does."""
    if not document_ids:
        return
    await lock_log(session)
    await session.execute(
        text(
            """
            INSERT INTO index_log (number, kind, document_id, created_at)
            SELECT (SELECT coalesce(max(number), 0) FROM index_log) + u.position, :kind, u.id, :at
            FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS u(id, position)
            """
        ),
        {"kind": kind, "ids": list(document_ids), "at": now()},
    )
    await session.execute(text(f"NOTIFY {CHANNEL}"))


async def log_number(session: AsyncSession) -> int:
    """The newest number of the log, 0 for an empty one."""
    return await session.scalar(select(func.coalesce(func.max(IndexLog.number), 0))) or 0


async def read_log(session: AsyncSession, after: int, limit: int = 1000) -> Sequence[IndexLog]:
    """Rows after a number, in order."""
    query = select(IndexLog).where(IndexLog.number > after).order_by(IndexLog.number).limit(limit)
    return (await session.scalars(query)).all()


async def load_chunks(
    session: AsyncSession, chunk_ids: Sequence[int]
) -> tuple[list[int], list[str], Vectors]:
    """Load chunks for indexing.

    Returns:
        Ids, the texts that the lexical leg reads, and float32 (n, dim) vectors, row for row.
    """
    query = (
        select(Chunk, DocumentVersion.title, Embedding.vector)
        .join(Embedding, Embedding.chunk_id == Chunk.chunk_id)
        .join(
            DocumentVersion,
            (DocumentVersion.document_id == Chunk.document_id)
            & (DocumentVersion.version == Chunk.version),
        )
        .where(Chunk.chunk_id.in_(chunk_ids))
        .order_by(Chunk.chunk_id)
    )
    rows = (await session.execute(query)).all()
    ids = [chunk.chunk_id for chunk, _, _ in rows]
    texts = [index_text(title, c.heading_path, c.context, c.text) for c, title, _ in rows]
    vectors = np.frombuffer(b"".join(vector for _, _, vector in rows), dtype="<f4")
    return ids, texts, vectors.reshape(len(rows), -1) if rows else np.empty((0, 0), np.float32)


async def active_generation(session: AsyncSession, recipe_id: int) -> Generation | None:
    """The generation that a process which starts loads for a recipe."""
    query = select(Generation).filter_by(recipe_id=recipe_id, state="active")
    return (await session.scalars(query)).first()


async def behind(session: AsyncSession) -> tuple[int, int]:
    """How many log rows the serving recipe's generation lacks, and how many chunks it holds."""
    query = (
        select(Generation)
        .join(Recipe, Recipe.recipe_id == Generation.recipe_id)
        .where(Recipe.state == "serving", Generation.state == "active")
    )
    active = (await session.scalars(query)).first()
    newest = await log_number(session)
    return (newest - active.log_number, active.chunks) if active else (newest, 0)


async def list_generations(session: AsyncSession) -> Sequence[tuple[Generation, Recipe]]:
    """Generations whose directories are kept, newest first, with their recipes."""
    query = (
        select(Generation, Recipe)
        .join(Recipe, Recipe.recipe_id == Generation.recipe_id)
        .where(Generation.state != "retired")
        .order_by(Generation.generation_id.desc())
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def activate_generation(session: AsyncSession, generation: Generation) -> list[str]:
    """Make a new generation its recipe's active one, keep the one before for who loads it now.

    Returns:
        Ids of older generations whose directories may go.
    """
    await session.get(Recipe, generation.recipe_id, with_for_update=True)  # one at a time
    before = await active_generation(session, generation.recipe_id)
    own = Generation.recipe_id == generation.recipe_id
    await session.execute(
        update(Generation).where(own, Generation.state == "active").values(state="ready")
    )
    generation.state, generation.activated_at = "active", now()
    session.add(generation)
    kept = {generation.generation_id, before.generation_id if before else ""}
    old = select(Generation).where(
        own, Generation.generation_id.not_in(kept), Generation.state == "ready"
    )
    retired = (await session.scalars(old)).all()
    for row in retired:
        row.state = "retired"
    return [row.generation_id for row in retired]
