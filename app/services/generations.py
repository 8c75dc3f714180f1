"""Generations: both index legs saved to a directory, so that a start need not read all of SQL."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from app.db.base import new_id
from app.db.models import Generation
from app.db.repositories import index as index_rows
from app.db.session import Database
from app.domain.errors import DamagedGeneration
from app.domain.ports import EmbedderFingerprint, LexicalIndex, VectorIndex
from app.domain.text import TEXT_FINGERPRINT
from app.services import generation_files
from app.services.search_index import Legs, SearchIndex
from app.telemetry import get_logger, stage

log = get_logger(__name__)

FROM_SQL = "sql"


class Generations:
    """Loads the active generation and builds the next one.

    A generation is a cache: when it is missing here, damaged or of another time, the legs start
    empty and SearchIndex.load fills them from SQL.
    """

    def __init__(
        self,
        database: Database,
        root: Path,
        fingerprint: EmbedderFingerprint,
        new_legs: Callable[[], tuple[VectorIndex, LexicalIndex]],
    ) -> None:
        self._database = database
        self._root = root
        self._fingerprint = fingerprint
        self._new_legs = new_legs

    def search_index(self) -> SearchIndex:
        """An index that starts from the active generation."""
        return SearchIndex(self._database, self._fingerprint, self.load_active)

    async def load_active(self) -> Legs:
        """Load the active generation's files after checking their sums, or empty legs."""
        async with self._database.transaction() as session:
            row = await index_rows.active_generation(session)
        if row is None:
            return Legs(*self._new_legs(), FROM_SQL)
        try:
            return await asyncio.to_thread(self._load, row)
        except DamagedGeneration as error:
            log.warning("generation.not_used", generation=row.generation_id, reason=error.message)
            return Legs(*self._new_legs(), FROM_SQL)

    async def build(self) -> str | None:
        """Save what SQL holds as a new generation and make it the active one.

        Returns:
            Its id, or None when nothing has changed since the active one.
        """
        index = self.search_index()
        await index.load()
        legs = index.legs
        assert legs is not None
        async with self._database.transaction() as session:
            before = await index_rows.active_generation(session)
            model_id = await index_rows.embedding_model_id(session, self._fingerprint)
        if (
            before is not None
            and before.generation_id == legs.generation_id
            and before.log_number == index.log_number
        ):
            return None
        generation_id = new_id("gen")
        with stage("optimise_generation"):
            recall = await asyncio.to_thread(legs.vectors.optimise)
        with stage("save_generation"):
            manifest = await asyncio.to_thread(
                generation_files.write,
                self._root / generation_id,
                legs.vectors,
                legs.lexical,
                str(self._fingerprint),
                index.log_number,
                recall,
            )
        async with self._database.transaction() as session:
            retired = await index_rows.activate_generation(
                session,
                Generation(
                    generation_id=generation_id,
                    embedding_model_id=model_id,
                    text_fingerprint=TEXT_FINGERPRINT,
                    log_number=index.log_number,
                    chunks=legs.vectors.size,
                    recall=recall,
                    manifest_sha256=hashlib.sha256(manifest).hexdigest(),
                    state="active",
                ),
            )
        for old in retired:
            await asyncio.to_thread(shutil.rmtree, self._root / old, ignore_errors=True)
        log.info(
            "generation.built",
            generation=generation_id,
            chunks=legs.vectors.size,
            recall=round(recall, 4),
        )
        return generation_id

    def _load(self, row: Generation) -> Legs:
        directory = self._root / row.generation_id
        manifest = generation_files.verify(directory, row.manifest_sha256)
        if manifest.embedder != str(self._fingerprint):
            raise DamagedGeneration(f"it was built with the embedder {manifest.embedder!r}")
        if manifest.text != TEXT_FINGERPRINT:
            raise DamagedGeneration(f"its keys were made by {manifest.text!r}")
        vectors, lexical = self._new_legs()
        vectors.load(directory / generation_files.VECTORS)
        lexical.load(directory / generation_files.LEXICAL)
        return Legs(vectors, lexical, row.generation_id)
