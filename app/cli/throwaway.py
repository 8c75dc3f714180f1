"""An Opora of the evaluation's own: a dataset in a database that ends with it."""

import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.db.models import Document, DocumentVersion
from app.db.repositories.documents import DocumentView
from app.domain.documents import ChunkDraft, DocumentStatus, MediaType, ParsedDocument, index_text
from app.domain.errors import DocumentRejected, EmptyDocument, UnsupportedMedia
from app.domain.ports import Embedder, Vectors
from app.domain.recipes import Recipe
from app.quality.answers import reader_of
from app.quality.datasets import CorpusDocument, Dataset
from app.services.documents import DEFAULT_COLLECTION
from app.services.media_types import sniff
from app.settings import DatabaseSettings, IngestionSettings, Settings
from app.wiring import Services, build_services, prepare_database
from ingestion.chunking import chunk
from ingestion.indexing import fresh
from ingestion.parsers import markdown
from ingestion.parsers.sandbox import parse_in_sandbox
from ingestion.pipeline import publish

_DOCUMENTS_AT_ONCE = 64
_PATIENCE_S = 600.0  # with the reranker: what it can do is asked, not how fast it is
Progress = Callable[[int], None]
"""Told how many documents more are done."""


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document as the index takes it."""

    document_id: str
    title: str
    media_type: MediaType
    parsed: ParsedDocument = field(repr=False)
    drafts: list[ChunkDraft] = field(repr=False)

    def texts(self) -> list[str]:
        """What both search legs read, chunk by chunk."""
        return [index_text(self.title, d.heading_path, d.context, d.text) for d in self.drafts]


@asynccontextmanager
async def indexed(
    settings: Settings, dataset: Dataset, progress: Progress
) -> AsyncIterator[tuple[Services, list[str]]]:
    """Index a dataset in a throw-away database.

    Yields:
        The wired services over it, and for each document that could not be read a line that says
        why.

    Raises:
        ConfigurationError: The embedded PostgreSQL is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="opora-", ignore_cleanup_errors=True) as folder:
        own = settings.model_copy(
            update={
                "data_dir": Path(folder),
                "database": DatabaseSettings(),
                "admin_key": None,
                "reranker": settings.reranker.model_copy(update={"timeout_s": _PATIENCE_S}),
            }
        )
        postgres = await asyncio.to_thread(start_embedded, own.data)
        try:
            url = postgres.get_uri()
            await asyncio.to_thread(upgrade, url)
            await prepare_database(own, url)
            services = build_services(own, url)
            try:
                rejected = await _fill(services, dataset, progress)
                await services.index.load()
                yield services, rejected
            finally:
                await services.close()
        finally:
            await asyncio.to_thread(postgres.cleanup)


def cut(document: CorpusDocument, embedder: Embedder, limits: IngestionSettings) -> CutDocument:
    """Parse and chunk a document as the worker does; texts in this process, files in the sandbox.

    Raises:
        DocumentRejected: It cannot be read or holds no text.
        UnsupportedMedia: Opora does not read what the file is.
    """
    if isinstance(document.content, Path):
        media_type = sniff(document.content, document.content.name)
        parsed = parse_in_sandbox(document.content, media_type, limits)
        title = parsed.title or document.content.stem
    else:
        media_type = MediaType.MARKDOWN
        parsed = _parse_text(document.content or document.title, limits)
        title = document.title or parsed.title or ""
    budget = min(limits.chunk_tokens, embedder.max_tokens)
    drafts = chunk(parsed, embedder.count_tokens, budget)
    if not drafts:
        raise EmptyDocument("the document holds no text")
    return CutDocument(document.document_id, title, media_type, parsed, drafts)


def _parse_text(text: str, limits: IngestionSettings) -> ParsedDocument:
    return markdown.parse(io.BytesIO(text.encode()), limits)


async def _fill(services: Services, dataset: Dataset, progress: Progress) -> list[str]:
    rejected: list[str] = []
    recipe = await services.recipes.serving()
    embedder = await services.recipes.embedder_of(recipe)
    for start in range(0, len(dataset.documents), _DOCUMENTS_AT_ONCE):
        batch = dataset.documents[start : start + _DOCUMENTS_AT_ONCE]
        documents, reasons = await asyncio.to_thread(_cut_all, batch, embedder, services)
        texts = [text for document in documents for text in document.texts()]
        if texts:
            vectors = await asyncio.to_thread(embedder.embed_passages, texts)
            await _store(services, documents, recipe, vectors)
        rejected += reasons
        progress(len(batch))
    return rejected


def _cut_all(
    batch: tuple[CorpusDocument, ...], embedder: Embedder, services: Services
) -> tuple[list[CutDocument], list[str]]:
    documents, reasons = [], []
    for document in batch:
        try:
            documents.append(cut(document, embedder, services.settings.ingestion))
        except (DocumentRejected, UnsupportedMedia) as error:
            reasons.append(f"{document.document_id}: {error.message}")
    return documents, reasons


async def _store(
    services: Services, documents: list[CutDocument], recipe: Recipe, vectors: Vectors
) -> None:
    ends = np.cumsum([len(document.drafts) for document in documents])[:-1]
    async with services.database.transaction() as session:
        views = [_rows(document) for document in documents]
        session.add_all(view.document for view in views)
        await session.flush()
        session.add_all(view.version for view in views)
        await session.flush()
        for view, cut_document, rows in zip(views, documents, np.split(vectors, ends), strict=True):
            title, document_id = cut_document.title, cut_document.document_id
            whole = fresh(
                recipe, document_id, title, cut_document.parsed, cut_document.drafts, rows
            )
            await publish(session, view, title, whole)


def _rows(document: CutDocument) -> DocumentView:
    content = document.parsed.text.encode()
    return DocumentView(
        Document(
            document_id=document.document_id,
            collection=DEFAULT_COLLECTION,
            title=document.title,
            title_is_given=True,
            readers=[reader_of(document.document_id)],
        ),
        DocumentVersion(
            document_id=document.document_id,
            version=1,
            filename=document.document_id,
            title=document.title,
            media_type=document.media_type,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            status=DocumentStatus.RECEIVED,
        ),
    )
