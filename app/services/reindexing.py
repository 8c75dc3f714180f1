"""Re-indexing from the outside: ask for it, go back, delete what is not needed any more."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Generation, Job, Recipe
from app.db.repositories import access as access_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories import recipes as recipe_rows
from app.db.repositories.jobs import DROP, REINDEX
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.errors import Conflict, NotFound
from app.services.documents import INGEST
from app.services.generations import Generations


class Reindexes:
    """What an admin may do with generations; the worker does the work."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._generations = generations

    async def start(self, scope: AccessScope, options: dict[str, object]) -> Job:
        """Have the index made anew beside the serving one; for the options see the worker's job.

        Raises:
            Conflict: It is being made already.
        """
        async with self._database.transaction() as session:
            return await self._add_job(session, scope, options)

    async def read_anew(self, scope: AccessScope, collections: Sequence[str]) -> Job:
        """Have all live documents of some collections parsed again, as a batch."""
        async with self._database.transaction() as session:
            for name in collections:
                await document_rows.get_collection(session, name)
            live = await document_rows.live_versions(session, collections)
            batch = await job_rows.add_batch(session, scope.user_id, len(live))
            for document_id, version in live:
                await job_rows.add_job(
                    session, INGEST, scope.user_id, document_id, version, parent_id=batch.job_id
                )
            if not live:
                raise Conflict("these collections hold no live document")
            return batch

    async def list_all(self) -> Sequence[tuple[Generation, Recipe]]:
        """Every generation that is kept, newest first, with its recipe."""
        async with self._database.transaction() as session:
            return await index_rows.list_generations(session)

    async def activate(self, scope: AccessScope, generation_id: str) -> Job:
        """Let a generation's recipe serve, once it has what came since: also the way back.

        It was judged when it was made, and now a person has chosen it.
        """
        async with self._database.transaction() as session:
            _, recipe = await self._get(session, generation_id)
            if recipe.state == recipe_rows.SERVING:
                raise Conflict(f"generation {generation_id!r} serves already")
            options: dict[str, object] = {"recipe_id": recipe.recipe_id, "force": True}
            return await self._add_job(session, scope, options)

    async def delete(self, scope: AccessScope, generation_id: str) -> None:
        """Delete a generation that does not serve; a job deletes its chunks and vectors."""
        async with self._database.transaction() as session:
            _, recipe = await self._get(session, generation_id)
            if recipe.state == recipe_rows.SERVING:
                raise Conflict(f"generation {generation_id!r} serves: activate another one first")
            if await job_rows.open_job_of_kind(session, REINDEX) is not None:
                raise Conflict("a re-index is running: cancel it first")
            gone = await recipe_rows.retire(session, recipe.recipe_id)
            await job_rows.add_job(
                session, DROP, scope.user_id, options={"recipe_id": recipe.recipe_id}
            )
            await access_rows.record(session, scope.user_id, "generation.deleted", generation_id)
        await self._generations.remove(gone)

    async def _get(self, session: AsyncSession, generation_id: str) -> tuple[Generation, Recipe]:
        for row, recipe in await index_rows.list_generations(session):
            if row.generation_id == generation_id:
                return row, recipe
        raise NotFound(f"there is no generation {generation_id!r}")

    async def _add_job(
        self, session: AsyncSession, scope: AccessScope, options: dict[str, object]
    ) -> Job:
        running = await job_rows.open_job_of_kind(session, REINDEX)
        if running is not None:
            raise Conflict(f"job {running.job_id!r} is re-indexing already: cancel it or wait")
        job = await job_rows.add_job(session, REINDEX, scope.user_id, options=options)
        await access_rows.record(session, scope.user_id, "reindex.asked", job.job_id, **options)
        return job
