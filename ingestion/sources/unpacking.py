"""The job that takes in a ZIP archive: each member is a document of its own."""

from collections.abc import Sequence
from pathlib import Path

from app.db.repositories import containers as container_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import jobs as job_rows
from app.db.session import Database
from app.domain.documents import CONTAINER, DocumentStatus, MediaType
from app.domain.errors import JobCancelled
from app.domain.ports import BlobStore
from app.domain.source_options import Placement
from app.domain.sources import Skipped
from app.services.source_documents import Origin, SourceDocuments
from ingestion.sources.archive import ArchiveReader
from ingestion.sources.reading import Limits
from ingestion.sources.reconcile import Reconciliation, Wishes
from ingestion.sources.sync import temporary_folder
from ingestion.work import Progress, Work

_NAMED = 20


class Unpacking:
    """Takes in ZIP archives."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        documents: SourceDocuments,
        data: Path,
        most_bytes: int,
    ) -> None:
        """Take the use cases, Opora's data directory and the limit of a file's size in bytes."""
        self._database = database
        self._blobs = blobs
        self._documents = documents
        self._data = data
        self._most_bytes = most_bytes

    async def is_archive(self, work: Work) -> bool:
        """Whether a job's document is a ZIP archive."""
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            return view is not None and view.version.media_type == MediaType.ZIP

    async def run(self, work: Work, progress: Progress) -> None:
        """Make the archive's documents equal to its members; when they have ended, it is live.

        Raises:
            DocumentRejected: It cannot be read; its reason is for people.
            JobCancelled: Somebody asked for it, or the document is gone.
        """
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is None or view.document.deleted_at is not None:
                raise JobCancelled("the document was deleted")
            if view.document.latest_version > work.version:
                raise JobCancelled(f"version {view.document.latest_version} has taken its place")
            view.version.status = DocumentStatus.PARSING
            document = view.document
            path = self._blobs.local_path(view.version.sha256)
            uri = document.source_uri or view.version.filename
            depth = await container_rows.depth(session, work.document_id)
        reader = ArchiveReader(path, uri, Limits(self._most_bytes, work.cancelled))
        place = Placement(document.collection, tuple(document.readers))
        reconciliation = Reconciliation(
            self._documents,
            reader,
            Origin(work.document_id, work.owner, work.job_id, work.attempt, depth + 1),
            Wishes(lambda _: True, lambda _: place, force=True),
            self._most_bytes,
            temporary_folder(self._data),
        )
        try:
            await reconciliation.run(work, progress)
        finally:
            await reader.close()
        await self._settle(work, reconciliation.skipped)

    async def _settle(self, work: Work, skipped: Sequence[Skipped]) -> None:
        """Mark the version as a container; without members in the making it ends here."""
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            view = await document_rows.get_version(
                session, work.document_id, work.version, lock=True
            )
            if view is None or job is None or job.attempts != work.attempt:
                raise JobCancelled("another worker took this job over")
            view.version.status = DocumentStatus.EMBEDDING
            view.version.flags, view.version.reason = [CONTAINER], _reason(skipped)
            await session.flush()
            if not await job_rows.has_children(session, work.job_id):
                await container_rows.end_containers(session, [work.job_id])


def _reason(skipped: Sequence[Skipped]) -> str | None:
    if not skipped:
        return None
    named = "; ".join(f"{one.key}: {one.reason}" for one in skipped[:_NAMED])
    more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return f"not read: {named}{more}"
