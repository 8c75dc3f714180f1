"""The index log, generations and vectors."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import Chunk, DocumentVersion, Embedding, EmbeddingModel, Generation, IndexLog
from app.domain.documents import index_text
from app.domain.ports import EmbedderFingerprint, Vectors

CHANNEL = "opora_index"
_LOG_LOCK = 0x6F706C6F67


async def append_log(session: AsyncSession, kind: str, document_id: str) -> None:
    """Append to the index log; its lock is held until the commit, so numbers follow commits."""
    await session.execute(select(func.pg_advisory_xact_lock(_LOG_LOCK)))
    number = select(func.coalesce(func.max(IndexLog.number), 0) + 1).scalar_subquery()
    await session.execute(
        insert(IndexLog).values(number=number, kind=kind, document_id=document_id, created_at=now())
    )
    await session.execute(text(f"NOTIFY {CHANNEL}"))


async def log_number(session: AsyncSession) -> int:
    """The newest number of the log, 0 for an empty one."""
    return await session.scalar(select(func.coalesce(func.max(IndexLog.number), 0))) or 0


async def read_log(session: AsyncSession, after: int, limit: int = 1000) -> Sequence[IndexLog]:
    """Rows after a number, in order."""
    query = select(IndexLog).where(IndexLog.number > after).order_by(IndexLog.number).limit(limit)
    return (await session.scalars(query)).all()


async def embedding_model_id(session: AsyncSession, fingerprint: EmbedderFingerprint) -> int:
    """The short number of an embedder, made on first use."""
    row = {"fingerprint": str(fingerprint), "dimension": fingerprint.dimension}
    await session.execute(insert(EmbeddingModel).values(row).on_conflict_do_nothing())
    query = select(EmbeddingModel.embedding_model_id).where(
        EmbeddingModel.fingerprint == str(fingerprint)
    )
    return (await session.scalars(query)).one()


async def foreign_fingerprint(
    session: AsyncSession, fingerprint: EmbedderFingerprint
) -> str | None:
    """The fingerprint that the stored vectors have, when none of them has the given one."""
    used = select(Embedding.chunk_id).where(
        Embedding.embedding_model_id == EmbeddingModel.embedding_model_id
    )
    query = select(EmbeddingModel.fingerprint).where(used.exists())
    found = (await session.scalars(query)).all()
    return found[0] if found and str(fingerprint) not in found else None


async def load_chunks(
    session: AsyncSession, model_id: int, chunk_ids: Sequence[int]
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
        .where(Chunk.chunk_id.in_(chunk_ids), Embedding.embedding_model_id == model_id)
        .order_by(Chunk.chunk_id)
    )
    rows = (await session.execute(query)).all()
    ids = [chunk.chunk_id for chunk, _, _ in rows]
    texts = [index_text(title, c.heading_path, c.context, c.text) for c, title, _ in rows]
    vectors = np.frombuffer(b"".join(vector for _, _, vector in rows), dtype="<f4")
    return ids, texts, vectors.reshape(len(rows), -1) if rows else np.empty((0, 0), np.float32)


async def active_generation(session: AsyncSession) -> Generation | None:
    """The generation that readers load."""
    return (await session.scalars(select(Generation).where(Generation.state == "active"))).first()


async def activate_generation(session: AsyncSession, generation: Generation) -> list[str]:
    """Make a new generation the active one, keep the one before for the way back.

    Returns:
        Ids of older generations whose directories may go.
    """
    before = await active_generation(session)
    await session.execute(
        update(Generation).where(Generation.state == "active").values(state="ready")
    )
    generation.state, generation.activated_at = "active", now()
    session.add(generation)
    kept = {generation.generation_id, before.generation_id if before else ""}
    old = select(Generation).where(
        Generation.generation_id.not_in(kept), Generation.state == "ready"
    )
    retired = (await session.scalars(old)).all()
    for row in retired:
        row.state = "retired"
    return [row.generation_id for row in retired]
