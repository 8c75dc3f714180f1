"""Another embedder under load, from the command line, seen by two app processes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.wiring import prepare_database
from tests.conftest import ADMIN_KEY
from tests.e2e.running import Client, environment, ready, running, until
from tests.faults.server import free_port

DOCUMENTS = 60


@dataclass
class House:
    """Two apps and a worker over one database."""

    settings: dict[str, str]
    apps: list[Client] = field(default_factory=list)

    async def opora(self, *arguments: str) -> tuple[int, Any]:
        """An `opora` command with `--json`: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *arguments, "--json"),
            env=os.environ | self.settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, json.loads(out) if out.strip() else err.decode()


@pytest.fixture
async def house(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> AsyncIterator[House]:
    settings = environment(
        tmp_path / "data",
        admin_key=ADMIN_KEY,
        http__port=free_port(),
        database__url=new_database(),
        embedder__model="hash",
        llm__base_url=f"http://127.0.0.1:{free_port()}/v1",
        ingestion__stalled_after_s=1,
        retrieval__follow_interval_s=0.2,
    )
    await prepare_database(
        Settings(data_dir=tmp_path / "data", admin_key=SecretStr(ADMIN_KEY)),
        settings["OPORA_DATABASE__URL"],
    )
    second = settings | {"OPORA_HTTP__PORT": str(free_port())}
    house = House(settings)
    with ExitStack() as stack:
        stack.enter_context(running(("worker",), settings, tmp_path / "worker.log"))
        for number, own in enumerate((settings, second)):
            log = tmp_path / f"app-{number}.log"
            process = stack.enter_context(running(("app",), own, log))
            base_url = f"http://127.0.0.1:{own['OPORA_HTTP__PORT']}"
            await ready(process, base_url, http)
            house.apps.append(Client(base_url, ADMIN_KEY, http))
        yield house


async def test_nobody_notices_that_the_embedder_changes(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(DOCUMENTS):
        sentence = f"Правило номер {number} о складе и отпуске. "
        (folder / f"{number}.txt").write_text(sentence * 20)
    code, report = await house.opora("ingest", str(folder))
    assert (code, report["counts"]) == (0, {"live": DOCUMENTS})

    over = asyncio.Event()
    seen: list[tuple[int, str]] = []

    async def ask(app: Client, number: int) -> None:
        while not over.is_set():
            body = {"query": f"правило номер {number}", "limit": 5}
            answered = await app.post("/v1/search", body)
            found = answered.json
            seen.append((answered.status, found["generation_id"].split("+")[0]))
            assert len(found["passages"]) == 5
            number = (number + 7) % DOCUMENTS
            await asyncio.sleep(0.02)

    askers = [asyncio.create_task(ask(app, 3 * n)) for n, app in enumerate(house.apps * 2)]
    before = await generations(house)
    code, job = await house.opora("reindex", "--embedding-model", "hash:32")
    assert (code, job["state"], job["progress"]["done"]) == (0, "succeeded", DOCUMENTS)
    code, listed = await house.opora("generations")
    newest = listed["items"][0]
    assert (newest["state"], newest["recall"], newest["chunks"] > 0) == ("active", 1.0, True)
    assert "hash@1:32" in newest["embedder"]

    async def exchanged() -> bool:
        return await generations(house) == {newest["generation_id"]}

    await until(exchanged)
    late = await house.apps[0].ingest("Совсем другой документ: пропуск на парковку.")
    for app in house.apps:
        await app.find("парковка", late)

    old = next(row for row in listed["items"] if "hash@1:64" in row["embedder"])
    code, job = await house.opora("generations", "activate", old["generation_id"])
    assert (code, job["state"]) == (0, "succeeded")

    async def back() -> bool:
        return not await generations(house) & {"sql", newest["generation_id"]}

    await until(back)
    for app in house.apps:
        assert late in await app.holders("парковка")
    over.set()
    await asyncio.gather(*askers)
    assert {status for status, _ in seen} == {200}
    assert newest["generation_id"] in {name for _, name in seen}
    assert before == {"sql"}


async def generations(house: House) -> set[str]:
    """The generations that the apps answer with, "sql" before one is built."""
    states = [(await app.get("/readyz")).json["index"] for app in house.apps]
    return {state.split("+")[0] for state in states}


async def test_commands_say_what_they_refuse(house: House, tmp_path: Path) -> None:
    code, said = await house.opora("reindex", "--embedding-model", str(tmp_path / "nothing"))
    assert code == 1
    assert said["state"] == "failed"
    code, said = await house.opora("generations", "activate", "gen_nothing")
    assert code == 1
    assert "there is no generation" in said
    code, said = await house.opora("jobs", "retry", "job_nothing")
    assert code == 1
    assert "there is no such job" in said


async def test_a_folder_is_a_batch_that_names_what_failed(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "good.txt").write_text("Отпуск длится 28 дней.")
    (folder / "blank.txt").write_text("  ")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing of a PDF")
    (folder / "program.bin").write_bytes(b"\x7fELF" + bytes(100))
    code, report = await house.opora("ingest", str(folder))
    assert code == 1
    assert report["counts"] == {"live": 1, "empty": 1, "failed": 1, "refused": 1}
    by_name = {Path(file["path"]).name: file for file in report["files"]}
    assert "ELF" in by_name["program.bin"]["reason"]
    assert by_name["broken.pdf"]["reason"]
    code, listed = await house.opora("jobs", "--state", "failed")
    batch = next(job for job in listed["items"] if job["kind"] == "batch")
    assert batch["error"]["message"] == "1 of 3 files failed"
    assert batch["progress"] == {"done": 3, "total": 3, "unit": "files"}

    code, report = await house.opora("ingest", str(folder / "good.txt"), str(folder / "blank.txt"))
    assert (code, report["counts"]) == (0, {"live": 1, "empty": 1})
    assert all(file["duplicate"] for file in report["files"])
