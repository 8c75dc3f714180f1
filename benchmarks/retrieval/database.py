"""A data directory of Opora with the corpus in it, as if it had been ingested."""

import asyncio
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import base
from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.db.models import (
    Chunk,
    Document,
    DocumentVersion,
    Embedding,
    Membership,
    ParsedText,
    PrincipalRow,
)
from app.db.repositories import index as index_rows
from app.db.session import Database
from app.domain.access import Scope
from app.domain.documents import BlockKind, DocumentStatus, MediaType
from app.domain.ports import Vectors
from app.domain.text import guess_language
from app.services.access import Access
from app.settings import Settings
from app.wiring import build_generations, build_recipes, prepare_database
from benchmarks.retrieval.corpus import SEED, Corpus, Text

ADMIN_KEY = "opora_admin-key-of-the-benchmark"
READER_KEY = "opora_reader-key-of-the-benchmark"
READER_SHARE = 0.1
_EVERYONE, _FEW, _READER = "group:everyone", "group:few", "user:reader"
_APP = Path(base.__file__).parents[1]
_BATCH_DOCUMENTS = 500


@contextmanager
def running_postgres(data: Path) -> Iterator[str]:
    """The embedded PostgreSQL of a data directory: its URL."""
    server = start_embedded(data)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def fill(settings: Settings, url: str, corpus: Corpus, real: Vectors) -> None:
    """Put the corpus into an empty database, with an admin and a reader of READER_SHARE of it."""
    upgrade(url)
    asyncio.run(_fill(settings, url, corpus, corpus.vectors(real)))


def build_generation(settings: Settings, url: str) -> None:
    """Make the index files anew where they are missing or of other code than today's."""
    stamp = settings.data / "generations" / "code"
    if not stamp.exists() or stamp.read_text() != _index_code():
        shutil.rmtree(stamp.parent, ignore_errors=True)
        asyncio.run(_build_generation(settings, url))
        stamp.write_text(_index_code())


def _index_code() -> str:
    """A digest of the code that decides what stands in index files."""
    files = [*_APP.glob("engines/index/*.py"), *_APP.glob("engines/lexical/*.py")]
    files += [_APP / "services" / "generation_files.py", *_APP.glob("domain/text*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


async def _build_generation(settings: Settings, url: str) -> None:
    database = Database(url)
    try:
        recipes = build_recipes(settings, database)
        recipe = await recipes.serving()
        embedder = await recipes.embedder_of(recipe)
        await build_generations(settings, database).build(recipe, embedder)
    finally:
        await database.close()


async def _fill(settings: Settings, url: str, corpus: Corpus, vectors: Vectors) -> None:
    await prepare_database(settings, url)
    database = Database(url)
    is_few = np.random.default_rng(SEED).random(len(corpus.documents)) < READER_SHARE
    try:
        await _add_reader(database)
        recipe = await build_recipes(settings, database).serving()
        first_chunk = 1
        for first in range(0, len(corpus.documents), _BATCH_DOCUMENTS):
            texts = corpus.documents[first : first + _BATCH_DOCUMENTS]
            async with database.transaction() as session:
                rows = _rows(texts, first, is_few, first_chunk, vectors, recipe.recipe_id)
                for model, batch in rows.items():
                    await session.execute(insert(model), batch)
            first_chunk += sum(len(text.chunks) for text in texts)
        async with database.transaction() as session:
            await index_rows.append_log(session, "set", _document_id(0))
            await _analyse(session)
    finally:
        await database.close()


async def _add_reader(database: Database) -> None:
    async with database.transaction() as session:
        names = [{"principal": name} for name in (_EVERYONE, _FEW)]
        await session.execute(insert(PrincipalRow), names)
    await Access(database).create_key("benchmark", "reader", [Scope.ASK], key=READER_KEY)
    async with database.transaction() as session:
        await session.execute(insert(Membership), [{"member": _READER, "group": _FEW}])


async def _analyse(session: AsyncSession) -> None:
    """Give the planner the statistics that autovacuum would have gathered by now."""
    connection = await session.connection()
    await connection.exec_driver_sql("ANALYZE")


def _rows(
    texts: Sequence[Text],
    first: int,
    is_few: "np.ndarray[Any, np.dtype[np.bool_]]",
    first_chunk: int,
    vectors: Vectors,
    recipe_id: int,
) -> dict[type[base.Base], list[dict[str, Any]]]:
    """The rows of some documents by table, in the order in which they must be inserted."""
    rows: dict[type[base.Base], list[dict[str, Any]]] = {
        model: [] for model in (Document, DocumentVersion, ParsedText, Chunk, Embedding)
    }
    chunk_id = first_chunk
    for number, text in enumerate(texts, start=first):
        identity = {"document_id": _document_id(number), "version": 1}
        whole = "\n".join(text.chunks)
        rows[Document].append(
            {
                "document_id": identity["document_id"],
                "collection": "default",
                "title": text.title,
                "readers": [_EVERYONE, *([_FEW] if is_few[number] else [])],
                "live_version": 1,
            }
        )
        rows[DocumentVersion].append(
            {
                **identity,
                "filename": f"{number}.txt",
                "title": text.title,
                "media_type": MediaType.TEXT,
                "size_bytes": len(whole.encode()),
                "sha256": hashlib.sha256(whole.encode()).hexdigest(),
                "status": DocumentStatus.LIVE,
                "language": guess_language(whole),
                "chunks": len(text.chunks),
            }
        )
        blocks: list[list[object]] = []
        start = 0
        for ordinal, chunk in enumerate(text.chunks):
            end = start + len(chunk)
            blocks.append([BlockKind.PARAGRAPH, start, end, 0, None])
            rows[Chunk].append(
                {
                    "chunk_id": chunk_id,
                    **identity,
                    "recipe_id": recipe_id,
                    "ordinal": ordinal,
                    "char_start": start,
                    "char_end": end,
                    "text": chunk,
                    "context": "",
                    "heading_path": [],
                    "pages": [],
                    "tokens": len(chunk) // 4,
                    "gap": None,
                    "content_sha256": hashlib.sha256(chunk.encode()).digest(),
                }
            )
            rows[Embedding].append(
                {
                    "chunk_id": chunk_id,
                    "vector": vectors[chunk_id - 1].astype("<f4").tobytes(),
                }
            )
            chunk_id += 1
            start = end + 1
        rows[ParsedText].append({**identity, "text": whole, "blocks": blocks})
    return rows


def _document_id(number: int) -> str:
    return f"doc_{number:019d}"
