"""The documents of one source, or of one ZIP archive, as a sync changes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import Document
from app.db.repositories import access as access_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories import sources as source_rows
from app.db.session import Database
from app.domain.access import AccessScope, Scope
from app.domain.documents import JobState, MediaType
from app.domain.errors import JobCancelled
from app.domain.source_options import Placement
from app.domain.sources import Held, Skipped, SourceFile
from app.services.documents import Documents, Upload

_MOST_DEPTH = 1  # ZIP archives within one another
_REMOVED_AT_ONCE = 500


class Taken(StrEnum):
    """What became of a file at once."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose documents they are, and the job that works on them.

    `source_id` is a source's or that of a ZIP archive's document; `attempt` fences off a worker
    that lost the job.
    """

    source_id: str
    owner: str
    job_id: str
    attempt: int
    depth: int = 0


class SourceDocuments:
    """Adds, changes and deletes the documents of a source; each call is one transaction."""

    def __init__(self, database: Database, documents: Documents) -> None:
        self._database = database
        self._documents = documents

    async def known(self, source_id: str) -> tuple[list[Held], list[Skipped]]:
        """The documents of a source, and its files that were not read."""
        async with self._database.transaction() as session:
            return (
                await source_rows.list_held(session, source_id),
                await source_rows.list_skipped(session, source_id),
            )

    async def take(
        self,
        origin: Origin,
        file: SourceFile,
        upload: Upload,
        held: Held | None,
        placement: Placement,
    ) -> Taken | Skipped:
        """Accept a fetched file as a new document or version; the same bytes make none.

        Args:
            origin: Whose file it is.
            file: As it is listed, with the mark under which it was fetched.
            upload: Its bytes.
            held: Its document, if it has one.
            placement: Where a new document goes, unless it lies in a ZIP archive; no readers:
                those of the collection.

        Raises:
            UnsupportedMedia: Opora does not read what the bytes are.
            JobCancelled: The job is another worker's or is to end.
        """
        if held is not None and await self._is_same(origin, file, upload, held):
            return Taken.UNCHANGED
        media_type = await self._documents.store(upload)
        if media_type is MediaType.ZIP and origin.depth > _MOST_DEPTH:
            return Skipped(file.key, "a ZIP archive too deep within others", file.mark)
        async with self._database.transaction() as session:
            await self._fence(session, origin)
            scope = _scope(origin)
            if held is None:
                document = await self._new(session, origin, file, upload, placement)
                number = 1
            else:
                view = await document_rows.get_document(session, scope, held.document_id, lock=True)
                document = view.document
                document.latest_version += 1
                document.source_mark, document.updated_at = file.mark, now()
                number = document.latest_version
            await self._documents.new_version(
                session, scope, document, upload, media_type, number, origin.job_id
            )
        return Taken.ADDED if held is None else Taken.CHANGED

    async def compare(self, upload: Upload, held: Held | None) -> Taken:
        """Say what `take` would make of a fetched file."""
        if held is None:
            return Taken.ADDED
        async with self._database.transaction() as session:
            sha256 = await source_rows.newest_sha256(session, held.document_id)
        return Taken.UNCHANGED if sha256 == upload.sha256 else Taken.CHANGED

    async def read_again(self, origin: Origin, held: Held) -> None:
        """Let the worker read a document whose job was cancelled."""
        async with self._database.transaction() as session:
            await self._fence(session, origin)
            scope = _scope(origin)
            view = await document_rows.get_document(session, scope, held.document_id, lock=True)
            await self._documents.requeue(session, scope, view, origin.job_id)

    async def remove(self, origin: Origin, held: Sequence[Held]) -> None:
        """Delete documents whose files are gone."""
        for start in range(0, len(held), _REMOVED_AT_ONCE):
            ids = [one.document_id for one in held[start : start + _REMOVED_AT_ONCE]]
            async with self._database.transaction() as session:
                await self._fence(session, origin)
                await source_rows.remove(session, ids, forget=True)
                await access_rows.record(
                    session, origin.owner, "source.removed", origin.source_id, documents=ids
                )

    async def remember(self, origin: Origin, skipped: Sequence[Skipped]) -> None:
        """Write down which files are not read."""
        async with self._database.transaction() as session:
            await self._fence(session, origin)
            await source_rows.replace_skipped(session, origin.source_id, skipped)

    async def _is_same(self, origin: Origin, file: SourceFile, upload: Upload, held: Held) -> bool:
        """Whether a document has these bytes already; then its mark is brought up to date."""
        async with self._database.transaction() as session:
            scope = _scope(origin)
            view = await document_rows.get_document(session, scope, held.document_id, lock=True)
            if view.version.sha256 != upload.sha256:
                return False
            await self._fence(session, origin)
            view.document.source_mark = file.mark
            if held.cancelled:
                await self._documents.requeue(session, scope, view, origin.job_id)
            return True

    async def _new(
        self,
        session: AsyncSession,
        origin: Origin,
        file: SourceFile,
        upload: Upload,
        placement: Placement,
    ) -> Document:
        archive = await source_rows.lock_archive(session, origin.source_id)
        if archive is not None and archive.deleted_at is not None:
            raise JobCancelled("the archive was deleted")
        if archive is not None:  # its readers may have changed since the job began
            placement = Placement(archive.collection, tuple(archive.readers))
        home = await document_rows.get_collection(session, placement.collection)
        document = Document(
            document_id=new_id("doc"),
            collection=placement.collection,
            title=PurePath(upload.filename).stem or upload.filename,
            source_uri=file.uri,
            source_id=origin.source_id,
            source_key=file.key,
            source_mark=file.mark,
            readers=list(placement.readers) or home.readers,
        )
        session.add(document)
        await session.flush()
        return document

    async def _fence(self, session: AsyncSession, origin: Origin) -> None:
        """Stop a worker whose job was taken over or is to end."""
        job = await job_rows.lock_job(session, origin.job_id)
        if job is None or job.attempts != origin.attempt or job.state != JobState.RUNNING:
            raise JobCancelled("another worker took this job over")
        if job.cancel_requested:
            raise JobCancelled("the job was cancelled")
        archive = await session.get(Document, origin.source_id, with_for_update={"read": True})
        if archive is not None and archive.latest_version != job.version:
            raise JobCancelled(f"version {archive.latest_version} has taken its place")


def _scope(origin: Origin) -> AccessScope:
    """Syncs see all documents: what they may touch is decided by where it came from."""
    return AccessScope(origin.owner, frozenset(), frozenset({Scope.ADMIN}))
