"""The job that syncs a source."""

import shutil
from contextlib import suppress
from pathlib import Path
from time import time

from app.domain.errors import NotFound
from app.domain.source_options import Selection
from app.services.source_documents import Origin, SourceDocuments
from app.services.sources import Sources, SyncRequest
from app.telemetry import get_logger
from ingestion.sources.readers import build_reader
from ingestion.sources.reading import Limits, storing
from ingestion.sources.reconcile import TEMPORARY, Reconciliation, Wishes
from ingestion.work import Progress, Work

log = get_logger(__name__)

_LEFT_AFTER_S = 24 * 3600


class Syncing:
    """Carries out the syncs of sources."""

    def __init__(
        self, sources: Sources, documents: SourceDocuments, data: Path, most_bytes: int
    ) -> None:
        """Take the use cases, Opora's data directory and the limit of a file's size in bytes."""
        self._sources = sources
        self._documents = documents
        self._data = data
        self._most_bytes = most_bytes

    async def run(self, work: Work, progress: Progress) -> None:
        """Sync the source that the job names; the files that are new become its children."""
        request = SyncRequest(
            source_id=str(work.options["source_id"]),
            dry_run=bool(work.options["dry_run"]),
            force=bool(work.options["force"]),
        )
        source = await self._sources.load(request.source_id)
        selection = Selection(source.options)
        reader = build_reader(
            source.kind,
            source.url,
            source.options,
            self._data,
            Limits(self._most_bytes, work.cancelled),
        )
        reconciliation = Reconciliation(
            self._documents,
            reader,
            Origin(request.source_id, work.owner, work.job_id, work.attempt),
            Wishes(
                selection.takes,
                lambda key: selection.place(key, source.collection, source.readers),
                request.dry_run,
                request.force,
            ),
            self._most_bytes,
            temporary_folder(self._data),
        )
        try:
            await reconciliation.run(work, progress)
        finally:
            await reader.close()
            await self._save(work, request, reconciliation)
        log.info("source.synced", source_id=request.source_id, **reconciliation.report.counts)

    async def _save(self, work: Work, request: SyncRequest, reconciliation: Reconciliation) -> None:
        try:
            await self._sources.save_report(work.job_id, request, reconciliation.report)
        except NotFound:
            log.info("source.gone", source_id=request.source_id)


def temporary_folder(data: Path) -> Path:
    """Where fetched files lie until they are in the blob store: beside it, so that they move.

    What killed workers left there goes after a day.
    """
    folder = data / "tmp"
    with storing():
        folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # its worker lives and was just ready
            if time() - left.stat().st_mtime > _LEFT_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)
    return folder
