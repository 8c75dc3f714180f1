"""Documents from the outside: accept, replace, change, delete."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import Document, DocumentVersion, Job
from app.db.repositories import access as access_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories import sources as source_rows
from app.db.repositories.documents import DocumentView
from app.db.session import Database
from app.domain.access import AccessScope, check_principal
from app.domain.documents import DocumentStatus, JobState, MediaType
from app.domain.errors import Conflict, Forbidden, InvalidField
from app.domain.ports import BlobStore
from app.services.media_types import sniff

INGEST = "ingest"
DEFAULT_COLLECTION = "default"
_RETRIED_BY_UPLOAD = (DocumentStatus.FAILED, DocumentStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file in a temporary place, with the SHA-256 of its bytes in hex."""

    path: Path
    filename: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an upload at once; the job does the rest."""

    document_id: str
    version: int
    job_id: str
    status: DocumentStatus
    duplicate: bool


class Documents:
    """Accepts files into SQL and the blob store and hands them to the worker."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def add(
        self,
        scope: AccessScope,
        upload: Upload,
        collection: str = DEFAULT_COLLECTION,
        title: str | None = None,
        source_uri: str | None = None,
        readers: Sequence[str] = (),
        batch: str | None = None,
    ) -> Accepted:
        """Accept a new document.

        The same bytes in the same collection are a duplicate: no second copy; a document that
        failed before is tried again.

        Raises:
            UnsupportedMedia: Opora does not read what the bytes are.
            NotFound: No such collection that the caller may see, or no such batch of its own.
            Forbidden: The caller may only read the collection.
            Conflict: The batch was cancelled.
        """
        wanted = [check_principal(reader) for reader in readers]
        media_type = await self.store(upload)
        async with self._database.transaction() as session:
            home = await document_rows.get_edited_collection(session, scope, collection)
            if batch is not None:
                await job_rows.get_batch(session, scope, batch)
            await document_rows.lock_content(session, collection, upload.sha256)
            same = await document_rows.find_same_bytes(session, scope, collection, upload.sha256)
            if same is not None:
                return await self._duplicate(session, scope, same, batch)
            document = Document(
                document_id=new_id("doc"),
                collection=collection,
                title=title or PurePath(upload.filename).stem or upload.filename,
                title_is_given=title is not None,
                source_uri=source_uri,
                readers=sorted(set(wanted)) or home.readers,
            )
            session.add(document)
            await session.flush()
            return await self.new_version(session, scope, document, upload, media_type, 1, batch)

    async def replace(
        self, scope: AccessScope, document_id: str, upload: Upload, title: str | None = None
    ) -> Accepted:
        """Accept a new version of a document; the old one stays live until the new one is."""
        media_type = await self.store(upload)
        async with self._database.transaction() as session:
            view = await _edited(session, scope, document_id)
            document = view.document
            _refuse_if_from_source(document, "replaced")
            if view.version.sha256 == upload.sha256:
                return await self._duplicate(session, scope, view)
            document.latest_version += 1
            document.updated_at = now()
            if title is not None:
                document.title, document.title_is_given = title, True
            return await self.new_version(
                session, scope, document, upload, media_type, document.latest_version
            )

    async def change(
        self,
        scope: AccessScope,
        document_id: str,
        title: str | None = None,
        readers: Sequence[str] | None = None,
        collection: str | None = None,
    ) -> DocumentView:
        """Change what is known of a document; new readers count from the next request on."""
        async with self._database.transaction() as session:
            view = await _edited(session, scope, document_id)
            document = view.document
            if title is not None:
                document.title, document.title_is_given = title, True
            if readers is not None or collection is not None:
                _refuse_if_from_source(document, "given other readers or another collection")
            if readers is not None:
                if not readers:
                    raise InvalidField("readers", "name at least one reader, or delete it")
                document.readers = sorted({check_principal(reader) for reader in readers})
            if collection is not None:
                await document_rows.get_edited_collection(session, scope, collection)
                document.collection = collection
            document.updated_at = now()
            await session.flush()
            if view.version.media_type == MediaType.ZIP:
                await source_rows.place(
                    session, [document_id], document.collection, document.readers
                )
            await index_rows.append_log(session, "set", document_id)
            await access_rows.record(
                session,
                scope.user_id,
                "document.changed",
                document_id,
                readers=document.readers,
                collection=document.collection,
            )
        return view

    async def delete(self, scope: AccessScope, document_id: str) -> None:
        """Delete a document: once this returns it is in no answer any more.

        With a ZIP archive all that it holds is deleted. One from a source does not come again.
        """
        async with self._database.transaction() as session:
            await _edited(session, scope, document_id)
            await source_rows.remove(session, [document_id], forget=False)
            await access_rows.record(session, scope.user_id, "document.deleted", document_id)

    async def cancel_job(self, scope: AccessScope, job_id: str) -> Job:
        """Cancel a job and its children: queued ones at once, running ones within seconds."""
        async with self._database.transaction() as session:
            job = await _steered(session, scope, job_id)
            if job.state not in job_rows.OPEN:
                raise Conflict(f"job {job_id!r} has already {job.state}")
            await job_rows.cancel(session, job)
            return job

    async def retry_job(self, scope: AccessScope, job_id: str) -> Job:
        """Start an ended job's work anew, as a new job; an admin's way out of quarantine.

        Raises:
            Conflict: The job is open, has succeeded, or its document is deleted.
            Forbidden: The file is in quarantine, and the caller is no admin.
        """
        async with self._database.transaction() as session:
            job = await _steered(session, scope, job_id)
            if job.state in job_rows.OPEN:
                raise Conflict(f"job {job_id!r} is still {job.state}")
            if job.state == JobState.SUCCEEDED:
                raise Conflict(f"job {job_id!r} has succeeded; there is nothing to retry")
            if job.document_id and job.version:
                view = await document_rows.get_version(session, job.document_id, job.version)
                if view is None or view.document.deleted_at is not None:
                    raise Conflict("its document is deleted")
                if view.status == DocumentStatus.QUARANTINED and not scope.is_admin:
                    raise Forbidden(
                        "the file is in quarantine, because its parser died twice; "
                        "only an admin may release it"
                    )
                return await self.requeue(session, scope, view)
            raise Conflict(
                f"a job of the kind {job.kind!r} is not retried: ask for another one, or for a "
                "batch retry the files that failed"
            )

    async def store(self, upload: Upload) -> MediaType:
        """Say what a file is and move it into the blob store.

        Raises:
            UnsupportedMedia: Opora does not read what the bytes are.
            StorageUnavailable: It cannot be written.
        """
        media_type = await asyncio.to_thread(sniff, upload.path, upload.filename)
        await asyncio.to_thread(self._blobs.put, upload.sha256, upload.path)
        return media_type

    async def _duplicate(
        self,
        session: AsyncSession,
        scope: AccessScope,
        same: DocumentView,
        batch: str | None = None,
    ) -> Accepted:
        job = await job_rows.latest_job_of(session, same.document.document_id)
        if same.status in _RETRIED_BY_UPLOAD or job is None:
            job = await self.requeue(session, scope, same, batch)
        return Accepted(
            document_id=same.document.document_id,
            version=same.version.version,
            job_id=job.job_id,
            status=same.status,
            duplicate=True,
        )

    async def requeue(
        self,
        session: AsyncSession,
        scope: AccessScope,
        view: DocumentView,
        batch: str | None = None,
    ) -> Job:
        """Let the worker read a document's newest version again."""
        if view.document.live_version != view.version.version:
            view.version.status, view.version.reason = DocumentStatus.RECEIVED, None
            view.version.finished_at = None
        return await job_rows.add_job(
            session,
            INGEST,
            scope.user_id,
            view.document.document_id,
            view.version.version,
            parent_id=batch,
        )

    async def new_version(
        self,
        session: AsyncSession,
        scope: AccessScope,
        document: Document,
        upload: Upload,
        media_type: MediaType,
        number: int,
        batch: str | None = None,
    ) -> Accepted:
        """Write down a stored file as a document's version, with the job that reads it.

        What a ZIP archive held is deleted when it becomes something else.
        """
        if number > 1 and media_type is not MediaType.ZIP:
            members = await source_rows.keys_of(session, document.document_id)
            await source_rows.remove(session, [member for member, _ in members], forget=True)
        session.add(
            DocumentVersion(
                document_id=document.document_id,
                version=number,
                filename=upload.filename,
                title=document.title,
                media_type=media_type,
                size_bytes=upload.size_bytes,
                sha256=upload.sha256,
                status=DocumentStatus.RECEIVED,
            )
        )
        await session.flush()
        job = await job_rows.add_job(
            session, INGEST, scope.user_id, document.document_id, number, parent_id=batch
        )
        await access_rows.record(
            session, scope.user_id, "document.accepted", document.document_id, version=number
        )
        return Accepted(
            document_id=document.document_id,
            version=number,
            job_id=job.job_id,
            status=DocumentStatus.RECEIVED,
            duplicate=False,
        )


async def _edited(session: AsyncSession, scope: AccessScope, document_id: str) -> DocumentView:
    """A document that the caller may change, locked.

    Raises:
        NotFound: There is none that the caller may read.
        Forbidden: The caller may only read it.
    """
    view = await document_rows.get_document(session, scope, document_id, lock=True)
    home = await document_rows.get_collection(session, view.document.collection)
    if not scope.may_edit(home.readers, home.editors):
        raise Forbidden("only the editors of its collection may change this document")
    return view


async def _steered(session: AsyncSession, scope: AccessScope, job_id: str) -> Job:
    """A job that the caller may cancel or retry, locked: its own, or one of an edited document."""
    job = await job_rows.get_job(session, scope, job_id, lock=True)
    theirs = job.owner != scope.user_id and not scope.is_admin
    if theirs and job.document_id is not None:
        await _edited(session, scope, job.document_id)
    return job


def _refuse_if_from_source(document: Document, what: str) -> None:
    if document.source_id is not None:
        raise Conflict(
            f"document {document.document_id!r} comes from {document.source_id!r} and is not "
            f"{what} by itself: change it there"
        )
