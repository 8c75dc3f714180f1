"""What a worker process does for each kind of job."""

from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories.jobs import COMPACT, DROP, REINDEX, WORKER
from app.db.repositories.sources import SYNC
from app.db.session import Database
from app.services.documents import INGEST
from app.services.source_documents import SourceDocuments
from app.wiring import Services
from ingestion.pipeline import Pipeline
from ingestion.reindexing import Reindexing
from ingestion.sources.sync import Syncing
from ingestion.sources.unpacking import Unpacking
from ingestion.tasks import Tasks
from ingestion.work import Progress, Work


def build_tasks(services: Services) -> Tasks:
    """The tasks of a worker process over wired use cases."""
    database, recipes, generations = services.database, services.recipes, services.generations
    settings, data = services.settings.ingestion, services.settings.data
    pipeline = Pipeline(database, services.blobs, recipes, settings)
    reindexing = Reindexing(database, recipes, generations, services.retrieval, settings.held_out)
    documents = SourceDocuments(database, services.documents)
    most_bytes = services.settings.http.max_upload_bytes
    unpacking = Unpacking(database, services.blobs, documents, data, most_bytes)
    syncing = Syncing(services.sources, documents, data, most_bytes)

    async def ingest(work: Work, progress: Progress) -> None:
        if await unpacking.is_archive(work):
            await unpacking.run(work, progress)
            return
        await pipeline.run(work, progress)
        await _compact_if_due(database, settings.compact_after)

    async def compact(_work: Work, _progress: Progress) -> None:
        recipe = await recipes.serving()
        await generations.build(recipe, await recipes.embedder_of(recipe))

    handlers = {
        INGEST: ingest,
        SYNC: syncing.run,
        COMPACT: compact,
        REINDEX: reindexing.run,
        DROP: reindexing.drop,
    }
    return Tasks(database, handlers)


async def _compact_if_due(database: Database, compact_after: int) -> None:
    """Have a generation built when the log has grown by a tenth of what the last one holds.

    Building it costs as much as it holds, so it must not come more often as more is held.
    """
    async with database.transaction() as session:
        behind, chunks = await index_rows.behind(session)
        due = behind >= max(compact_after, chunks // 10)
        if due and await job_rows.open_job_of_kind(session, COMPACT) is None:
            await job_rows.add_job(session, COMPACT, WORKER)
