"""Opora's own way of storing: documents, chunks and vectors in PostgreSQL, then a generation."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.db.models import Document, DocumentVersion
from app.db.repositories.documents import DocumentView
from app.db.session import Database
from app.domain.access import PUBLIC
from app.domain.documents import (
    Block,
    BlockKind,
    ChunkDraft,
    DocumentStatus,
    MediaType,
    ParsedDocument,
)
from app.domain.ports import Embedder, Ids, Vectors
from app.domain.recipes import Recipe
from app.services.documents import DEFAULT_COLLECTION
from app.settings import EmbedderSettings, Settings
from app.wiring import build_generations, build_recipes, prepare_database
from benchmarks.retrieval.corpus import Text
from benchmarks.retrieval.processes import cpu_s, postmaster
from ingestion.indexing import fresh
from ingestion.pipeline import publish


@dataclass(frozen=True)
class Store:
    """An Opora's database and index files, without its processes."""

    settings: Settings
    database: Database
    recipe: Recipe
    embedder: Embedder

    def database_cpu_s(self) -> float:
        """CPU seconds of PostgreSQL so far."""
        return cpu_s(postmaster(self.settings.data))


@asynccontextmanager
async def opened_store(model: str) -> AsyncIterator[Store]:
    """An empty one, with a PostgreSQL that writes durably; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix="opora-", ignore_cleanup_errors=True) as name:
        settings = Settings(data_dir=Path(name), embedder=EmbedderSettings(model=model))
        postgres = await asyncio.to_thread(start_embedded, settings.data)
        try:
            url = postgres.get_uri()
            await asyncio.to_thread(upgrade, url)
            await prepare_database(settings, url)
            database = Database(url)
            recipes = build_recipes(settings, database)
            recipe = await recipes.serving()
            yield Store(settings, database, recipe, await recipes.embedder_of(recipe))
            await database.close()
        finally:
            await asyncio.to_thread(postgres.cleanup)


async def put(store: Store, documents: list[Text], vectors: Vectors) -> None:
    """Publish documents, each in a transaction of its own, as the worker does.

    Args:
        store: Where.
        documents: With their chunks.
        vectors: float32 (chunks, dim), row for row.
    """
    ends = np.cumsum([len(text.chunks) for text in documents])[:-1]
    for number, (text, rows) in enumerate(zip(documents, np.split(vectors, ends), strict=True)):
        view, parsed, drafts = _document(number, text)
        async with store.database.transaction() as session:
            session.add(view.document)
            await session.flush()
            session.add(view.version)
            await session.flush()
            document_id = view.document.document_id
            whole = fresh(store.recipe, document_id, text.title, parsed, drafts, rows)
            await publish(session, view, text.title, whole)


async def build(store: Store) -> None:
    """Make the index files, as a job of the worker does."""
    generations = build_generations(store.settings, store.database)
    await generations.build(store.recipe, store.embedder)


async def search(store: Store, questions: list[str]) -> Ids:
    """The places of the best ten chunks for each question, int64 (questions, 10)."""
    generations = build_generations(store.settings, store.database)
    index = generations.search_index(store.recipe, store.embedder)
    await index.load()
    found, _ = index.legs.vectors.search(store.embedder.embed_queries(questions), 10)
    places: Ids = np.searchsorted(index.legs.vectors.ids, found)
    return places


def _document(number: int, text: Text) -> tuple[DocumentView, ParsedDocument, list[ChunkDraft]]:
    whole = "\n".join(text.chunks)
    document_id = f"doc_{number:019d}"
    blocks, drafts, start = list[Block](), list[ChunkDraft](), 0
    for ordinal, chunk in enumerate(text.chunks):
        end = start + len(chunk)
        blocks.append(Block(BlockKind.PARAGRAPH, start, end))
        drafts.append(ChunkDraft(ordinal, start, end, chunk, "", (), (), len(chunk) // 4))
        start = end + 1
    view = DocumentView(
        Document(
            document_id=document_id,
            collection=DEFAULT_COLLECTION,
            title=text.title,
            title_is_given=True,
            readers=[PUBLIC],
        ),
        DocumentVersion(
            document_id=document_id,
            version=1,
            filename=f"{number}.txt",
            title=text.title,
            media_type=MediaType.TEXT,
            size_bytes=len(whole.encode()),
            sha256=hashlib.sha256(whole.encode()).hexdigest(),
            status=DocumentStatus.RECEIVED,
        ),
    )
    return view, ParsedDocument(whole, tuple(blocks)), drafts
