"""The audit trail: read, exported and shortened; `app.db.repositories.access.record` appends."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import AuditRow
from app.domain.audit import details_text

Draft = tuple[str, str, str, Mapping[str, object]]
"""Actor, action, target and details of an event to be."""


async def append_fast(connection: AsyncConnection[TupleRow], drafts: Sequence[Draft]) -> None:
    """Append without waiting for the disk: a crash of PostgreSQL may lose the last half second."""
    actors, actions, targets, details = zip(*drafts, strict=True)
    await connection.execute(
        """
        SELECT audit_append(actor, action, target, details, true)
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
             AS draft(actor, action, target, details, place)
        ORDER BY place
        """,
        (list(actors), list(actions), list(targets), [details_text(one) for one in details]),
    )


async def list_events(
    session: AsyncSession,
    limit: int,
    newest_first: bool,
    beyond: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[AuditRow]:
    """Some events; `beyond` is the number of the last one of the page before."""
    query = select(AuditRow).limit(limit)
    query = query.order_by(AuditRow.number.desc() if newest_first else AuditRow.number)
    if beyond is not None:
        query = query.where(AuditRow.number < beyond if newest_first else AuditRow.number > beyond)
    for column, wanted in (
        (AuditRow.actor, actor),
        (AuditRow.action, action),
        (AuditRow.target, target),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if since is not None:
        query = query.where(AuditRow.at >= since)
    if until is not None:
        query = query.where(AuditRow.at < until)
    return (await session.scalars(query)).all()


async def last_before(session: AsyncSession, moment: datetime) -> AuditRow | None:
    """The last event before a moment, None where there is none."""
    query = select(AuditRow).where(AuditRow.at < moment).order_by(AuditRow.number.desc()).limit(1)
    return await session.scalar(query)


async def delete_through(session: AsyncSession, number: int) -> None:
    """Delete the beginning of the trail, up to a number."""
    await session.execute(text("SET LOCAL opora.audit_retention = 'on'"))
    await session.execute(delete(AuditRow).where(AuditRow.number <= number))
