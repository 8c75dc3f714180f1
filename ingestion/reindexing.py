"""Another embedder or chunk size, prepared beside the one that serves, and the way back."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from app.db.models import ParsedText
from app.db.repositories import documents as document_rows
from app.db.repositories import index as index_rows
from app.db.repositories import recipes as recipe_rows
from app.db.session import Database
from app.domain.documents import Block, BlockKind, ParsedDocument
from app.domain.errors import OperatorError, WorseIndex
from app.domain.ports import Embedder
from app.domain.recipes import EmbedderSpec, Recipe
from app.quality.held_out import METRIC, HeldOut, gain, read_held_out
from app.services.generations import Generations
from app.services.recipes import Recipes
from app.services.retrieval import Retrieval
from app.telemetry import get_logger
from ingestion.indexing import Indexer, Overtaken, lock_own_job, store
from ingestion.work import Progress, Work

log = get_logger(__name__)

_DOCUMENTS = 100  # looked up at once
_CHUNKS = 5000  # deleted at once
_LEAST_RECALL = 0.95


class Reindexing:
    """Carries out re-index jobs.

    Documents go over one by one, each in a transaction of its own: a killed job goes on where it
    was, and what is edited meanwhile goes over again. The recipe serves once it has them all.
    """

    def __init__(
        self,
        database: Database,
        recipes: Recipes,
        generations: Generations,
        retrieval: Retrieval,
        held_out: Path | None,
    ) -> None:
        """Take what builds an index, what searches one, and the questions to judge it by."""
        self._database = database
        self._recipes = recipes
        self._generations = generations
        self._retrieval = retrieval
        self._held_out = held_out
        self._indexer = Indexer(database)

    async def run(self, work: Work, progress: Progress) -> None:
        """Prepare the recipe that the job's options name and, unless told not to, let it serve.

        Options: `recipe_id` of one that is there, or `embedding_model` and `chunk_tokens`, both by
        default as configured; `activate` is `when_ready` or `manual`; `force` lets it serve
        whatever it finds.

        Raises:
            WorseIndex: It finds less than the one that serves.
            OperatorError: The embedder cannot be loaded.
        """
        questions = read_held_out(self._held_out) if self._held_out else []
        recipe = await self._wanted(work.options)
        embedder = await self._recipes.embedder_of(recipe)
        judged = bool(work.options.get("force"))
        before = await self._save_serving(recipe)
        while True:
            await self._catch_up(work, recipe, embedder, progress)
            await self._generations.build(recipe, embedder)
            work.check()
            if not judged:
                await self._judge(before, (recipe, embedder), questions)
                judged = True
            if work.options.get("activate") == "manual":
                log.info("reindex.ready", recipe=recipe.recipe_id)
                return
            async with self._database.transaction() as session:
                await lock_own_job(session, work)
                if await recipe_rows.serve(session, recipe.recipe_id):
                    break
        log.info("reindex.serves", recipe=recipe.recipe_id, embedder=recipe.fingerprint)

    async def _save_serving(self, recipe: Recipe) -> tuple[Recipe, Embedder] | None:
        """Save the index that serves now, for the way back.

        Returns:
            Its recipe and embedder; None if it is the same, or its embedder is not there any more.
        """
        serving = await self._recipes.serving()
        if serving.recipe_id == recipe.recipe_id:
            return None
        try:
            embedder = await self._recipes.embedder_of(serving)
        except OperatorError as error:
            log.warning("reindex.no_way_back", reason=error.message)
            return None
        await self._generations.build(serving, embedder)
        return serving, embedder

    async def _judge(
        self,
        before: tuple[Recipe, Embedder] | None,
        after: tuple[Recipe, Embedder],
        questions: Sequence[HeldOut],
    ) -> None:
        """Load the new generation as an app will, and compare it with the one that serves."""
        new = self._generations.search_index(*after)
        await new.load()
        async with self._database.transaction() as session:
            saved = await index_rows.active_generation(session, new.recipe_id)
        if saved is not None and saved.recall < _LEAST_RECALL:
            raise WorseIndex(
                f"its recall@10 against exact search is {saved.recall:.3f}, below {_LEAST_RECALL}: "
                "re-index with `force` to let it serve all the same"
            )
        if before is None or not questions:
            return
        old = self._generations.search_index(*before)
        await old.load()
        change = await gain(self._retrieval, old, new, questions)
        shown = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
        log.info("reindex.judged", metric=METRIC, change=shown, questions=len(questions))
        if change.high < 0:
            raise WorseIndex(
                f"on {len(questions)} held-out questions {METRIC} changes by {shown}: re-index "
                "with `force` to let it serve all the same"
            )

    async def drop(self, work: Work, progress: Progress) -> None:
        """Delete the chunks of the recipe `recipe_id`, which is retired, and then itself."""
        recipe_id, done = int(str(work.options["recipe_id"])), 0
        while True:
            work.check()
            async with self._database.transaction() as session:
                count = await recipe_rows.drop_some(session, recipe_id, _CHUNKS)
            if not count:
                return
            done += count
            await progress(done, done, "chunks")

    async def _wanted(self, options: Mapping[str, object]) -> Recipe:
        if options.get("recipe_id") is not None:
            return await self._recipes.find(int(str(options["recipe_id"])))
        configured = self._recipes.configured
        model = str(options.get("embedding_model") or configured.model)
        spec = configured
        if model != configured.model:
            spec = EmbedderSpec(model, configured.base_url)
        tokens = int(str(options.get("chunk_tokens") or self._recipes.chunk_tokens))
        return await self._recipes.add(spec, tokens)

    async def _catch_up(
        self, work: Work, recipe: Recipe, embedder: Embedder, progress: Progress
    ) -> None:
        """Give the recipe every live document that it lacks."""
        done = 0
        while True:
            async with self._database.transaction() as session:
                left = await recipe_rows.count_stale(session, recipe.recipe_id)
            if not left:
                return
            total, after = done + left, ""
            while True:
                async with self._database.transaction() as session:
                    stale = await recipe_rows.stale(session, recipe.recipe_id, after, _DOCUMENTS)
                if not stale:
                    break
                for after, version in stale:
                    work.check()
                    with suppress(Overtaken):  # it is stale still, and comes again
                        await self._move(work, recipe, embedder, after, version)
                    done += 1
                    if done % 10 == 0 or done == total:
                        await progress(done, max(done, total), "documents")

    async def _move(
        self, work: Work, recipe: Recipe, embedder: Embedder, document_id: str, number: int
    ) -> None:
        """Cut and embed one version, unless it is not the live one any more."""
        async with self._database.transaction() as session:
            view = await document_rows.get_version(session, document_id, number)
            row = await session.get(ParsedText, (document_id, number))
        if view is None or row is None:
            return
        parsed = _parsed(row)
        cut = await self._indexer.cut(
            work, document_id, view.version.title, parsed, recipe, embedder
        )
        async with self._database.transaction() as session:
            await lock_own_job(session, work)
            view = await document_rows.get_version(session, document_id, number, lock=True)
            if view is not None and view.document.live_version == number:
                await store(session, cut, number)


def _parsed(row: ParsedText) -> ParsedDocument:
    """The document as its parser told it, as far as chunks need it."""
    rows = msgspec.convert(row.blocks, list[tuple[BlockKind, int, int, int, int | None]])
    return ParsedDocument(row.text, tuple(Block(*block) for block in rows))
