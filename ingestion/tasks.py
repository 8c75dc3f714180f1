"""What runs for each job: claim, do the work, and leave it in a state that tells the truth."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import TypeGuard

from structlog.contextvars import bound_contextvars

from app.db.base import now
from app.db.models import Job
from app.db.repositories import documents as document_rows
from app.db.repositories import jobs as job_rows
from app.db.session import Database
from app.domain.documents import TERMINAL, DocumentStatus, JobState
from app.domain.errors import (
    DocumentRejected,
    EmptyDocument,
    JobCancelled,
    OporaError,
    ParserDied,
    SourceUnavailable,
    Unavailable,
    WorkerLost,
)
from app.telemetry import get_logger
from ingestion.work import Handler, Progress, Work

log = get_logger(__name__)

_MOST_DEATHS = 2  # of the parser's process over one file
_MOST_FAILURES = 40  # of what Opora leans on: about three hours of waiting
_MOST_SOURCE_FAILURES = 2  # a source is synced again by its schedule
_LONGEST_WAIT_S = 300
_MOST_LOST = 10  # workers that went away over one job
_WATCH_INTERVAL_S = 0.5


class Tasks:
    """Carries out jobs; one instance per worker process."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler]) -> None:
        """Take the handler of each kind of job."""
        self._database = database
        self._handlers = handlers

    async def run(self, job_id: str) -> None:
        """Carry out a job; every end is written down, so the queue has nothing to retry.

        Only when the database itself fails does this raise, and the job comes back later.
        """
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, job_id)
            if job is None or job.state not in job_rows.OPEN or job.waiting:
                return
            job.state, job.started_at = JobState.RUNNING, job.started_at or now()
            job.attempts += 1
            lost = job.attempts - 1 - job.failures - job.deaths
            kind = job.kind
            work = Work(
                job.job_id,
                job.attempts,
                job.owner,
                job.document_id or "",
                job.version or 0,
                job.options,
            )
        with bound_contextvars(job_id=job_id, document_id=work.document_id or None):
            try:
                await self._carry_out(kind, work, lost)
            except OporaError as error:
                await self._settle(work, error)
            except Exception:
                log.exception("job.crashed")
                await self._settle(work, OporaError("an unexpected error; see the worker's log"))

    async def _carry_out(self, kind: str, work: Work, lost: int) -> None:
        if lost > _MOST_LOST:
            raise WorkerLost(f"{lost} workers went away while they worked on it")
        async with self._watch(work):
            await self._handlers[kind](work, self._progress_of(work))
        await self._succeed(work)

    async def _settle(self, work: Work, error: OporaError) -> None:
        """Write down how a job failed, or put it back when the cause may pass."""
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            if not _is_ours(job, work):
                return
            job.deaths += isinstance(error, ParserDied)
            job.failures += isinstance(error, Unavailable)
            most = _MOST_SOURCE_FAILURES if isinstance(error, SourceUnavailable) else _MOST_FAILURES
            passes = isinstance(error, Unavailable) and job.failures < most
            view = await document_rows.get_version(session, work.document_id, work.version)
            version = view.version if view is not None else None
            if passes or (isinstance(error, ParserDied) and job.deaths < _MOST_DEATHS):
                wait = timedelta(seconds=min(2**job.failures, _LONGEST_WAIT_S))
                log.warning("job.put_back", code=error.code, reason=error.message, wait=str(wait))
                job.state, job.error_code, job.error_message = (
                    JobState.QUEUED,
                    error.code,
                    error.message,
                )
                if version is not None and version.status not in TERMINAL:
                    version.status, version.reason = DocumentStatus.RECEIVED, error.message
                await job_rows.enqueue(session, job, run_at=now() + wait)
                return
            state, status = _end_of(error)
            if version is not None and version.status not in TERMINAL:
                version.status, version.reason = status, error.message
                version.finished_at = now()
            job_rows.finish(job, state, error.code, error.message)
        level = log.info if isinstance(error, DocumentRejected | JobCancelled) else log.error
        level("job.ended", state=state, code=error.code, reason=error.message)

    async def _succeed(self, work: Work) -> None:
        """End a job whose handler has returned, unless it did so itself or its children will."""
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            if _is_ours(job, work):
                job.waiting = await job_rows.has_children(session, job.job_id)
                if not job.waiting:
                    job_rows.finish(job, JobState.SUCCEEDED)

    def _progress_of(self, work: Work) -> Progress:
        async def progress(done: int, total: int, unit: str) -> None:
            async with self._database.transaction() as session:
                job = await job_rows.lock_job(session, work.job_id)
                if _is_ours(job, work):
                    job.done, job.total, job.unit = done, total, unit

        return progress

    @contextlib.asynccontextmanager
    async def _watch(self, work: Work) -> AsyncIterator[None]:
        """Set the work's event once its job is to be cancelled or has another worker."""

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
                    if gone or not _is_ours(job, work) or job.cancel_requested:
                        work.cancelled.set()

        watcher = asyncio.create_task(look())
        try:
            yield
        finally:
            watcher.cancel()


def _is_ours(job: Job | None, work: Work) -> TypeGuard[Job]:
    return job is not None and job.attempts == work.attempt and job.state == JobState.RUNNING


def _end_of(error: OporaError) -> tuple[JobState, DocumentStatus]:
    match error:
        case JobCancelled():
            return JobState.CANCELLED, DocumentStatus.CANCELLED
        case EmptyDocument():
            return JobState.SUCCEEDED, DocumentStatus.EMPTY
        case ParserDied():
            return JobState.FAILED, DocumentStatus.QUARANTINED
        case _:
            return JobState.FAILED, DocumentStatus.FAILED
