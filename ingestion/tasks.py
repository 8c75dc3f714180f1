"""What runs for each job: claim, do the work, and leave it in a state that tells the truth."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeGuard

from structlog.contextvars import bound_contextvars

from app.db.base import now
from app.db.models import DocumentVersion, Job
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.session import Database
from app.domain.documents import TERMINAL, DocumentStatus, JobState
from app.domain.errors import (
    DocumentRejected,
    EmptyDocument,
    JobCancelled,
    OporaError,
    ParserDied,
    Unavailable,
)
from app.services.documents import INGEST
from app.services.generations import Generations
from app.telemetry import get_logger
from ingestion.pipeline import Pipeline, Work

log = get_logger(__name__)

COMPACT = "compact"
WORKER = "worker"
_ATTEMPTS = {ParserDied: 2, Unavailable: 8}
_WATCH_INTERVAL_S = 0.5


class Tasks:
    """Carries out jobs; one instance per worker process."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        generations: Generations,
        compact_after: int,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._generations = generations
        self._compact_after = compact_after

    async def run(self, job_id: str) -> None:
        """Carry out a job; every end is written down, so the queue has nothing to retry.

        Only when the database itself fails does this raise, and the job comes back later.
        """
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, job_id)
            if job is None or job.state not in job_rows.OPEN:
                return
            job.state, job.started_at = JobState.RUNNING, now()
            job.attempts += 1
            attempt, kind = job.attempts, job.kind
            document_id, version = job.document_id or "", job.version or 0
        with bound_contextvars(job_id=job_id, document_id=document_id or None):
            work = Work(job_id, attempt, document_id, version, threading.Event())
            try:
                async with self._watch(work):
                    if kind == INGEST:
                        await self._pipeline.run(work, lambda *p: self._progress(job_id, *p))
                        log.info("document.live", version=version)
                        await self._compact_if_due()
                    else:
                        await self._generations.build()
                        await self._finish(work, JobState.SUCCEEDED)
            except OporaError as error:
                await self._settle(work, error)
            except Exception:
                log.exception("job.crashed")
                await self._settle(work, OporaError("an unexpected error; see the worker's log"))

    async def _settle(self, work: Work, error: OporaError) -> None:
        """Write down how a job failed, or put it back when the cause may pass."""
        limit = next((n for kind, n in _ATTEMPTS.items() if isinstance(error, kind)), 1)
        if work.attempt < limit:
            await self._put_back(work, error)
            return
        match error:
            case JobCancelled():
                state, status = JobState.CANCELLED, DocumentStatus.CANCELLED
            case EmptyDocument():
                state, status = JobState.SUCCEEDED, DocumentStatus.EMPTY
            case ParserDied():
                state, status = JobState.FAILED, DocumentStatus.QUARANTINED
            case _:
                state, status = JobState.FAILED, DocumentStatus.FAILED
        level = log.info if isinstance(error, DocumentRejected | JobCancelled) else log.error
        level("job.ended", state=state, code=error.code, reason=error.message)
        await self._finish(work, state, status, error)

    async def _put_back(self, work: Work, error: OporaError) -> None:
        delay = timedelta(seconds=min(2**work.attempt, 60))
        log.warning("job.put_back", code=error.code, reason=error.message, delay=str(delay))
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            if _is_ours(job, work):
                job.state, job.error_code, job.error_message = (
                    JobState.QUEUED,
                    error.code,
                    error.message,
                )
                await job_rows.enqueue(session, job, run_at=now() + delay)

    async def _finish(
        self,
        work: Work,
        state: JobState,
        status: DocumentStatus | None = None,
        error: OporaError | None = None,
    ) -> None:
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            if not _is_ours(job, work):
                return
            job_rows.finish(
                job, state, error.code if error else None, error.message if error else None
            )
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is not None and status is not None and error is not None:
                _end(view.version, status, error.message)

    async def _progress(self, job_id: str, done: int, total: int, unit: str) -> None:
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, job_id)
            if job is not None:
                job.done, job.total, job.unit = done, total, unit

    @contextlib.asynccontextmanager
    async def _watch(self, work: Work) -> AsyncIterator[None]:
        """Set the work's event once its job is to be cancelled."""

        async def look() -> None:
            while not work.cancelled.is_set():
                await asyncio.sleep(_WATCH_INTERVAL_S)
                with contextlib.suppress(Unavailable):
                    async with self._database.transaction() as session:
                        job = await session.get(Job, work.job_id)
                        view = await document_rows.get_version(
                            session, work.document_id, work.version
                        )
                    gone = view is not None and view.document.deleted_at is not None
                    if job is None or job.cancel_requested or gone:
                        work.cancelled.set()

        watcher = asyncio.create_task(look())
        try:
            yield
        finally:
            watcher.cancel()

    async def _compact_if_due(self) -> None:
        async with self._database.transaction() as session:
            active = await index_rows.active_generation(session)
            behind = await index_rows.log_number(session) - (active.log_number if active else 0)
            if (
                behind >= self._compact_after
                and await job_rows.open_job_of_kind(session, COMPACT) is None
            ):
                await job_rows.add_job(session, COMPACT, WORKER)


def _is_ours(job: Job | None, work: Work) -> TypeGuard[Job]:
    return job is not None and job.attempts == work.attempt and job.state == JobState.RUNNING


def _end(version: DocumentVersion, status: DocumentStatus, reason: str) -> None:
    if version.status not in TERMINAL:
        version.status, version.reason, version.finished_at = status, reason, now()
