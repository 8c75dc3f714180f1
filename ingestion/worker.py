"""The worker process: takes jobs from the queue and brings back those of dead workers."""

import asyncio
import contextlib
import os

import procrastinate
from procrastinate.exceptions import ConnectorException

from app.db.repositories.jobs import QUEUE, TASK, queue_app
from app.db.session import Database
from app.settings import IngestionSettings
from app.telemetry import get_logger
from ingestion.tasks import Tasks

log = get_logger(__name__)

_NICENESS = 10


async def run_worker(database: Database, tasks: Tasks, settings: IngestionSettings) -> None:
    """Work until the process is asked to stop (SIGINT or SIGTERM)."""
    os.nice(_NICENESS)  # questions come before indexing
    app = queue_app(database.url)
    app.task(name=TASK, queue=QUEUE)(tasks.run)
    async with app.open_async():
        rescuer = asyncio.create_task(_rescue_forever(app, settings.stalled_after_s))
        log.info("worker.started", concurrency=settings.concurrency)
        try:
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=settings.concurrency,
                fetch_job_polling_interval=1.0,
                update_heartbeat_interval=settings.stalled_after_s / 4,
                stalled_worker_timeout=settings.stalled_after_s,
                shutdown_graceful_timeout=5,
                delete_jobs="successful",
            )
        finally:
            rescuer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await rescuer
    log.info("worker.stopped")


async def _rescue_forever(app: procrastinate.App, stalled_after_s: float) -> None:
    """Put the jobs of workers that fell silent back into the queue."""
    while True:
        with contextlib.suppress(ConnectorException):
            for job in await app.job_manager.get_stalled_jobs(
                queue=QUEUE, seconds_since_heartbeat=stalled_after_s
            ):
                log.warning("job.rescued", queue_id=job.id, **job.task_kwargs)
                await app.job_manager.retry_job(job)
        await asyncio.sleep(stalled_after_s / 2)
