"""What the worker does with one document version: parse, chunk, embed, publish."""

import asyncio
import os
from contextlib import suppress

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import Job, ParsedText
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories import recipes as recipe_rows
from app.db.repositories.documents import DocumentView
from app.db.session import Database
from app.domain.documents import DocumentStatus, JobState, MediaType, ParsedDocument
from app.domain.errors import (
    EmbedderUnavailable,
    JobCancelled,
    OperatorError,
    StorageUnavailable,
)
from app.domain.ports import BlobStore, Embedder
from app.domain.recipes import Recipe
from app.domain.text import guess_language
from app.domain.validity import SUPERSEDED, is_superseded
from app.services.recipes import Recipes
from app.settings import IngestionSettings
from app.telemetry import get_logger, stage
from ingestion.indexing import Cut, Indexer, Overtaken, lock_own_job, store
from ingestion.parsers.sandbox import parse_in_sandbox
from ingestion.work import Progress, Work

log = get_logger(__name__)

_TELL_INTERVAL_S = 1.0


class Pipeline:
    """The way of a document, from its bytes to live chunks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        recipes: Recipes,
        settings: IngestionSettings,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._recipes = recipes
        self._indexer = Indexer(database)
        self._settings = settings

    async def run(self, work: Work, progress: Progress) -> None:
        """Take a version from `received` to `live`.

        Raises:
            DocumentRejected: The file cannot be read; its reason is for people.
            JobCancelled: Somebody asked for it, or the document is gone.
            Unavailable: Something that Opora leans on fails; the job may be tried again.
        """
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is None or view.document.deleted_at is not None:
                raise JobCancelled("the document was deleted")
            if view.document.live_version != work.version:  # else it is read anew
                view.version.status = DocumentStatus.PARSING
        with stage("parse"):
            parsed = await self._parse(work, view, progress)
        title = view.document.title
        if not view.document.title_is_given and parsed.title:
            title = parsed.title
        await self._set_status(work, DocumentStatus.EMBEDDING)
        while True:
            recipe, embedder = await self._serving()
            cut = await self._indexer.cut(
                work, work.document_id, title, parsed, recipe, embedder, progress
            )
            with stage("publish"), suppress(Overtaken):
                if await self._publish(work, title, cut):
                    log.info("document.live", version=work.version)
                    return

    async def _parse(self, work: Work, view: DocumentView, progress: Progress) -> ParsedDocument:
        path = self._blobs.local_path(view.version.sha256)
        if not await asyncio.to_thread(os.access, path, os.R_OK):
            raise StorageUnavailable("the store of files does not hold the file, or refuses it")
        loop = asyncio.get_running_loop()
        told_at = loop.time()

        def tell_pages(done: int, total: int) -> None:
            nonlocal told_at
            if loop.time() - told_at > _TELL_INTERVAL_S:
                told_at = loop.time()
                asyncio.run_coroutine_threadsafe(progress(done, total, "pages"), loop)

        return await asyncio.to_thread(
            parse_in_sandbox,
            path,
            MediaType(view.version.media_type),
            self._settings,
            work.cancelled,
            tell_pages=tell_pages,
        )

    async def _serving(self) -> tuple[Recipe, Embedder]:
        """The recipe that serves; a model that is not there now may be put back."""
        try:
            recipe = await self._recipes.serving()
            return recipe, await self._recipes.embedder_of(recipe)
        except OperatorError as error:
            raise EmbedderUnavailable(error.message) from error

    async def _set_status(self, work: Work, status: DocumentStatus) -> None:
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is not None and view.document.live_version != work.version:
                view.version.status = status

    async def _publish(self, work: Work, title: str, cut: Cut) -> bool:
        """Make the version live in one transaction; False if another recipe serves by now."""
        async with self._database.transaction() as session:
            await lock_own_job(session, work)
            view = await document_rows.get_version(
                session, work.document_id, work.version, lock=True
            )
            if view is None or view.document.deleted_at is not None:
                raise JobCancelled("cancelled before it was published")
            if (view.document.live_version or 0) > work.version:
                raise JobCancelled(f"version {view.document.live_version} is already live")
            await index_rows.lock_log(session)
            serving = await recipe_rows.serving(session)
            if serving is None or serving.recipe_id != cut.recipe.recipe_id:
                return False
            await publish(session, view, title, cut)
            job = await session.get(Job, work.job_id)
            assert job is not None
            job.done = job.total = len(cut.drafts)
            job_rows.finish(job, JobState.SUCCEEDED)
        return True


async def publish(session: AsyncSession, view: DocumentView, title: str, cut: Cut) -> None:
    """Write a version's text and chunks, make it live and tell the index followers.

    Args:
        session: In the transaction that makes it true.
        view: The document and the version.
        title: What the version is searched by.
        cut: Its text and chunks by the serving recipe.
    """
    document, version, parsed = view.document, view.version, cut.parsed
    identity = {"document_id": version.document_id, "version": version.version}
    await session.execute(delete(ParsedText).filter_by(**identity))
    blocks = [[b.kind, b.char_start, b.char_end, b.level, b.page] for b in parsed.blocks]
    await session.execute(insert(ParsedText).values(**identity, text=parsed.text, blocks=blocks))
    await store(session, cut, version.version)
    version.status, version.reason = DocumentStatus.LIVE, None
    version.title = title
    version.language = guess_language(parsed.text)
    version.pages, version.chunks = parsed.pages, len(cut.drafts)
    superseded = [SUPERSEDED] if is_superseded(parsed.text) else []
    version.flags, version.finished_at = [*parsed.flags, *superseded], now()
    document.live_version, document.updated_at = version.version, now()
    if not document.title_is_given:
        document.title = title
    await index_rows.append_log(session, "set", document.document_id)
