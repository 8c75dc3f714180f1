"""Chunks that stay, and another embedder prepared beside the one that serves."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text

from app.db.models import Chunk, Generation, Recipe
from app.db.repositories import jobs as job_rows
from app.db.repositories.jobs import REINDEX
from app.domain.documents import JobState
from app.domain.errors import Conflict, NotFound
from app.domain.follow_ups import Asked
from app.domain.ports import Vectors
from app.engines.embedder.deterministic import HashEmbedder
from app.settings import RetrievalSettings
from app.wiring import build_services
from tests.integration.house import ADMIN, House

PARAGRAPHS = [
    f"# Раздел {number}\n\n"
    + f"Правило номер {number} касается отпуска, командировки и приказа. " * 12
    for number in range(12)
]
OTHER: dict[str, object] = {"embedding_model": "hash:32"}


class Counting(HashEmbedder):
    """Keeps what it was asked to embed."""

    def __init__(self, dimension: int = 64) -> None:
        super().__init__(dimension)
        self.embedded: list[str] = []

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        return super().embed_passages(texts)


async def chunks(house: House, document_id: str) -> dict[int, str]:
    async with house.services.database.transaction() as session:
        query = select(Chunk.chunk_id, Chunk.text).filter_by(document_id=document_id)
        return {row[0]: row[1] for row in await session.execute(query)}


async def spans_are_exact(house: House) -> bool:
    """Whether every chunk is what stands at its offsets of its version's parsed text."""
    async with house.services.database.transaction() as session:
        query = text(
            "SELECT bool_and(c.text = substr(p.text, c.char_start::int + 1, "
            "(c.char_end - c.char_start)::int)) FROM chunk c JOIN parsed_text p "
            "ON p.document_id = c.document_id AND p.version = c.version"
        )
        return bool(await session.scalar(query))


async def reindex(house: House, **options: object) -> str:
    """Carry out a re-index job and let the app see what came of it."""
    async with house.services.database.transaction() as session:
        job = await job_rows.add_job(session, REINDEX, ADMIN.user_id, options=options)
    await house.tasks.run(job.job_id)
    await house.services.index.load()
    await house.services.index.catch_up()
    return job.job_id


async def recipes(house: House) -> dict[str, str]:
    async with house.services.database.transaction() as session:
        rows = await session.execute(select(Recipe.fingerprint, Recipe.state))
        return {row[0].split(":")[1]: row[1] for row in rows}


# chunks that stay


@pytest.mark.parametrize("name", ["rules.md", "rules.txt"])
async def test_edit_embeds_only_what_is_new_and_keeps_the_other_ids(
    house: House, name: str
) -> None:
    embedder = Counting()
    recipe = await house.services.recipes.serving()
    house.services.recipes._embedders[recipe.spec] = embedder
    document_id = await house.add("\n\n".join(PARAGRAPHS), name)
    before = await chunks(house, document_id)
    assert len(before) >= 10
    embedder.embedded.clear()

    changed = [*PARAGRAPHS[:4], "# Новое\n\nСовсем другой текст о складе.", *PARAGRAPHS[5:]]
    await house.edit(document_id, "\n\n".join(changed), name)
    after = await chunks(house, document_id)
    assert len(embedder.embedded) < len(after) / 3
    assert len(before.keys() & after.keys()) == len(after) - len(embedder.embedded)
    assert all(before[chunk_id] == after[chunk_id] for chunk_id in before.keys() & after.keys())
    assert await spans_are_exact(house)
    await house.assert_index_is_sql()
    await house.assert_index_is_sql(await house.starting_index())
    assert await house.finds("склад") == {document_id}
    passages = await house.search("правило номер 11", limit=3)
    assert all(passage.version == 2 for passage in passages)


async def test_same_text_twice_in_a_document_is_two_chunks(house: House) -> None:
    document_id = await house.add("\n\n".join([PARAGRAPHS[0]] * 3), "twice.md")
    count = len(await chunks(house, document_id))
    await house.edit(document_id, "\n\n".join([PARAGRAPHS[0]] * 2), "twice.md")
    assert len(await chunks(house, document_id)) < count
    assert await spans_are_exact(house)
    await house.assert_index_is_sql()


async def test_long_document_goes_on_where_a_dead_worker_was(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.indexing._STAGED_CHUNKS", 10)
    monkeypatch.setattr("ingestion.indexing._FIRST_BATCH", 5)
    monkeypatch.setattr("ingestion.indexing._LARGEST_BATCH", 5)

    class Dying(Counting):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            if len(self.embedded) >= 25:
                raise MemoryError
            return super().embed_passages(texts)

    recipe = await house.services.recipes.serving()
    dying = Dying()
    house.services.recipes._embedders[recipe.spec] = dying
    content = "\n\n".join(
        f"# {number}\n\n" + f"Слово{number} в строке. " * 40 for number in range(40)
    )
    accepted = await house.accept(content, "long.md")
    await house.tasks.run(accepted.job_id)
    assert await house.live_chunk_ids() == []
    staged = await chunks(house, accepted.document_id)
    assert len(staged) == 20

    embedder = Counting()
    house.services.recipes._embedders[recipe.spec] = embedder
    retried = await house.services.documents.retry_job(ADMIN, accepted.job_id)
    await house.tasks.run(retried.job_id)
    await house.services.index.catch_up()
    live = await house.live_chunk_ids()
    assert set(staged) < set(live)
    assert len(embedder.embedded) == len(live) - 20
    assert await spans_are_exact(house)
    await house.assert_index_is_sql()


async def test_two_versions_in_the_making_lose_no_text(house: House) -> None:
    """The later one counts on chunks that the earlier one deletes when it is published."""
    three, two = "\n\n".join(PARAGRAPHS[:3]), "\n\n".join(PARAGRAPHS[:2])
    document_id = await house.add(three, "rules.md")
    second = await house.replace(document_id, two, "rules.md")
    third = await house.replace(document_id, three + "\n\n# Ещё\n\nО складе.", "rules.md")
    recipe = await house.services.recipes.serving()

    class Slow(HashEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            if any("склад" in one for one in texts):
                asyncio.run_coroutine_threadsafe(house.tasks.run(second.job_id), loop).result(60)
            return super().embed_passages(texts)

    loop = asyncio.get_running_loop()
    house.services.recipes._embedders[recipe.spec] = Slow()
    await house.tasks.run(third.job_id)
    await house.services.index.catch_up()
    view = await house.view(document_id)
    assert (view.version.version, view.status) == (3, "live")
    assert len(await house.live_chunk_ids()) == view.version.chunks
    assert await spans_are_exact(house)
    assert await house.finds("склад") == {document_id}
    await house.assert_index_is_sql()


# another recipe


async def test_another_embedder_serves_once_it_has_everything(house: House) -> None:
    rules = await house.add("\n\n".join(PARAGRAPHS), "rules.md")
    gone = await house.add("Документ, который удалят.")
    await house.services.documents.delete(ADMIN, gone)
    before = house.index
    job_id = await reindex(house, **OTHER)
    job = await house.job(job_id)
    assert (job.state, job.done, job.total) == (JobState.SUCCEEDED, 1, 1)
    assert house.index is not before
    assert house.index.embedder.fingerprint.dimension == 32
    assert await recipes(house) == {"64": "kept", "32": "serving"}
    await house.assert_index_is_sql()
    assert await house.finds("отпуск") == {rules}

    late = await house.add("Этот документ о складе пришёл позже.")
    await house.edit(rules, "Теперь здесь о зарплате.")
    assert await house.finds("склад") == {late}
    assert await house.finds("отпуск") == set()

    settings = house.services.settings
    services = build_services(settings, house.services.database.url)  # configured as before
    await services.index.load()
    assert services.index.current.embedder.fingerprint.dimension == 32
    await services.close()


async def test_way_back_takes_along_what_came_meanwhile(house: House) -> None:
    rules = await house.add("\n\n".join(PARAGRAPHS), "rules.md")
    first = (await house.services.recipes.serving()).recipe_id
    old_chunks = set(await house.live_chunk_ids())
    await reindex(house, **OTHER)
    late = await house.add("Этот документ о складе пришёл позже.")
    await reindex(house, recipe_id=first)
    assert await recipes(house) == {"64": "serving", "32": "kept"}
    assert house.index.embedder.fingerprint.dimension == 64
    await house.assert_index_is_sql()
    assert old_chunks < set(await house.live_chunk_ids())
    assert await house.finds("склад") == {late}
    assert await house.finds("отпуск") == {rules}


async def test_smaller_chunks_are_a_recipe_too(house: House) -> None:
    await house.add("\n\n".join(PARAGRAPHS), "rules.md")
    count = len(await house.live_chunk_ids())
    await reindex(house, chunk_tokens=40)
    assert len(await house.live_chunk_ids()) > count
    assert await spans_are_exact(house)
    await house.assert_index_is_sql()


async def test_prepared_recipe_waits_for_a_person_if_it_is_told_to(house: House) -> None:
    await house.add("Отпуск длится 28 дней.")
    await reindex(house, activate="manual", **OTHER)
    assert await recipes(house) == {"64": "serving", "32": "kept"}
    assert house.index.embedder.fingerprint.dimension == 64
    async with house.services.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Generation)) == 2


async def test_what_is_edited_while_the_other_recipe_is_prepared_is_not_lost(house: House) -> None:
    """Edits at the worst moments: between the catching up and the flip."""
    document_id = await house.add("Отпуск длится 28 дней.")
    generations = house.services.generations
    build, edits = generations.build, iter(("Склад закрыт.", "Зарплата вовремя."))

    async def build_while_people_edit(*args: object) -> str | None:
        made = await build(*args)  # type: ignore[arg-type]
        for content in edits:
            await house.edit(document_id, content)
            break
        return made

    generations.build = build_while_people_edit  # type: ignore[method-assign, assignment]
    await reindex(house, **OTHER)
    assert house.index.embedder.fingerprint.dimension == 32
    assert await house.finds("зарплата") == {document_id}
    await house.assert_index_is_sql()


async def test_document_in_the_making_is_made_anew_by_the_recipe_that_serves_by_then(
    house: House,
) -> None:
    await house.add("Отпуск длится 28 дней.")
    recipe = await house.services.recipes.serving()
    begun, flipped = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(HashEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(flipped.wait(), loop).result(30)
            return super().embed_passages(texts)

    house.services.recipes._embedders[recipe.spec] = Slow()
    accepted = await house.accept("Склад закрыт.")
    making = asyncio.create_task(house.tasks.run(accepted.job_id))
    await asyncio.wait_for(begun.wait(), 30)
    await reindex(house, **OTHER)
    flipped.set()
    await making
    await house.services.index.catch_up()
    assert (await house.job(accepted.job_id)).state == JobState.SUCCEEDED
    assert await house.finds("склад") == {accepted.document_id}
    await house.assert_index_is_sql()


async def test_search_that_began_before_the_exchange_ends_with_its_own_index(house: House) -> None:
    await house.add("Отпуск длится 28 дней.")
    result = await house.services.retrieval.search(ADMIN, Asked("отпуск"), 5)
    await reindex(house, **OTHER)
    again = await house.services.retrieval.search(ADMIN, Asked("дней"), 5, index=result.index)
    assert again.index is result.index
    assert again.generation_id.split("+")[0] == result.generation_id.split("+")[0]
    assert len(again.passages) == 1


async def test_cancelled_reindex_changes_nothing_and_can_be_retried(house: House) -> None:
    for number in range(3):
        await house.add(f"Документ номер {number}.")
    async with house.services.database.transaction() as session:
        job = await job_rows.add_job(session, REINDEX, ADMIN.user_id, options=OTHER)

    original = house.services.generations.build

    async def cancelling(*args: object) -> str | None:
        await house.services.documents.cancel_job(ADMIN, job.job_id)
        return await original(*args)  # type: ignore[arg-type]

    house.services.generations.build = cancelling  # type: ignore[method-assign, assignment]
    await house.tasks.run(job.job_id)
    assert (await house.job(job.job_id)).state == JobState.CANCELLED
    assert (await recipes(house))["64"] == "serving"
    house.services.generations.build = original  # type: ignore[method-assign]
    await reindex(house, **OTHER)
    assert (await recipes(house))["32"] == "serving"


async def test_model_that_cannot_be_loaded_fails_the_job_alone(house: House) -> None:
    leave = await house.add("Отпуск длится 28 дней.")
    job_id = await reindex(house, embedding_model="/no/such/model")
    job = await house.job(job_id)
    assert job.state == JobState.FAILED
    assert job.error_message
    assert await house.finds("отпуск") == {leave}


async def test_deleted_generation_leaves_no_chunk_and_no_file(house: House) -> None:
    await house.add("\n\n".join(PARAGRAPHS), "rules.md")
    await reindex(house, **OTHER)
    reindexes = house.services.reindexes
    rows = await reindexes.list_all()
    serving = next(row for row, recipe in rows if recipe.state == "serving")
    kept = next(row for row, recipe in rows if recipe.state == "kept")
    with pytest.raises(Conflict, match="serves"):
        await reindexes.delete(ADMIN, serving.generation_id)
    await reindexes.delete(ADMIN, kept.generation_id)
    assert [row.generation_id for row, _ in await reindexes.list_all()] == [serving.generation_id]
    with pytest.raises(NotFound):
        await reindexes.activate(ADMIN, kept.generation_id)
    await house.work()
    assert await recipes(house) == {"32": "serving"}
    async with house.services.database.transaction() as session:
        count = await session.scalar(select(func.count()).select_from(Chunk))
    assert count == len(await house.live_chunk_ids())
    folder = house.services.settings.data / "generations"
    assert [path.name for path in folder.iterdir()] == [serving.generation_id]
    await house.assert_index_is_sql()


async def test_collection_is_parsed_anew_while_it_answers(house: House) -> None:
    first = await house.add("Отпуск длится 28 дней.")
    ids = await house.live_chunk_ids()
    batch = await house.services.reindexes.read_anew(ADMIN, ["default"])
    assert (await house.view(first)).status == "live"
    await house.work()
    await house.services.index.catch_up()
    async with house.services.database.transaction() as session:
        await job_rows.sum_up(session)
    assert (await house.job(batch.job_id)).state == JobState.SUCCEEDED
    assert await house.live_chunk_ids() == ids
    assert await house.finds("отпуск") == {first}
    with pytest.raises(NotFound):
        await house.services.reindexes.read_anew(ADMIN, ["nothing"])


# held-out questions


def held_out(house: House, *lines: str) -> House:
    """The house with questions that it judges a new index by."""
    path = house.folder / "held_out.jsonl"
    path.write_text("\n".join(lines))
    given = house.services.settings
    limits = given.ingestion.model_copy(update={"held_out": path})
    settings = given.model_copy(update={"ingestion": limits})
    return House(replace(house.services, settings=settings), house.folder)


async def test_index_that_finds_less_does_not_serve_unless_it_is_forced(house: House) -> None:
    words = ["отпуск", "склад", "зарплата", "договор", "командировка", "приказ", "пропуск", "смена"]
    for word in words:
        await house.add(f"{word.title()}: так записано в правилах.")
    questions = [f'{{"question": "{word}", "documents": ["note {word}"]}}' for word in words]
    async with house.services.database.transaction() as session:
        for word in words:
            await session.execute(
                text(
                    "UPDATE document SET source_uri = :name FROM chunk "
                    "WHERE chunk.document_id = document.document_id AND chunk.text ILIKE :like"
                ),
                {"name": f"note {word}", "like": f"{word}%"},
            )
    careful = held_out(house, *questions)

    class Blind(HashEmbedder):
        """Sees every text alike, and outweighs the words."""

        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            return super().embed_passages(["same"] * len(texts))

        def embed_queries(self, texts: Sequence[str]) -> Vectors:
            return super().embed_queries(["same"] * len(texts))

    spec = replace(careful.services.recipes.configured, model="hash:32")
    careful.services.recipes._embedders[spec] = Blind(32)
    careful.services.retrieval._settings = RetrievalSettings(dense_weight=1.0)
    job = await careful.job(await reindex(careful, **OTHER))
    assert (job.state, job.error_code) == (JobState.FAILED, "worse_index")
    assert "8 held-out questions" in str(job.error_message)
    assert (await recipes(house))["64"] == "serving"
    await reindex(careful, force=True, **OTHER)
    assert (await recipes(house))["32"] == "serving"


async def test_index_that_finds_as_much_serves(house: House) -> None:
    document_id = await house.add("Отпуск длится 28 дней.")
    line = f'{{"question": "Сколько длится отпуск?", "documents": ["{document_id}"]}}'
    await reindex(held_out(house, line, ""), **OTHER)
    assert (await recipes(house))["32"] == "serving"


async def test_broken_held_out_question_is_named(house: House) -> None:
    await house.add("Отпуск длится 28 дней.")
    broken = held_out(house, '{"question": "a", "documents": ["b"]}', '{"question": "a"}')
    job = await house.job(await reindex(broken, **OTHER))
    assert job.state == JobState.FAILED
    assert "line 2" in str(job.error_message)
