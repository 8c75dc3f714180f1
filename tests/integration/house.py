"""Opora inside the test's own process: its use cases, and a worker that works when told."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from sqlalchemy import select, text

from app.db.models import Job
from app.db.repositories import documents as document_rows
from app.db.repositories.documents import DocumentView
from app.domain.access import PUBLIC, AccessScope, Scope
from app.domain.documents import JobState, Passage
from app.domain.follow_ups import Asked
from app.services.documents import Accepted, Upload
from app.services.retrieval import SearchMode, SearchOptions
from app.services.search_index import SearchIndex
from app.wiring import Services
from ingestion.handlers import build_tasks
from ingestion.tasks import Tasks

ADMIN = AccessScope("admin", frozenset({PUBLIC, "user:admin"}), frozenset(Scope))


def member(user_id: str, *groups: str) -> AccessScope:
    """A person with the scope to ask and to ingest, in some groups."""
    principals = {PUBLIC, f"user:{user_id}", *(f"group:{name}" for name in groups)}
    return AccessScope(user_id, frozenset(principals), frozenset({Scope.ASK, Scope.INGEST}))


@dataclass
class House:
    """Opora in one process."""

    services: Services
    folder: Path

    @property
    def index(self) -> SearchIndex:
        """What searches are answered with now."""
        return self.services.index.current

    async def build(self) -> str | None:
        """Build a generation, as the worker does."""
        recipe = await self.services.recipes.serving()
        return await self.services.generations.build(recipe, self.index.embedder)

    async def starting_index(self) -> SearchIndex:
        """The index of an app that starts now."""
        services = self.services
        recipe = await services.recipes.serving()
        index = services.generations.search_index(recipe, self.index.embedder)
        await index.load()
        return index

    @property
    def tasks(self) -> Tasks:
        """A worker process's tasks."""
        return build_tasks(self.services)

    def upload(self, content: str | bytes, filename: str = "note.txt") -> Upload:
        """A received file."""
        raw = content.encode() if isinstance(content, str) else content
        self.folder.mkdir(exist_ok=True)
        path = self.folder / uuid4().hex
        path.write_bytes(raw)
        return Upload(path, filename, hashlib.sha256(raw).hexdigest(), len(raw))

    async def accept(
        self,
        content: str | bytes,
        filename: str = "note.txt",
        readers: Sequence[str] = (),
        scope: AccessScope = ADMIN,
    ) -> Accepted:
        """Upload a document."""
        upload = self.upload(content, filename)
        return await self.services.documents.add(scope, upload, readers=readers)

    async def replace(
        self, document_id: str, content: str | bytes, filename: str = "note.txt"
    ) -> Accepted:
        """Upload a new version."""
        upload = self.upload(content, filename)
        return await self.services.documents.replace(ADMIN, document_id, upload)

    async def add(
        self, content: str | bytes, filename: str = "note.txt", readers: Sequence[str] = ()
    ) -> str:
        """Upload a document, let the worker do its job, follow the index; return its id."""
        accepted = await self.accept(content, filename, readers)
        await self.tasks.run(accepted.job_id)
        await self.services.index.catch_up()
        return accepted.document_id

    async def edit(
        self, document_id: str, content: str | bytes, filename: str = "note.txt"
    ) -> None:
        """Upload a new version, let the worker do its job, follow the index."""
        await self.tasks.run((await self.replace(document_id, content, filename)).job_id)
        await self.services.index.catch_up()

    async def work(self) -> None:
        """Let the worker do all that is queued."""
        async with self.services.database.transaction() as session:
            query = select(Job.job_id).where(Job.state == JobState.QUEUED).order_by(Job.job_id)
            queued = (await session.scalars(query)).all()
        for job_id in queued:
            await self.tasks.run(job_id)

    async def view(self, document_id: str) -> DocumentView:
        """A document with its newest version."""
        async with self.services.database.transaction() as session:
            return await document_rows.get_document(session, ADMIN, document_id)

    async def job(self, job_id: str) -> Job:
        """A job as it stands."""
        async with self.services.database.transaction() as session:
            return (await session.scalars(select(Job).where(Job.job_id == job_id))).one()

    async def search(
        self,
        query: str,
        scope: AccessScope = ADMIN,
        mode: SearchMode = SearchMode.HYBRID,
        limit: int = 10,
    ) -> tuple[Passage, ...]:
        """Search without following first."""
        return (
            await self.services.retrieval.search(
                scope, Asked(query), limit, SearchOptions(mode=mode)
            )
        ).passages

    async def finds(self, word: str) -> set[str]:
        """Documents that hold the word."""
        found = await self.search(word, mode=SearchMode.LEXICAL)
        return {passage.document_id for passage in found}

    async def live_chunk_ids(self) -> list[int]:
        """What the index must hold, asked of SQL in other words than the product's."""
        query = text(
            "SELECT chunk_id FROM chunk JOIN document USING (document_id) "
            "JOIN recipe USING (recipe_id) WHERE deleted_at IS NULL AND version = live_version "
            "AND recipe.state = 'serving' ORDER BY chunk_id"
        )
        async with self.services.database.transaction() as session:
            return [row[0] for row in await session.execute(query)]

    async def assert_index_is_sql(self, index: SearchIndex | None = None) -> None:
        """Both legs hold the live chunks of SQL, and nothing else."""
        legs = (index or self.index).legs
        live = np.array(await self.live_chunk_ids(), np.int64)
        np.testing.assert_array_equal(legs.vectors.ids, live)
        np.testing.assert_array_equal(legs.lexical.ids, live)
