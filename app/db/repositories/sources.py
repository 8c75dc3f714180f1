"""Sources, and the documents that came from them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, any_, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text

from app.db.base import now
from app.db.models import Document, DocumentVersion, Job, SkippedFile, Source, SourceSync
from app.db.repositories import index as index_rows
from app.db.repositories.containers import with_members
from app.db.repositories.jobs import OPEN
from app.domain.documents import DocumentStatus
from app.domain.errors import NotFound
from app.domain.sources import Held, Skipped, SyncReport

SYNC = "sync"
_ROWS = 5000


async def get_source(session: AsyncSession, source_id: str, lock: bool = False) -> Source:
    """Return a source or raise NotFound."""
    found = await session.get(Source, source_id, with_for_update=lock or None)
    if found is None:
        raise NotFound(f"there is no source {source_id!r}")
    return found


async def name_is_taken(session: AsyncSession, name: str) -> bool:
    """Whether there is a source of this name."""
    return (await session.scalar(select(Source.source_id).where(Source.name == name))) is not None


async def list_sources(
    session: AsyncSession, limit: int, before: str | None = None
) -> Sequence[Source]:
    """Sources, newest first."""
    query = select(Source).order_by(Source.source_id.desc()).limit(limit)
    if before:
        query = query.where(Source.source_id < before)
    return (await session.scalars(query)).all()


async def take_due(session: AsyncSession, at: datetime) -> Source | None:
    """A source that is due for a sync, locked; those that another worker holds are passed over."""
    query = (
        select(Source)
        .where(Source.next_sync_at <= at)
        .order_by(Source.next_sync_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (await session.scalars(query)).first()


async def open_sync(session: AsyncSession, source_id: str) -> Job | None:
    """The queued or running sync of a source."""
    query = select(Job).where(
        Job.kind == SYNC, Job.state.in_(OPEN), Job.options["source_id"].astext == source_id
    )
    return (await session.scalars(query.limit(1))).first()


async def save_report(
    session: AsyncSession, job_id: str, source_id: str, dry_run: bool, report: SyncReport
) -> None:
    """Write down what a sync did."""
    row = {"report": report.as_dict(), "finished_at": now()}
    await session.execute(
        insert(SourceSync)
        .values(job_id=job_id, source_id=source_id, dry_run=dry_run, **row)
        .on_conflict_do_update(index_elements=["job_id"], set_=row)
    )


async def get_sync(session: AsyncSession, source_id: str, job_id: str) -> SourceSync:
    """Return what a sync did, or raise NotFound while it has not ended."""
    found = await session.get(SourceSync, job_id)
    if found is None or found.source_id != source_id:
        raise NotFound(f"source {source_id!r} has no ended sync {job_id!r}")
    return found


async def uses_collection(session: AsyncSession, name: str) -> bool:
    """Whether the documents of a source go into a collection."""
    query = select(Source.source_id).where(Source.collection == name).limit(1)
    return (await session.scalars(query)).first() is not None


async def last_syncs(
    session: AsyncSession, source_id: str, limit: int, before: str | None = None
) -> Sequence[SourceSync]:
    """What the syncs of a source did, newest first."""
    query = (
        select(SourceSync)
        .where(SourceSync.source_id == source_id)
        .order_by(SourceSync.job_id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(SourceSync.job_id < before)
    return (await session.scalars(query)).all()


async def list_skipped(
    session: AsyncSession, source_id: str, limit: int | None = None, after: str | None = None
) -> list[Skipped]:
    """The files of a source that are not read, by their keys."""
    query = select(SkippedFile).where(SkippedFile.source_id == source_id)
    if after is not None:
        query = query.where(SkippedFile.key > after)
    rows = await session.scalars(query.order_by(SkippedFile.key).limit(limit))
    return [Skipped(row.key, row.reason, row.mark) for row in rows]


async def replace_skipped(
    session: AsyncSession, source_id: str, skipped: Iterable[Skipped]
) -> None:
    """Put the files that are not read in the place of those of before."""
    await session.execute(delete(SkippedFile).where(SkippedFile.source_id == source_id))
    rows = [
        {"source_id": source_id, "key": one.key, "mark": one.mark, "reason": one.reason}
        for one in {one.key: one for one in skipped}.values()
    ]
    for start in range(0, len(rows), _ROWS):
        await session.execute(insert(SkippedFile), rows[start : start + _ROWS])


async def list_held(session: AsyncSession, source_id: str) -> list[Held]:
    """The documents of a source, those too that a person deleted."""
    query = (
        select(
            Document.document_id,
            Document.source_key,
            Document.source_mark,
            Document.deleted_at.is_not(None),
            DocumentVersion.status == DocumentStatus.CANCELLED,
        )
        .join(
            DocumentVersion,
            (DocumentVersion.document_id == Document.document_id)
            & (DocumentVersion.version == Document.latest_version),
        )
        .where(Document.source_id == source_id)
    )
    return [
        Held(document_id, key or "", mark, withdrawn, cancelled)
        for document_id, key, mark, withdrawn, cancelled in await session.execute(query)
    ]


async def lock_archive(session: AsyncSession, source_id: str) -> Document | None:
    """The document of a ZIP archive, whose readers stay until the transaction's end."""
    return await session.get(Document, source_id, with_for_update={"read": True})


async def newest_sha256(session: AsyncSession, document_id: str) -> str | None:
    """The SHA-256 of a document's newest version, in hex."""
    query = select(DocumentVersion.sha256).where(DocumentVersion.document_id == document_id)
    return (await session.scalars(query.order_by(DocumentVersion.version.desc()).limit(1))).first()


async def keys_of(session: AsyncSession, source_id: str) -> list[tuple[str, str]]:
    """Ids and keys of the documents of a source that are there."""
    query = select(Document.document_id, Document.source_key).where(
        Document.source_id == source_id, Document.deleted_at.is_(None)
    )
    return [(document_id, key or "") for document_id, key in await session.execute(query)]


async def remove(session: AsyncSession, document_ids: Sequence[str], forget: bool) -> int:
    """Delete documents with their members: from the commit on they are in no answer any more.

    Args:
        session: In the transaction that makes it true.
        document_ids: Of documents that are there; others are left alone.
        forget: Whether their source may give them anew.

    Returns:
        How many documents were deleted, members counted.
    """
    if not document_ids:
        return 0
    family = await with_members(session, document_ids)
    gone = await session.scalars(
        update(Document)
        .where(_among(family), Document.deleted_at.is_(None))
        .values(deleted_at=now(), live_version=None)
        .returning(Document.document_id)
    )
    deleted = list(gone)
    if forget:
        await session.execute(
            update(Document)
            .where(_among(document_ids))
            .values(source_id=None, source_key=None, source_mark=None)
        )
    await index_rows.append_logs(session, "remove", deleted)
    return len(deleted)


async def place(
    session: AsyncSession, document_ids: Sequence[str], collection: str, readers: Sequence[str]
) -> None:
    """Put documents, with their members, into a collection and give them readers."""
    family = await with_members(session, document_ids)
    moved = await session.scalars(
        update(Document)
        .where(
            _among(family),
            Document.deleted_at.is_(None),
            (Document.collection != collection)
            | (Document.readers != cast(list(readers), ARRAY(Text))),
        )
        .values(collection=collection, readers=list(readers), updated_at=now())
        .returning(Document.document_id)
    )
    await index_rows.append_logs(session, "set", list(moved))


async def release(session: AsyncSession, source_id: str) -> None:
    """Let the documents of a source stay as if they had been uploaded."""
    await session.execute(
        update(Document)
        .where(Document.source_id == source_id)
        .values(source_id=None, source_key=None, source_mark=None)
    )


async def count_documents(session: AsyncSession, source_ids: Sequence[str]) -> dict[str, int]:
    """How many documents that are there came from each source."""
    query = (
        select(Document.source_id, func.count())
        .where(
            Document.source_id == any_(cast(list(source_ids), ARRAY(Text))),
            Document.deleted_at.is_(None),
        )
        .group_by(Document.source_id)
    )
    return {row[0] or "": row[1] for row in await session.execute(query)}


def _among(document_ids: Sequence[str]) -> ColumnElement[bool]:
    return Document.document_id == any_(cast(list(document_ids), ARRAY(Text)))
