"""The index that this process answers with, exchanged as a whole when another recipe serves."""

import asyncio

from app.db.repositories import index as index_rows
from app.db.repositories import recipes as recipe_rows
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, IndexUnavailable, OperatorError
from app.services.following import follow
from app.services.generations import Generations
from app.services.recipes import Recipes
from app.services.search_index import SearchIndex
from app.telemetry import get_logger

log = get_logger(__name__)


class LiveIndex:
    """Holds the SearchIndex of the serving recipe.

    A search takes `current` once and stays with it: index and embedder always belong together.
    """

    def __init__(self, database: Database, recipes: Recipes, generations: Generations) -> None:
        self._database = database
        self._recipes = recipes
        self._generations = generations
        self._current: SearchIndex | None = None
        self._is_behind = False
        self._loading: asyncio.Task[None] | None = None
        self._reason = "the index is still loading; try again in a moment"

    @property
    def state(self) -> str:
        """The generation that answers, or what is wrong with it."""
        if self._current is None or self._is_behind:
            return self._reason
        return self._current.generation_id

    @property
    def is_loaded(self) -> bool:
        """Whether there is an index to search, of the recipe that serves or did a moment ago."""
        return self._current is not None and not self._is_behind

    @property
    def current(self) -> SearchIndex:
        """The index to search.

        Raises:
            IndexUnavailable: There is none yet; the message says why.
        """
        if self._current is None:
            raise IndexUnavailable(self._reason)
        return self._current

    async def load(self) -> None:
        """Load the serving recipe's index unless it is here; the one before serves meanwhile.

        Raises:
            OperatorError: The recipe's embedder cannot be loaded, or is not what it was.
        """
        try:
            recipe = await self._recipes.serving()
            if self._current is not None and self._current.recipe_id == recipe.recipe_id:
                return
            embedder = await self._recipes.embedder_of(recipe)
        except OperatorError as error:
            self._reason = error.message
            raise
        index = self._generations.search_index(recipe, embedder)
        await index.load()
        await index.catch_up()
        before, self._current = self._current, index
        if before is not None:
            log.info("index.exchanged", recipe=recipe.recipe_id, before=before.recipe_id)
            self._recipes.forget_others(recipe)

    async def catch_up(self) -> int:
        """Apply the log rows since the last look; return how many there were."""
        return await self.current.catch_up()

    async def follow(self, interval_s: float) -> None:
        """Follow log and recipe for ever: at once when notified, else every interval."""
        try:
            await follow(self._database, index_rows.CHANNEL, self._look, interval_s)
        finally:
            if self._loading is not None:
                self._loading.cancel()

    async def _look(self) -> None:
        if self._current is not None:
            while await self._current.catch_up():
                pass
        if self._loading is None or self._loading.done():
            async with self._database.transaction() as session:
                row = await recipe_rows.serving(session)
            if self._current is None or row is None or row.recipe_id != self._current.recipe_id:
                self._loading = asyncio.create_task(self._try_to_load())

    async def _try_to_load(self) -> None:
        """Load beside the index that answers, which is followed meanwhile."""
        try:
            await self.load()
        except DatabaseUnavailable as error:
            log.warning("index.not_loaded", reason=error.message)
        except OperatorError as error:
            self._is_behind = True  # what is published now is not seen here
            log.warning("index.not_loaded", reason=error.message)
        else:
            self._is_behind = False
