"""Which handler does which kind of job."""

from collections.abc import Mapping

from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.session import Database
from app.services.documents import INGEST
from app.services.generations import Generations
from ingestion.pipeline import Pipeline
from ingestion.work import Handler, Progress, Work

COMPACT = "compact"
WORKER = "worker"


def build_handlers(
    database: Database, pipeline: Pipeline, generations: Generations, compact_after: int
) -> Mapping[str, Handler]:
    """The handlers of a worker process."""

    async def ingest(work: Work, progress: Progress) -> None:
        await pipeline.run(work, progress)
        await _compact_if_due(database, compact_after)

    async def compact(_work: Work, _progress: Progress) -> None:
        await generations.build()

    return {INGEST: ingest, COMPACT: compact}


async def _compact_if_due(database: Database, compact_after: int) -> None:
    async with database.transaction() as session:
        active = await index_rows.active_generation(session)
        behind = await index_rows.log_number(session) - (active.log_number if active else 0)
        if behind >= compact_after and await job_rows.open_job_of_kind(session, COMPACT) is None:
            await job_rows.add_job(session, COMPACT, WORKER)
