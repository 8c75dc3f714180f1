"""The index follows SQL: generations, the log, rights, and searches that stay right meanwhile."""

import asyncio
import os
import random
import time

import pytest
from sqlalchemy import text

from app.db.repositories import index as index_rows
from app.domain.errors import FingerprintMismatch, IndexUnavailable
from app.domain.follow_ups import Asked
from app.services.generation_files import LEXICAL, MANIFEST, VECTORS, verify
from app.services.retrieval import SearchMode
from app.settings import EmbedderSettings
from app.wiring import Services, build_generations, build_services
from tests.integration.house import ADMIN, House, member

LEAVE = "Сотрудникам полагается отпуск: 28 календарных дней в году."
TRAVEL = "The daily allowance for a business trip is 45 euros."


def test_search_before_the_index_is_loaded_is_an_error(house: House) -> None:
    services = build_services(house.services.settings, house.services.database.url)

    async def ask() -> None:
        with pytest.raises(IndexUnavailable):
            await services.retrieval.search(ADMIN, Asked("отпуск"), 5)
        await services.close()

    asyncio.run(ask())


async def test_generation_is_loaded_and_followed_to_what_sql_holds(house: House) -> None:
    await house.add(LEAVE)
    generation_id = await house.build()
    assert generation_id is not None
    assert await house.build() is None  # nothing changed
    travel = await house.add(TRAVEL)

    services = build_services(house.services.settings, house.services.database.url)
    await services.index.load()
    restarted = House(services, house.folder)
    assert restarted.index.generation_id == f"{generation_id}+{restarted.index.log_number}"
    await restarted.assert_index_is_sql()
    found = await restarted.search("business trip")
    assert found == await house.search("business trip")
    assert found[0].document_id == travel
    await services.close()


@pytest.mark.parametrize("name", [VECTORS, LEXICAL, MANIFEST])
async def test_damaged_generation_is_not_used_and_nothing_is_lost(house: House, name: str) -> None:
    leave, travel = await house.add(LEAVE), await house.add(TRAVEL)
    generation_id = await house.build()
    path = house.services.settings.data / "generations" / str(generation_id) / name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    services = build_services(house.services.settings, house.services.database.url)
    await services.index.load()
    restarted = House(services, house.folder)
    assert restarted.index.generation_id.startswith("sql+")
    await restarted.assert_index_is_sql()
    for query, document_id in (("отпуск", leave), ("business trip", travel)):
        found = await restarted.search(query)
        assert found == await house.search(query)
        assert found[0].document_id == document_id
    await services.close()

    folder = path.parents[1]
    assert [aside.name for aside in folder.iterdir()] == [f"damaged-{generation_id}"]
    await house.work()  # a new one has been asked for
    index = await house.starting_index()
    assert index.generation_id.startswith("gen_")
    await house.assert_index_is_sql(index)


async def test_missing_generation_is_rebuilt(house: House) -> None:
    await house.add(LEAVE)
    generation_id = await house.build()
    folder = house.services.settings.data / "generations" / str(generation_id)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    await house.assert_index_is_sql(await house.starting_index())


async def test_generation_of_many_lists_tells_its_recall_and_is_followed(house: House) -> None:
    for number in range(5):
        await house.add(f"Документ номер {number}.")
    given = house.services.settings
    retrieval = given.retrieval.model_copy(update={"exact_up_to": 1})
    settings, database = given.model_copy(update={"retrieval": retrieval}), house.services.database
    recipe = await house.services.recipes.serving()
    generations = build_generations(settings, database)
    generation_id = await generations.build(recipe, house.index.embedder)
    async with database.transaction() as session:
        row = await index_rows.active_generation(session, recipe.recipe_id)
    assert row is not None
    assert row.generation_id == generation_id
    manifest = verify(given.data / "generations" / row.generation_id, row.manifest_sha256)
    assert manifest.recall == row.recall == 1.0  # so few vectors are all looked at

    index = await house.starting_index()
    assert index.generation_id.startswith(row.generation_id)
    await house.add(TRAVEL)
    await index.catch_up()
    await house.assert_index_is_sql(index)


async def test_what_a_killed_builder_left_is_removed_after_an_hour(house: House) -> None:
    await house.add("Первый документ.")
    first = await house.build()
    folder = house.services.settings.data / "generations"
    for name, age_s in (("gen_lost", 4000), (".gen_lost.partial", 4000), ("gen_in_work", 100)):
        (folder / name).mkdir()
        os.utime(folder / name, (time.time() - age_s,) * 2)
    await house.add("Второй документ.")
    second = await house.build()
    assert {path.name for path in folder.iterdir()} == {first, second, "gen_in_work"}


async def test_older_generations_are_removed_but_one(house: House) -> None:
    built = []
    for number in range(3):
        await house.add(f"Документ номер {number}.")
        built.append(await house.build())
    folder = house.services.settings.data / "generations"
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, built[1:]))


def configured(house: House, model: str) -> Services:
    """An app of the same database that is started with another embedder."""
    embedder = EmbedderSettings(model=model)
    settings = house.services.settings.model_copy(update={"embedder": embedder})
    return build_services(settings, house.services.database.url)


async def test_other_setting_changes_nothing_until_a_reindex(house: House) -> None:
    leave = await house.add(LEAVE)
    services = configured(house, "hash:32")
    await services.index.load()
    restarted = House(services, house.folder)
    assert restarted.index.embedder.fingerprint.dimension == 64
    await restarted.assert_index_is_sql()
    assert {p.document_id for p in await restarted.search("отпуск")} == {leave}
    await services.close()


async def test_model_that_is_not_what_it_was_is_refused(house: House) -> None:
    await house.add(LEAVE)
    async with house.services.database.transaction() as session:
        await session.execute(text("UPDATE recipe SET fingerprint = 'another@2:64'"))
    services = configured(house, "hash")
    with pytest.raises(FingerprintMismatch, match=r"another@2.*hash@1:64.*opora reindex"):
        await services.index.load()
    with pytest.raises(IndexUnavailable, match="opora reindex"):
        await services.retrieval.search(ADMIN, Asked("отпуск"), 5)
    await services.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_index_equals_sql_after_anything(house: House, seed: int) -> None:
    draw = random.Random(seed)
    words = ["отпуск", "приказ", "договор", "travel", "invoice", "склад", "badge", "зарплата"]
    documents: dict[str, str] = {}
    late = await house.starting_index()
    for turn in range(14):
        act = draw.choice(["add", "add", "edit", "delete", "readers", "build"])
        some = draw.choice(sorted(documents)) if documents else None
        content = f"{turn}: " + " ".join(draw.choices(words, k=draw.randrange(3, 200)))
        if act == "build":
            await house.build()
        elif act == "add" or some is None:
            documents[await house.add(content)] = content
        elif act == "edit":
            await house.edit(some, content)
            documents[some] = content
        elif act == "delete":
            await house.services.documents.delete(ADMIN, some)
            del documents[some]
        else:
            await house.services.documents.change(ADMIN, some, readers=["group:a"])
        await house.services.index.catch_up()
        await house.assert_index_is_sql()
        word = draw.choice(words)
        holders = {name for name, held in documents.items() if word in held}
        assert {p.document_id for p in await house.search(word, limit=100)} >= holders
        assert await house.finds(word) == holders
    await house.assert_index_is_sql(await house.starting_index())
    while await late.catch_up():
        pass
    await house.assert_index_is_sql(late)


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_reader_finds_only_what_may_be_read(house: House, mode: SearchMode) -> None:
    premium = "Премия директора составляет сто тысяч рублей."
    for_a = await house.add(f"{premium} А.", readers=["group:a"])
    for_b = await house.add(f"{premium} Б.", readers=["group:b"])
    for_ann = await house.add(f"{premium} Аня.", readers=["user:ann"])
    for_all = await house.add(f"{premium} Все.", readers=["public"])

    async def found(*groups: str, user: str = "bob") -> set[str]:
        query = "премия директора рублей"
        return {p.document_id for p in await house.search(query, member(user, *groups), mode)}

    assert await found() == {for_all}
    assert await found("a") == {for_a, for_all}
    assert await found("b") == {for_b, for_all}
    assert await found("a", "b", user="ann") == {for_a, for_b, for_ann, for_all}

    change = house.services.documents.change
    await change(ADMIN, for_a, readers=["group:b"])
    assert for_a not in await found("a")  # decided in SQL, before the index knows
    await house.services.index.catch_up()
    assert await found("a") == {for_all}
    assert await found("b") == {for_a, for_b, for_all}

    await house.services.documents.delete(ADMIN, for_all)
    assert await found() == set()


async def test_index_that_lags_behind_never_shows_too_much(house: House) -> None:
    document_id = await house.add(LEAVE)
    stale = house.services.index
    await house.services.documents.delete(ADMIN, document_id)
    assert len(stale.current.documents) == 1
    assert await house.search("отпуск") == ()


async def test_follower_hears_of_changes_and_outlives_its_connection(house: House) -> None:
    services = house.services
    follower = asyncio.create_task(services.index.follow(0.5))

    async def appears(content: str, word: str) -> None:
        await house.tasks.run((await house.accept(content)).job_id)
        async with asyncio.timeout(10):
            while not await house.finds(word):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    try:
        await appears("Отпуск согласован.", "отпуск")
        async with services.database.transaction() as session:
            query = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
            assert (await session.scalars(text(query))).all() == [True]
        await appears("Договор подписан.", "договор")
        assert not follower.done()
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def test_follower_is_woken_long_before_its_interval_is_over(house: House) -> None:
    follower = asyncio.create_task(house.services.index.follow(300))
    try:
        await house.tasks.run((await house.accept(LEAVE)).job_id)
        async with asyncio.timeout(10):
            while not await house.finds("отпуск"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
