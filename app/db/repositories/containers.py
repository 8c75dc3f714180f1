"""ZIP archives: documents whose text lies in their members, which are documents too."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.repositories import index as index_rows
from app.domain.documents import CONTAINER


async def with_members(session: AsyncSession, document_ids: Sequence[str]) -> list[str]:
    """These documents and, of ZIP archives among them, all that they hold."""
    found = await session.scalars(
        text(
            """
            WITH RECURSIVE family(document_id) AS (
                SELECT unnest(CAST(:ids AS text[]))
                UNION SELECT d.document_id FROM document d
                JOIN family f ON d.source_id = f.document_id WHERE d.deleted_at IS NULL
            ) SELECT document_id FROM family
            """
        ),
        {"ids": list(document_ids)},
    )
    return list(found)


async def depth(session: AsyncSession, document_id: str) -> int:
    """How many ZIP archives a document lies in."""
    found = await session.scalar(
        text(
            """
            WITH RECURSIVE above(document_id, source_id) AS (
                SELECT document_id, source_id FROM document WHERE document_id = :id
                UNION SELECT d.document_id, d.source_id FROM document d
                JOIN above a ON d.document_id = a.source_id
            ) SELECT count(*) - 1 FROM above
            """
        ),
        {"id": document_id},
    )
    return int(found or 0)


async def end_containers(session: AsyncSession, job_ids: Sequence[str]) -> None:
    """Let ZIP archives whose members have all ended be live, each with the sum of their chunks."""
    await session.execute(
        text(
            """
            UPDATE document_version v SET
                chunks = m.chunks, finished_at = :at,
                status = CASE WHEN j.state = 'cancelled' THEN 'cancelled'
                    WHEN m.members = 0 THEN 'empty' ELSE 'live' END,
                reason = CASE WHEN j.state = 'cancelled' THEN 'cancelled'
                    WHEN m.members = 0 THEN coalesce(v.reason, 'it holds nothing that can be read')
                    ELSE v.reason END
            FROM job j, document d, LATERAL (
                SELECT count(*) AS members, coalesce(sum(mv.chunks), 0) AS chunks
                FROM document md JOIN document_version mv
                    ON mv.document_id = md.document_id AND mv.version = md.live_version
                WHERE md.source_id = d.document_id AND md.deleted_at IS NULL
            ) m
            WHERE j.job_id = ANY(:ids) AND d.document_id = j.document_id
                AND v.document_id = d.document_id AND v.version = j.version
                AND d.deleted_at IS NULL AND :container = ANY(v.flags)
            """
        ),
        {"ids": list(job_ids), "at": now(), "container": CONTAINER},
    )
    lived = await session.scalars(
        text(
            """
            UPDATE document d SET live_version = v.version, updated_at = :at
            FROM job j, document_version v
            WHERE j.job_id = ANY(:ids) AND v.document_id = j.document_id AND v.version = j.version
                AND d.document_id = v.document_id AND d.deleted_at IS NULL
                AND coalesce(d.live_version, 0) <= v.version
                AND v.status = 'live' AND :container = ANY(v.flags)
            RETURNING d.document_id
            """
        ),
        {"ids": list(job_ids), "at": now(), "container": CONTAINER},
    )
    await index_rows.append_logs(session, "set", list(lived))
