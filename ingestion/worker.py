"""The worker process: takes jobs from the queues and brings back those that got lost."""

import asyncio
import os
import signal

import procrastinate
from procrastinate.exceptions import ConnectorException

from app.db.repositories import jobs as job_rows
from app.db.repositories.jobs import FILES, LONG, TASK, queue_app
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.services.sources import Sources
from app.settings import IngestionSettings
from app.telemetry import get_logger
from ingestion.tasks import Tasks

log = get_logger(__name__)

_NICENESS = 19
_LONG_JOBS = 3  # so that a re-index of hours holds up no sync
_TEND_INTERVAL_S = 1.0
_DUE_INTERVAL_S = 5.0


async def run_worker(
    database: Database, tasks: Tasks, sources: Sources, settings: IngestionSettings
) -> None:
    """Work until the process is asked to stop (SIGINT or SIGTERM)."""
    os.nice(_NICENESS)  # questions come before indexing
    app = queue_app(database.url)
    app.task(name=TASK)(tasks.run)
    async with app.open_async():
        log.info("worker.started", concurrency=settings.concurrency)
        this = asyncio.current_task()
        assert this is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, this.cancel)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_work(app, FILES, settings.concurrency, settings.stalled_after_s))
                group.create_task(_work(app, LONG, _LONG_JOBS, settings.stalled_after_s))
                group.create_task(_tend(app, database, settings.stalled_after_s))
                group.create_task(_sync_when_due(sources))
        except asyncio.CancelledError:
            log.info("worker.stopped")


async def _work(
    app: procrastinate.App, queue: str, concurrency: int, stalled_after_s: float
) -> None:
    """Take jobs from a queue for ever; a PostgreSQL that is not there is waited for."""
    while True:
        try:
            await app.run_worker_async(
                queues=[queue],
                name=queue,
                concurrency=concurrency,
                install_signal_handlers=False,
                fetch_job_polling_interval=1.0,
                update_heartbeat_interval=stalled_after_s / 4,
                stalled_worker_timeout=stalled_after_s,
                shutdown_graceful_timeout=5,
                delete_jobs="successful",
            )
        except ConnectorException as error:
            log.warning("worker.waits", queue=queue, reason=repr(error.__cause__ or error))
            await asyncio.sleep(_TEND_INTERVAL_S)


async def _tend(app: procrastinate.App, database: Database, stalled_after_s: float) -> None:
    """Look after the jobs for ever: no end of a worker or of the database leaves one stuck."""
    beat = 0
    while True:
        try:
            async with database.transaction() as session:
                await job_rows.sum_up(session)
            if beat % max(1, round(stalled_after_s / 2 / _TEND_INTERVAL_S)) == 0:
                await _bring_back(app, database, stalled_after_s)
        except (ConnectorException, DatabaseUnavailable) as error:
            log.warning("worker.waits", reason=str(error))
        beat += 1
        await asyncio.sleep(_TEND_INTERVAL_S)


async def _sync_when_due(sources: Sources) -> None:
    """Follow the schedules of the sources for ever."""
    while True:
        try:
            await sources.sync_due()
        except DatabaseUnavailable as error:
            log.warning("worker.waits", reason=str(error))
        await asyncio.sleep(_DUE_INTERVAL_S)


async def _bring_back(app: procrastinate.App, database: Database, stalled_after_s: float) -> None:
    """Put back the jobs of workers that fell silent, and those that no queue holds any more."""
    for queue in (FILES, LONG):
        for stalled in await app.job_manager.get_stalled_jobs(
            queue=queue, seconds_since_heartbeat=stalled_after_s
        ):
            log.warning("job.rescued", queue_id=stalled.id, **stalled.task_kwargs)
            await app.job_manager.retry_job(stalled)
    async with database.transaction() as session:
        for job in await job_rows.find_lost(session):
            log.warning("job.requeued", job_id=job.job_id)
            await job_rows.enqueue(session, job)
