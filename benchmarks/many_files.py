"""Syncs a folder of 10,000 small files, then again, edits one, and cancels a batch midway.

`python -m benchmarks.many_files` starts an Opora of its own: PostgreSQL with fsync, one app, one
worker, and the embedder `hash`, so that the CPU goes to ingestion. It drives the command line and
the HTTP contract. Exit code 1 if a file is lost or the index is not what SQL says.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.console import Console

from app.cli.client import Client
from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.domain.errors import Unavailable
from app.settings import HttpSettings, Settings
from app.wiring import prepare_database
from benchmarks.retrieval.processes import cpu_s, free_port, postmaster
from tests.conftest import ADMIN_KEY
from tests.e2e.audit import audit
from tests.e2e.killing import Pair
from tests.e2e.running import environment

_LOOK_INTERVAL_S = 0.5
_START_TIMEOUT_S = 120
_IN_FOLDER = 100


@dataclass
class Bench:
    """A running Opora, and what is known of it."""

    folder: Path
    url: str
    pair: Pair
    client: Client
    console: Console
    faults: list[str] = field(default_factory=list)

    def cpu(self) -> dict[str, float]:
        """CPU seconds by process so far."""
        pids = {name: process.popen.pid for name, process in self.pair.processes.items()}
        pids["PostgreSQL"] = postmaster(self.folder / "database")
        return {name: cpu_s(pid) for name, pid in pids.items()}

    def audit(self, what: str) -> Counter[str]:
        """Compare index, SQL and files once nothing is open, and print what is there."""
        for state in ("queued", "running"):
            while self.client.call("GET", f"/v1/jobs?state={state}&limit=1")["items"]:
                time.sleep(_LOOK_INTERVAL_S)
        found = asyncio.run(audit(self.url, self.folder / "data"))
        self.console.print(
            f"{what}: documents {dict(found.statuses)}, jobs {dict(found.jobs)}, "
            f"{found.chunks} live chunks; faults: {found.faults or 'none'}"
        )
        self.faults += [f"{what}: {name}" for name in found.faults]
        return found.statuses


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    arguments = parser.parse_args()
    with _started(Console(soft_wrap=True)) as bench:
        folder = _write_files(bench.folder / "first", arguments.files)
        source_id = _add_source(bench, folder)
        first = _sync_all(bench, source_id, arguments.files)
        _sync_again(bench, source_id, first)
        _edit_one(bench, source_id, folder)
        _cancel_midway(bench, arguments.files // 5)
    sys.exit(1 if bench.faults else 0)


@contextmanager
def _started(console: Console) -> Iterator[Bench]:
    """An Opora on an empty database; it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="opora-files-"))
    folder.chmod(0o755)
    postgres = start_embedded(folder / "database")
    url, port = postgres.get_uri(), free_port()
    settings = Settings(
        data_dir=folder / "data", admin_key=SecretStr(ADMIN_KEY), http=HttpSettings(port=port)
    )
    own = environment(
        folder / "data",
        http__port=port,
        admin_key=ADMIN_KEY,
        database__url=url,
        embedder__model="hash",
        llm__base_url=f"http://127.0.0.1:{free_port()}/v1",
    )
    pair = Pair(own, folder)
    try:
        upgrade(url)
        asyncio.run(prepare_database(settings, url))
        pair.start("app", "worker")
        bench = Bench(folder, url, pair, Client(settings), console)
        _wait_ready(bench.client)
        yield bench
    finally:
        pair.kill(*pair.processes)
        postgres.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_ready(client: Client) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            client.call("GET", "/v1/jobs?limit=1")
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _write_files(folder: Path, count: int) -> Path:
    """Write small files of one or two chunks each."""
    for number in range(count):
        path = folder / f"{number // _IN_FOLDER}" / f"{folder.name}-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"Пункт {n} файла {number}: поставка {n * 7 + number} на склад." for n in range(5)]
        path.write_text(f"Файл {folder.name} {number}.\n\n" + "\n".join(lines))
    return folder


@contextmanager
def _ingesting(bench: Bench, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "app.cli", "ingest", str(folder), "--json"]
    with subprocess.Popen(
        command, env=bench.pair.settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process


def _newest_batch(client: Client) -> Any:
    """The newest batch, None while there is none."""
    jobs = client.call("GET", "/v1/jobs?limit=200")["items"]
    return next((job for job in jobs if job["kind"] == "batch"), None)


def _wait_batch(client: Client, before: str | None) -> str:
    """The id of a batch that is newer than another one."""
    while True:
        batch = _newest_batch(client)
        if batch is not None and batch["job_id"] != before:
            job_id: str = batch["job_id"]
            return job_id
        time.sleep(_LOOK_INTERVAL_S)


def _sync(bench: Bench, source_id: str) -> Any:
    """Ask for a sync; return its job."""
    return bench.client.call("POST", f"/v1/sources/{source_id}/sync")


def _add_source(bench: Bench, folder: Path) -> str:
    body = {"name": folder.name, "kind": "folder", "url": str(folder)}
    source_id: str = bench.client.call("POST", "/v1/sources", body)["source_id"]
    return source_id


def _sync_all(bench: Bench, source_id: str, count: int) -> float:
    """Sync all files for the first time and judge the progress; return the CPU seconds."""
    before, started = bench.cpu(), time.monotonic()
    job = _sync(bench, source_id)
    promised, promised_at, last = None, 0.0, 0
    while job["state"] in ("queued", "running"):
        time.sleep(_LOOK_INTERVAL_S)
        job = bench.client.call("GET", f"/v1/jobs/{job['job_id']}")
        done = job["progress"]["done"]
        if job["progress"]["unit"] != "files":
            continue
        if done < last:
            bench.faults.append(f"progress went back from {last} to {done}")
        last = done
        if promised is None and job["eta_s"] is not None and done >= count / 10:
            promised, promised_at = job["eta_s"], time.monotonic()
    ended = time.monotonic()
    spent = {name: seconds - before[name] for name, seconds in bench.cpu().items()}
    say = bench.console.print
    say(f"{count} files: {ended - started:.0f} s, {job['state']}, {job['progress']}")
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    say(f"CPU seconds: {parts}; {sum(spent.values()) / count * 1000:.1f} ms a file")
    if promised is None:
        bench.faults.append("no promise of time left after the first tenth")
    else:
        say(f"after a tenth: {promised:.0f} s promised, {ended - promised_at:.0f} s needed")
    live = bench.audit("after the first")["live"]
    if live != count:
        bench.faults.append(f"{live} of {count} files are live")
    return sum(spent.values())


def _sync_again(bench: Bench, source_id: str, first: float) -> None:
    """Sync the unchanged files again."""
    before = bench.cpu()
    job, took = _synced(bench, source_id)
    spent = sum(seconds - before[name] for name, seconds in bench.cpu().items())
    bench.console.print(
        f"the unchanged files again: {job['state']} after {took:.1f} s, {spent:.2f} CPU-s, "
        f"{spent / first:.2%} of the first"
    )
    bench.audit("after the second")


def _synced(bench: Bench, source_id: str) -> tuple[Any, float]:
    """Sync to the end; return the job and the seconds that it took."""
    started = time.monotonic()
    job = _ended(bench, _sync(bench, source_id)["job_id"])
    return job, time.monotonic() - started


def _ended(bench: Bench, job_id: str) -> Any:
    """Wait for the end of a job, and return it."""
    while True:
        job = bench.client.call("GET", f"/v1/jobs/{job_id}")
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(_LOOK_INTERVAL_S)


def _edit_one(bench: Bench, source_id: str, folder: Path) -> None:
    """Change one file three times, and look how long after its job's start it is found."""
    times = []
    for turn in range(3):
        word = f"правка{'абв'[turn]}"
        (folder / "0" / f"{folder.name}-7.txt").write_text(f"Файл {word} правлен.")
        job_id = _sync(bench, source_id)["job_id"]
        while not (found := _found(bench.client, word)):
            time.sleep(0.02)
        found_at = datetime.now(UTC)
        jobs = bench.client.call("GET", "/v1/jobs?limit=20")["items"]
        job = next(job for job in jobs if job["document_id"] in found)
        times.append((found_at - datetime.fromisoformat(job["started_at"])).total_seconds())
        _ended(bench, job_id)
    parts = ", ".join(f"{seconds:.2f}" for seconds in times)
    bench.console.print(f"an edited file is found {parts} s after its job starts")


def _found(client: Client, query: str) -> set[str]:
    """The documents that hold a word."""
    body = {"query": query, "mode": "lexical", "limit": 10}
    return {p["document_id"] for p in client.call("POST", "/v1/search", body)["passages"]}


def _cancel_midway(bench: Bench, count: int) -> None:
    """Cancel a batch when a third of it is done."""
    folder = _write_files(bench.folder / "second", count)
    newest = _newest_batch(bench.client)
    with _ingesting(bench, folder) as process:
        job_id = _wait_batch(bench.client, newest and newest["job_id"])
        while bench.client.call("GET", f"/v1/jobs/{job_id}")["progress"]["done"] < count / 3:
            time.sleep(_LOOK_INTERVAL_S)
        asked = time.monotonic()
        bench.client.call("POST", f"/v1/jobs/{job_id}/cancel")
        while bench.client.call("GET", f"/v1/jobs/{job_id}")["state"] == "running":
            time.sleep(0.1)
        took = time.monotonic() - asked
        output, _ = process.communicate()
    counts = json.loads(output)["counts"]
    bench.console.print(f"cancelled midway: ended after {took:.1f} s, the caller is told {counts}")
    bench.audit("after the cancel")


if __name__ == "__main__":
    main()
