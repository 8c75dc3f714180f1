"""The stored glossary and its announcements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import GlossaryRow
from app.domain.glossary import Entry

CHANNEL = "opora_glossary"


@dataclass(frozen=True, slots=True)
class StoredGlossary:
    """All entries, and when they were stored: None for no glossary."""

    entries: tuple[Entry, ...]
    updated_at: datetime | None


async def load(session: AsyncSession) -> StoredGlossary:
    """The glossary as it stands."""
    row = (await session.scalars(select(GlossaryRow))).first()
    if row is None:
        return StoredGlossary((), None)
    entries = tuple(Entry(term, tuple(same), language) for term, same, language in row.entries)
    return StoredGlossary(entries, row.updated_at)


async def updated_at(session: AsyncSession) -> datetime | None:
    """When it was stored, None for no glossary."""
    return await session.scalar(select(GlossaryRow.updated_at))


async def replace(session: AsyncSession, entries: Sequence[Entry]) -> datetime:
    """Put these entries in the place of all others; return when."""
    moment = now()
    row = {
        "entries": [[entry.term, entry.expansions, entry.language] for entry in entries],
        "updated_at": moment,
    }
    upsert = insert(GlossaryRow).values(glossary_id=1, **row)
    await session.execute(upsert.on_conflict_do_update(index_elements=["glossary_id"], set_=row))
    await session.execute(text(f"NOTIFY {CHANNEL}"))
    return moment


async def clear(session: AsyncSession) -> None:
    """Remove the glossary."""
    await session.execute(delete(GlossaryRow))
    await session.execute(text(f"NOTIFY {CHANNEL}"))
