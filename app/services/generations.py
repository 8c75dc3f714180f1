"""Generations: both index legs saved to a directory, so that a start need not read all of SQL."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from app.db.base import new_id
from app.db.models import Generation
from app.db.repositories import index as index_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories.jobs import COMPACT, WORKER
from app.db.session import Database
from app.domain.errors import DamagedGeneration
from app.domain.ports import Embedder, LexicalIndex, VectorIndex
from app.domain.recipes import Recipe
from app.domain.text import TEXT_FINGERPRINT
from app.services import generation_files
from app.services.search_index import Legs, SearchIndex
from app.telemetry import get_logger, stage

log = get_logger(__name__)

FROM_SQL = "sql"


class Generations:
    """Loads the active generation of a recipe and builds the next one.

    A generation is a cache: when it is missing here, damaged or of another time, the legs start
    empty and SearchIndex.load fills them from SQL.
    """

    def __init__(
        self,
        database: Database,
        root: Path,
        new_legs: Callable[[int], tuple[VectorIndex, LexicalIndex]],
    ) -> None:
        """Take the folder of all generations, and what makes empty legs of a dimension."""
        self._database = database
        self._root = root
        self._new_legs = new_legs

    def search_index(self, recipe: Recipe, embedder: Embedder) -> SearchIndex:
        """An index that starts from the recipe's active generation."""
        dimension = embedder.fingerprint.dimension

        async def load_legs() -> Legs:
            return await self._load_active(recipe, dimension)

        return SearchIndex(self._database, recipe.recipe_id, embedder, load_legs)

    async def _load_active(self, recipe: Recipe, dimension: int) -> Legs:
        """Load the active generation's files after checking their sums, or empty legs."""
        async with self._database.transaction() as session:
            row = await index_rows.active_generation(session, recipe.recipe_id)
        if row is None:
            return Legs(*self._new_legs(dimension), FROM_SQL)
        try:
            return await asyncio.to_thread(self._load, row, recipe, dimension)
        except DamagedGeneration as error:
            log.warning("generation.not_used", generation=row.generation_id, reason=error.message)
            await self._set_aside(row.generation_id)
            return Legs(*self._new_legs(dimension), FROM_SQL)

    async def _set_aside(self, generation_id: str) -> None:
        """Keep a damaged directory under another name, and have a new generation built.

        A directory that is not there at all is another machine's.
        """
        try:
            aside = self._root / f"damaged-{generation_id}"
            await asyncio.to_thread((self._root / generation_id).rename, aside)
        except OSError as error:
            log.info("generation.not_set_aside", generation=generation_id, reason=str(error))
            return
        async with self._database.transaction() as session:
            if await job_rows.open_job_of_kind(session, COMPACT) is None:
                await job_rows.add_job(session, COMPACT, WORKER)

    async def build(self, recipe: Recipe, embedder: Embedder) -> str | None:
        """Save what SQL holds for a recipe as its active generation.

        Returns:
            Its id, or None when nothing has changed since the active one.
        """
        index = self.search_index(recipe, embedder)
        await index.load()
        legs = index.legs
        async with self._database.transaction() as session:
            before = await index_rows.active_generation(session, recipe.recipe_id)
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
                recipe.fingerprint,
                index.log_number,
                recall,
            )
        async with self._database.transaction() as session:
            retired = await index_rows.activate_generation(
                session,
                Generation(
                    generation_id=generation_id,
                    recipe_id=recipe.recipe_id,
                    text_fingerprint=TEXT_FINGERPRINT,
                    log_number=index.log_number,
                    chunks=legs.vectors.size,
                    recall=recall,
                    manifest_sha256=hashlib.sha256(manifest).hexdigest(),
                    state="active",
                ),
            )
        await self.remove(retired)
        await self._remove_abandoned()
        log.info(
            "generation.built",
            generation=generation_id,
            chunks=legs.vectors.size,
            recall=round(recall, 4),
        )
        return generation_id

    async def remove(self, generation_ids: Sequence[str]) -> None:
        """Delete directories."""
        for generation_id in generation_ids:
            await asyncio.to_thread(shutil.rmtree, self._root / generation_id, ignore_errors=True)

    async def _remove_abandoned(self) -> None:
        """Delete what workers that were killed while they built one have left."""
        async with self._database.transaction() as session:
            known = {row.generation_id for row, _ in await index_rows.list_generations(session)}
        abandoned = await asyncio.to_thread(generation_files.unknown, self._root, known)
        await self.remove(abandoned)
        if abandoned:
            log.warning("generations.abandoned", removed=abandoned)

    def _load(self, row: Generation, recipe: Recipe, dimension: int) -> Legs:
        directory = self._root / row.generation_id
        manifest = generation_files.verify(directory, row.manifest_sha256)
        if manifest.embedder != recipe.fingerprint:
            raise DamagedGeneration(f"it was built with the embedder {manifest.embedder!r}")
        if manifest.text != TEXT_FINGERPRINT:
            raise DamagedGeneration(f"its keys were made by {manifest.text!r}")
        vectors, lexical = self._new_legs(dimension)
        vectors.load(directory / generation_files.VECTORS)
        lexical.load(directory / generation_files.LEXICAL)
        return Legs(vectors, lexical, row.generation_id)
