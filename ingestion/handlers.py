"""Which handler does which kind of job."""

from collections.abc import Mapping

from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories.jobs import COMPACT, REINDEX, WORKER
from app.db.session import Database
from app.services.documents import INGEST
from app.services.generations import Generations
from app.services.recipes import Recipes
from ingestion.pipeline import Pipeline
from ingestion.reindexing import Reindexing
from ingestion.work import Handler, Progress, Work


def build_handlers(
    database: Database,
    pipeline: Pipeline,
    recipes: Recipes,
    generations: Generations,
    compact_after: int,
) -> Mapping[str, Handler]:
    """The handlers of a worker process."""
    reindexing = Reindexing(database, recipes, generations)

    async def ingest(work: Work, progress: Progress) -> None:
        await pipeline.run(work, progress)
        await _compact_if_due(database, compact_after)

    async def compact(_work: Work, _progress: Progress) -> None:
        recipe = await recipes.serving()
        await generations.build(recipe, await recipes.embedder_of(recipe))

    return {INGEST: ingest, COMPACT: compact, REINDEX: reindexing.run}


async def _compact_if_due(database: Database, compact_after: int) -> None:
    """Have a generation built when the log has grown by a tenth of what the last one holds.

    Building it costs as much as it holds, so it must not come more often as more is held.
    """
    async with database.transaction() as session:
        behind, chunks = await index_rows.behind(session)
        due = behind >= max(compact_after, chunks // 10)
        if due and await job_rows.open_job_of_kind(session, COMPACT) is None:
            await job_rows.add_job(session, COMPACT, WORKER)
