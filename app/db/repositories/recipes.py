"""Recipes: which one serves, and which documents each of them still lacks."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Chunk, Generation
from app.db.models import Recipe as RecipeRow
from app.db.repositories import index as index_rows
from app.domain.errors import Conflict
from app.domain.ports import EmbedderFingerprint
from app.domain.recipes import CHUNKING, EmbedderSpec

SERVING, KEPT, RETIRED = "serving", "kept", "retired"


async def serving(session: AsyncSession) -> RecipeRow | None:
    """The recipe that questions are answered with; None in a new database."""
    return (await session.scalars(select(RecipeRow).filter_by(state=SERVING))).first()


async def get(session: AsyncSession, recipe_id: int) -> RecipeRow | None:
    """A recipe by its number."""
    return await session.get(RecipeRow, recipe_id)


async def find_or_add(
    session: AsyncSession,
    spec: EmbedderSpec,
    fingerprint: EmbedderFingerprint,
    chunk_tokens: int,
    *,
    serves: bool = False,
) -> RecipeRow:
    """The recipe of these parts, made on first use; one that `serves` only if none does yet.

    Raises:
        Conflict: It is being deleted.
    """
    values = {
        "fingerprint": str(fingerprint),
        "dimension": fingerprint.dimension,
        "embedder": asdict(spec),
        "chunk_tokens": chunk_tokens,
        "chunking": CHUNKING,
        "state": SERVING if serves else KEPT,
    }
    await session.execute(insert(RecipeRow).values(values).on_conflict_do_nothing())
    parts = {name: values[name] for name in ("fingerprint", "chunk_tokens", "chunking")}
    found = await serving(session) if serves else None
    row = found or (await session.scalars(select(RecipeRow).filter_by(**parts))).one()
    if row.state == RETIRED:
        raise Conflict("this index is being deleted: try again when that is done")
    return row


async def serve(session: AsyncSession, recipe_id: int) -> bool:
    """Let questions be answered with a recipe, if it has every live document.

    No document is published meanwhile: the index log is locked until the transaction's end.
    """
    await index_rows.lock_log(session)
    if await count_stale(session, recipe_id):
        return False
    await session.execute(update(RecipeRow).filter_by(state=SERVING).values(state=KEPT))
    await session.execute(update(RecipeRow).filter_by(recipe_id=recipe_id).values(state=SERVING))
    await session.execute(text(f"NOTIFY {index_rows.CHANNEL}"))
    return True


_STALE = """
    FROM document d JOIN parsed_text p
        ON p.document_id = d.document_id AND p.version = d.live_version
    WHERE d.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM chunk c WHERE c.document_id = d.document_id AND c.recipe_id = :recipe_id
            AND c.version = d.live_version)
"""


async def stale(
    session: AsyncSession, recipe_id: int, after: str, limit: int
) -> Sequence[tuple[str, int]]:
    """Live documents, with their version, that have no chunks of a recipe, by id after one."""
    query = text(
        f"SELECT d.document_id, d.live_version {_STALE} "
        "AND d.document_id > :after ORDER BY 1 LIMIT :limit"
    )
    rows = await session.execute(query, {"recipe_id": recipe_id, "after": after, "limit": limit})
    return [(row[0], row[1]) for row in rows]


async def count_stale(session: AsyncSession, recipe_id: int) -> int:
    """How many there are."""
    query = text(f"SELECT count(*) {_STALE}")
    return await session.scalar(query, {"recipe_id": recipe_id}) or 0


async def retire(session: AsyncSession, recipe_id: int) -> list[str]:
    """Put a recipe out of use, to be dropped piece by piece.

    Returns:
        Ids of its generations, whose directories may go.
    """
    row = await session.get(RecipeRow, recipe_id)
    assert row is not None
    row.state = RETIRED
    gone = await session.scalars(
        delete(Generation).filter_by(recipe_id=recipe_id).returning(Generation.generation_id)
    )
    return list(gone.all())


async def drop_some(session: AsyncSession, recipe_id: int, limit: int) -> int:
    """Delete so many of a retired recipe's chunks, or, when none is left, the recipe.

    Returns:
        How many chunks were deleted.
    """
    some = (
        select(Chunk.chunk_id).filter_by(recipe_id=recipe_id).order_by(Chunk.chunk_id).limit(limit)
    )
    ids = list((await session.scalars(some)).all())
    count = len(ids)
    await session.execute(
        text("DELETE FROM chunk WHERE chunk_id = ANY(CAST(:ids AS bigint[]))"), {"ids": ids}
    )
    if count == 0:
        await session.execute(delete(RecipeRow).filter_by(recipe_id=recipe_id, state=RETIRED))
    return count
