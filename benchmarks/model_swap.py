"""Changing the embedder while people ask: failed requests, mixed generations, and the waiting.

  .venv/bin/python -m benchmarks.model_swap [--documents 1500] [--rate 20]

Starts PostgreSQL, an app and a worker in a throw-away directory, ingests documents of its own
making, and searches at a constant rate throughout: idle, while all is cut and embedded anew by the
default embedder, while another embedder takes over, and on the way back. Every answer must be 200,
and its passages must be of one recipe: SQL says which chunks each of them has.
"""

import argparse
import asyncio
import os
import random
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import numpy as np
import psycopg
from pydantic import SecretStr

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.settings import Settings
from app.wiring import prepare_database
from benchmarks.retrieval.processes import free_port
from tests.e2e.running import Client, environment, ready, running

KEY = "opora_admin-key-of-the-benchmark"
WORDS = (
    "отпуск договор приказ склад зарплата командировка пропуск смена отчёт согласование закупка "
    "поставщик сервер доступ пароль обучение премия график больничный архив invoice contract "
    "travel leave badge server access training approval purchase warehouse report schedule policy"
).split()


@dataclass
class Phase:
    """What was asked while something went on."""

    name: str
    latencies_ms: list[float] = field(default_factory=list)
    failed: int = 0
    mixed: int = 0
    generations: set[str] = field(default_factory=set)

    def row(self, idle: "Phase") -> str:
        p50, p95 = np.percentile(self.latencies_ms, (50, 95))
        ratio = p95 / np.percentile(idle.latencies_ms, 95)
        return (
            f"| {self.name} | {len(self.latencies_ms)} | {self.failed} | {self.mixed} "
            f"| {len(self.generations)} | {p50:.1f} | {p95:.1f} | {ratio:.2f} |"
        )


class Asker:
    """Searches at a constant rate, whatever the answers take."""

    def __init__(self, app: Client, url: str, rate: float) -> None:
        self._app, self._url, self._rate = app, url, rate
        self.phase = Phase("warm-up")
        self._random = random.Random(5)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._ask(self.phase))
                await asyncio.sleep(1 / self._rate)

    async def _ask(self, phase: Phase) -> None:
        query = " ".join(self._random.choices(WORDS, k=4))
        begun = perf_counter()
        try:
            answered = await self._app.post("/v1/search", {"query": query, "limit": 10})
        except aiohttp.ClientError:
            phase.failed += 1
            return
        phase.latencies_ms.append((perf_counter() - begun) * 1000)
        if answered.status != 200 or not answered.json["passages"]:
            phase.failed += 1
            return
        found = answered.json
        phase.generations.add(found["generation_id"].split("+")[0])
        ids = [int(passage["chunk_id"]) for passage in found["passages"]]
        phase.mixed += await asyncio.to_thread(self._is_mixed, ids)

    def _is_mixed(self, ids: list[int]) -> bool:
        with psycopg.connect(self._url) as connection:
            query = "SELECT count(DISTINCT recipe_id) FROM chunk WHERE chunk_id = ANY(%s)"
            row = connection.execute(query, (ids,)).fetchone()
        return row is not None and row[0] > 1


async def measure(documents: int, rate: float, idle_s: float) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opora-")))
        postgres = start_embedded(folder / "data")
        stack.callback(postgres.cleanup)
        url = postgres.get_uri()
        upgrade(url)
        settings = environment(
            folder / "data",
            admin_key=KEY,
            http__port=free_port(),
            database__url=url,
            llm__base_url="http://127.0.0.1:9/v1",
        )
        await prepare_database(Settings(data_dir=folder / "data", admin_key=SecretStr(KEY)), url)
        stack.enter_context(running(("worker",), settings, folder / "worker.log"))
        app = stack.enter_context(running(("app",), settings, folder / "app.log"))
        async with aiohttp.ClientSession(trust_env=False) as session:
            client = Client(f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}", KEY, session)
            await ready(app, client.base_url, session)
            await fill(client, documents)
            await run_phases(client, url, rate, idle_s)


async def run_phases(client: Client, url: str, rate: float, idle_s: float) -> None:
    asker = Asker(client, url, rate)
    asking = asyncio.create_task(asker.run())
    await asyncio.sleep(5)
    phases = []

    async def phase(name: str, path: str | None, body: object = None) -> None:
        asker.phase = Phase(name)
        phases.append(asker.phase)
        if path is None:
            await asyncio.sleep(idle_s)
            return
        begun = perf_counter()
        job = (await client.post(path, body)).json
        ended = await client.ended_job(job["job_id"], 1800)
        print(f"{name}: {ended['state']} after {perf_counter() - begun:.0f} s", flush=True)
        await asyncio.sleep(3)

    await phase("idle", None)
    await phase("re-embedding, default embedder", "/v1/admin/reindex", {"chunk_tokens": 120})
    old = await serving(client)
    await phase("another embedder", "/v1/admin/reindex", {"embedding_model": "hash:256"})
    await phase("the way back", f"/v1/admin/generations/{old}/activate")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    load = os.getloadavg()[0]
    print(f"\nload average {load:.1f} on {os.cpu_count()} cores; {rate:g} searches a second\n")
    print("| | searches | failed | mixed | generations seen | p50 ms | p95 ms | p95 / idle |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in phases:
        print(one.row(phases[0]))


async def serving(client: Client) -> str:
    """The generation that serves."""
    rows: list[Any] = (await client.get("/v1/admin/generations")).json["items"]
    found: str = next(row["generation_id"] for row in rows if row["state"] == "active")
    return found


async def fill(client: Client, documents: int) -> None:
    """Ingest documents of random words, as a batch."""
    draw = random.Random(7)
    batch = (await client.post("/v1/jobs", {"files": documents})).json["job_id"]
    free = asyncio.Semaphore(8)

    async def upload(number: int) -> None:
        sentences = (
            " ".join(draw.choices(WORDS, k=draw.randrange(6, 18))).capitalize() + "."
            for _ in range(draw.randrange(20, 60))
        )
        async with free:
            answered = await client.upload(
                f"Документ {number}. " + " ".join(sentences), f"{number}.txt", batch=batch
            )
            assert answered.status == 202, answered.raw

    await asyncio.gather(*(upload(number) for number in range(documents)))
    begun = perf_counter()
    ended = await client.ended_job(batch, 3600)
    print(f"{documents} documents: {ended['state']} after {perf_counter() - begun:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--idle-s", type=float, default=30)
    options = parser.parse_args()
    asyncio.run(measure(options.documents, options.rate, options.idle_s))


if __name__ == "__main__":
    main()
