"""What the worker does with one document version: parse, chunk, embed, publish."""

import asyncio
import hashlib
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import Chunk, Embedding, ParsedText
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories.documents import DocumentView
from app.db.session import Database
from app.domain.documents import (
    ChunkDraft,
    DocumentStatus,
    JobState,
    MediaType,
    ParsedDocument,
    index_text,
)
from app.domain.errors import EmptyDocument, JobCancelled
from app.domain.ports import BlobStore, Embedder, EmbedderFingerprint, Vectors
from app.domain.text import guess_language
from app.domain.validity import SUPERSEDED, is_superseded
from app.settings import IngestionSettings
from app.telemetry import get_logger, stage
from ingestion.chunking import chunk
from ingestion.parsers.sandbox import parse_in_sandbox
from ingestion.work import Progress, Work

log = get_logger(__name__)

_EMBED_BATCH = 64


class Pipeline:
    """The way of a document, from its bytes to live chunks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        embedder: Embedder,
        settings: IngestionSettings,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._embedder = embedder
        self._settings = settings

    async def run(self, work: Work, progress: Progress) -> None:
        """Take a version from `received` to `live`.

        Raises:
            DocumentRejected: The file cannot be read; its reason is for people.
            JobCancelled: Somebody asked for it, or the document is gone.
        """
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is None or view.document.deleted_at is not None:
                raise JobCancelled("the document was deleted")
            view.version.status = DocumentStatus.PARSING
            sha256, media_type = view.version.sha256, MediaType(view.version.media_type)
            title, is_given = view.document.title, view.document.title_is_given
        with stage("parse"):
            parsed = await asyncio.to_thread(
                parse_in_sandbox,
                self._blobs.local_path(sha256),
                media_type,
                self._settings,
                work.cancelled,
            )
        if not is_given and parsed.title:
            title = parsed.title
        with stage("chunk"):
            drafts = await asyncio.to_thread(
                chunk, parsed, self._embedder.count_tokens, self._budget()
            )
        if not drafts:
            raise EmptyDocument("the file holds no text")
        await self._set_status(work, DocumentStatus.EMBEDDING)
        vectors = await self._embed(work, title, drafts, progress)
        with stage("publish"):
            await self._publish(work, title, parsed, drafts, vectors)

    def _budget(self) -> int:
        return min(self._settings.chunk_tokens, self._embedder.max_tokens)

    async def _set_status(self, work: Work, status: DocumentStatus) -> None:
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, work.document_id, work.version)
            if view is not None:
                view.version.status = status

    async def _embed(
        self, work: Work, title: str, drafts: list[ChunkDraft], progress: Progress
    ) -> Vectors:
        texts = [index_text(title, d.heading_path, d.context, d.text) for d in drafts]
        batches = []
        for start in range(0, len(texts), _EMBED_BATCH):
            work.check()
            with stage("embed"):
                batch = texts[start : start + _EMBED_BATCH]
                batches.append(await asyncio.to_thread(self._embedder.embed_passages, batch))
            await progress(start + len(batch), len(texts), "chunks")
        return np.concatenate(batches)

    async def _publish(
        self,
        work: Work,
        title: str,
        parsed: ParsedDocument,
        drafts: list[ChunkDraft],
        vectors: Vectors,
    ) -> None:
        """Make the version live in one transaction, unless this worker was overtaken."""
        async with self._database.transaction() as session:
            job = await job_rows.lock_job(session, work.job_id)
            if job is None or job.attempts != work.attempt or job.state != JobState.RUNNING:
                raise JobCancelled("another worker took this job over")
            view = await document_rows.get_version(
                session, work.document_id, work.version, lock=True
            )
            if view is None or view.document.deleted_at is not None or job.cancel_requested:
                raise JobCancelled("cancelled before it was published")
            if (view.document.live_version or 0) > work.version:
                raise JobCancelled(f"version {view.document.live_version} is already live")
            fingerprint = self._embedder.fingerprint
            await publish(session, view, title, parsed, drafts, vectors, fingerprint)
            job.done = job.total = len(drafts)
            job_rows.finish(job, JobState.SUCCEEDED)


async def publish(
    session: AsyncSession,
    view: DocumentView,
    title: str,
    parsed: ParsedDocument,
    drafts: Sequence[ChunkDraft],
    vectors: Vectors,
    fingerprint: EmbedderFingerprint,
) -> None:
    """Write a version's text, chunks and vectors, make it live and tell the index followers.

    Args:
        session: In the transaction that makes it true.
        view: The document and the version.
        title: What the version is searched by.
        parsed: Its text.
        drafts: Its chunks, at least one.
        vectors: float32 (chunks, dim), row for row.
        fingerprint: Of the embedder that made them.
    """
    document, version = view.document, view.version
    identity: dict[str, object] = {
        "document_id": version.document_id,
        "version": version.version,
    }
    await session.execute(delete(Chunk).filter_by(**identity))
    await session.execute(delete(ParsedText).filter_by(**identity))
    blocks = [[b.kind, b.char_start, b.char_end, b.level, b.page] for b in parsed.blocks]
    await session.execute(insert(ParsedText).values(**identity, text=parsed.text, blocks=blocks))
    chunk_ids = (
        await session.scalars(
            insert(Chunk).returning(Chunk.chunk_id, sort_by_parameter_order=True),
            [
                _chunk_row(identity, draft, _gap(parsed.text, draft, following))
                for draft, following in zip_longest(drafts, drafts[1:])
            ],
        )
    ).all()
    model_id = await index_rows.embedding_model_id(session, fingerprint)
    await session.execute(
        insert(Embedding),
        [
            {"chunk_id": i, "embedding_model_id": model_id, "vector": v.tobytes()}
            for i, v in zip(chunk_ids, vectors.astype("<f4"), strict=True)
        ],
    )
    version.status, version.reason = DocumentStatus.LIVE, None
    version.title = title
    version.language = guess_language(parsed.text)
    version.pages, version.chunks = parsed.pages, len(drafts)
    version.flags, version.finished_at = _flags(parsed), now()
    document.live_version, document.updated_at = version.version, now()
    if not document.title_is_given:
        document.title = title
    await index_rows.append_log(session, "set", document.document_id)


def _flags(parsed: ParsedDocument) -> list[str]:
    return [*parsed.flags, *([SUPERSEDED] if is_superseded(parsed.text) else [])]


def _gap(text: str, draft: ChunkDraft, following: ChunkDraft | None) -> str | None:
    """The text between two chunks, if it is no more than white space."""
    if following is None or following.char_start < draft.char_end:
        return None
    between = text[draft.char_end : following.char_start]
    return None if between.strip() else between


def _chunk_row(
    identity: dict[str, object], draft: ChunkDraft, gap: str | None
) -> dict[str, object]:
    content = index_text("", draft.heading_path, draft.context, draft.text)
    return {
        **identity,
        "ordinal": draft.ordinal,
        "char_start": draft.char_start,
        "char_end": draft.char_end,
        "text": draft.text,
        "context": draft.context,
        "heading_path": list(draft.heading_path),
        "pages": list(draft.pages),
        "tokens": draft.tokens,
        "gap": gap,
        "content_sha256": hashlib.sha256(content.encode()).digest(),
    }
