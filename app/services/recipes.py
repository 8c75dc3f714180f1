"""The recipe that serves, and the embedders that recipes ask for."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import asdict

from app.db.models import Recipe as RecipeRow
from app.db.repositories import recipes as recipe_rows
from app.db.session import Database
from app.domain.errors import FingerprintMismatch, NotFound
from app.domain.ports import Embedder
from app.domain.recipes import EmbedderSpec, Recipe
from app.telemetry import get_logger

log = get_logger(__name__)


class Recipes:
    """Tells the serving recipe, and loads embedders, each of them once.

    The settings decide about a new database only. Afterwards the recipe in SQL does, until a
    re-index has made another one serve: so all processes always agree.
    """

    def __init__(
        self,
        database: Database,
        build: Callable[[EmbedderSpec], Embedder],
        configured: EmbedderSpec,
        chunk_tokens: int,
    ) -> None:
        """Take what builds an embedder, and what the settings ask for."""
        self._database = database
        self._build = build
        self.configured = configured
        self.chunk_tokens = chunk_tokens
        self._embedders: dict[EmbedderSpec, Embedder] = {}
        self._lock = threading.Lock()
        self._told: int | None = None

    async def serving(self) -> Recipe:
        """The recipe that questions are answered with; the configured one in a new database.

        Raises:
            FingerprintMismatch: An earlier release's vectors are not the configured embedder's.
            OperatorError: The configured embedder cannot be loaded.
        """
        async with self._database.transaction() as session:
            row = await recipe_rows.serving(session)
        if row is None or row.embedder is None:
            embedder = await self.embedder(self.configured)
            async with self._database.transaction() as session:
                row = await recipe_rows.find_or_add(
                    session, self.configured, embedder.fingerprint, self.chunk_tokens, serves=True
                )
                if row.embedder is None:
                    _check_fingerprint(row.fingerprint, embedder)
                    row.embedder = asdict(self.configured)
        recipe = recipe_of(row)
        self._tell(recipe)
        return recipe

    async def find(self, recipe_id: int) -> Recipe:
        """A recipe by its number; NotFound if there is none."""
        async with self._database.transaction() as session:
            row = await recipe_rows.get(session, recipe_id)
        if row is None or row.embedder is None:
            raise NotFound(f"there is no recipe {recipe_id}")
        return recipe_of(row)

    async def add(self, spec: EmbedderSpec, chunk_tokens: int) -> Recipe:
        """The recipe of an embedder as it is now."""
        embedder = await self.embedder(spec)
        async with self._database.transaction() as session:
            row = await recipe_rows.find_or_add(session, spec, embedder.fingerprint, chunk_tokens)
            if row.embedder is None:
                row.embedder = asdict(spec)
            return recipe_of(row)

    async def embedder_of(self, recipe: Recipe) -> Embedder:
        """The embedder of a recipe.

        Raises:
            FingerprintMismatch: The model is not any more what it was.
            OperatorError: It cannot be loaded.
        """
        embedder = await self.embedder(recipe.spec)
        _check_fingerprint(recipe.fingerprint, embedder)
        return embedder

    async def embedder(self, spec: EmbedderSpec) -> Embedder:
        """An embedder with its model loaded."""
        return await asyncio.to_thread(self._load, spec)

    def _load(self, spec: EmbedderSpec) -> Embedder:
        with self._lock:
            if spec not in self._embedders:
                embedder = self._build(spec)
                _ = embedder.fingerprint  # loads the model
                self._embedders[spec] = embedder
            return self._embedders[spec]

    def forget_others(self, recipe: Recipe) -> None:
        """Let go of the embedders that a recipe does not use."""
        with self._lock:
            for spec in list(self._embedders):
                if spec not in (recipe.spec, self.configured):
                    del self._embedders[spec]

    def _tell(self, recipe: Recipe) -> None:
        """Say once that the settings ask for something else."""
        if self._told != recipe.recipe_id and (recipe.spec, recipe.chunk_tokens) != (
            self.configured,
            self.chunk_tokens,
        ):
            log.warning(
                "recipe.not_the_configured_one",
                serving=recipe.fingerprint,
                chunk_tokens=recipe.chunk_tokens,
                configured=self.configured.model,
                configured_chunk_tokens=self.chunk_tokens,
                hint="opora reindex moves to the configured one",
            )
        self._told = recipe.recipe_id


def recipe_of(row: RecipeRow) -> Recipe:
    """From the stored row, which names its embedder."""
    assert row.embedder is not None
    spec = EmbedderSpec(**row.embedder)  # type: ignore[arg-type]  # as `asdict` wrote it
    return Recipe(row.recipe_id, spec, row.fingerprint, row.chunk_tokens)


def _check_fingerprint(fingerprint: str, embedder: Embedder) -> None:
    if fingerprint != str(embedder.fingerprint):
        raise FingerprintMismatch(
            f"the stored vectors were made by {fingerprint!r}, and the embedder is now "
            f"{str(embedder.fingerprint)!r}: put the model of OPORA_EMBEDDER__MODEL back as it "
            "was, or set another one and run `opora reindex`"
        )
