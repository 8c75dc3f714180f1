"""Killed in the middle, edited and deleted under way: nothing is lost, doubled or left over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.db.session import Database
from app.settings import EmbedderSettings, Settings
from app.wiring import build_generations, build_recipes, prepare_database
from tests.conftest import ADMIN_KEY
from tests.e2e.running import Client, Process, environment, ready, start, until
from tests.faults.server import free_port

UPLOADS = 50


class Pair:
    """An app and a worker that can be killed and started again."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self._lives = 0
        self.processes: list[Process] = []
        self.base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"

    def start(self) -> Process:
        """Start both; return the app."""
        self._lives += 1
        self.processes = [
            start((name,), self.settings, self._folder / f"{name}-{self._lives}.log")
            for name in ("app", "worker")
        ]
        return self.processes[0]

    def kill(self) -> None:
        """End both as a power cut does, with the parsers that they started."""
        for process in self.processes:
            process.remember_family()
            process.kill()
            for left in process.left_behind():
                left.kill()


@pytest.fixture
async def pair(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> AsyncIterator[Pair]:
    """A started pair on an empty database."""
    settings = environment(
        tmp_path / "data",
        http__port=free_port(),
        database__url=new_database(),
        embedder__model="hash",
        llm__base_url=f"http://127.0.0.1:{free_port()}/v1",
        ingestion__stalled_after_s=1,
        ingestion__compact_after=15,
        retrieval__follow_interval_s=0.2,
    )
    await prepare_database(
        Settings(data_dir=tmp_path / "data", admin_key=SecretStr(ADMIN_KEY)),
        settings["OPORA_DATABASE__URL"],
    )
    pair = Pair(settings, tmp_path)
    await ready(pair.start(), pair.base_url, http)
    yield pair
    pair.kill()


def word(number: int) -> str:
    """A word that only one document holds."""
    return f"qwz{chr(ord('a') + number // 26)}{chr(ord('a') + number % 26)}x"


async def upload_stubbornly(client: Client, number: int) -> str:
    """Upload until it is accepted, as `opora ingest` in a shell loop does."""
    while True:
        try:
            answered = await client.upload(f"Документ {word(number)} лежит.", f"{number}.txt")
            if answered.status == 202:
                document_id: str = answered.json["document_id"]
                return document_id
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)


async def test_killed_in_the_middle_of_uploads(
    pair: Pair, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    client = Client(pair.base_url, ADMIN_KEY, http)
    free = asyncio.Semaphore(4)

    async def upload(number: int) -> str:
        async with free:
            return await upload_stubbornly(client, number)

    uploads = [asyncio.create_task(upload(number)) for number in range(UPLOADS)]

    async def some_are_live() -> bool:
        live = (await client.get("/v1/documents?status=live&limit=200")).json["items"]
        return len(live) >= 5

    await until(some_are_live, 60)
    pair.kill()
    await ready(pair.start(), pair.base_url, http)
    document_ids = await asyncio.wait_for(asyncio.gather(*uploads), 60)
    assert len(set(document_ids)) == UPLOADS
    for document_id in document_ids:
        ended = await client.ended(document_id, 90)
        assert (ended["status"], ended["version"], ended["chunks"]) == ("live", 1, 1), ended
    listed = (await client.get("/v1/documents?limit=200")).json["items"]
    assert sorted(item["document_id"] for item in listed) == sorted(document_ids)

    async def all_jobs_are_over() -> bool:
        jobs = (await client.get("/v1/jobs?limit=200")).json["items"]
        return not {job["state"] for job in jobs} & {"queued", "running"}

    await until(all_jobs_are_over, 60)
    await check_index(client, document_ids, tmp_path / "data", pair)


async def check_index(client: Client, document_ids: list[str], data: Path, pair: Pair) -> None:
    """The app's index and one that starts now hold exactly the live chunks of SQL."""

    async def followed() -> bool:
        metrics = (await client.get("/metrics")).raw.decode()
        return f"opora_index_chunks_count {UPLOADS}.0" in metrics

    await until(followed)
    for number, document_id in enumerate(document_ids):
        assert await client.holders(word(number)) == {document_id}
    settings = Settings(data_dir=data, embedder=EmbedderSettings(model="hash"))
    database = Database(pair.settings["OPORA_DATABASE__URL"], pool_size=2)
    recipes = build_recipes(settings, database)
    recipe = await recipes.serving()
    embedder = await recipes.embedder_of(recipe)
    index = build_generations(settings, database).search_index(recipe, embedder)
    await index.load()
    async with database.transaction() as session:
        query = "SELECT chunk_id FROM chunk ORDER BY chunk_id"
        stored = [row[0] for row in await session.execute(text(query))]
        doubled = await session.scalar(
            text(
                "SELECT count(*) FROM (SELECT sha256 FROM document_version GROUP BY 1"
                " HAVING count(*) > 1) AS d"
            )
        )
    await database.close()
    assert index.legs is not None
    assert index.legs.vectors.ids.tolist() == index.legs.lexical.ids.tolist() == stored
    assert len(stored) == UPLOADS
    assert doubled == 0


async def test_edited_document_is_found_by_its_new_words_only(admin: Client) -> None:
    document_id = await admin.ingest(f"Редакция {word(0)} действует.")
    await admin.find(word(0), document_id)
    for turn in range(1, 4):
        edited = await admin.upload(f"Редакция {word(turn)} действует.", document_id=document_id)
        job = await admin.ended_job(edited.json["job_id"])
        assert job["state"] == "succeeded"
        ended_at = monotonic()
        while True:
            seconds = monotonic() - ended_at
            new, old = await admin.holders(word(turn)), await admin.holders(word(turn - 1))
            if (new, old) == ({document_id}, set()):
                break
            assert seconds <= 2, f"after {seconds:.1f} s: new words {new}, old words {old}"


async def test_deleted_document_is_in_no_answer_any_more(admin: Client) -> None:
    question = "Где хранится ключ yyqx от склада?"
    leaks: list[Any] = []

    async def ask(document_id: str, over: asyncio.Event) -> None:
        while not over.is_set():
            deleted_before = deleted.is_set()
            found = [passage["document_id"] for passage in await admin.search(question)]
            events = await admin.ask_stream(question)
            if deleted_before and document_id in str((found, [e.data for e in events])):
                leaks.append((found, events))

    for _ in range(2):
        document_id = await admin.ingest("Ключ yyqx от склада хранится у охраны.")
        await admin.find("yyqx", document_id)
        deleted, over = asyncio.Event(), asyncio.Event()
        asking = asyncio.create_task(ask(document_id, over))
        await asyncio.sleep(0.2)
        answered = await admin.call("DELETE", f"/v1/documents/{document_id}")
        deleted.set()
        assert answered.status == 204
        for _ in range(10):
            assert document_id not in await admin.holders("yyqx")
        over.set()
        await asking
    assert leaks == []
