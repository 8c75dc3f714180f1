"""Many streams at once through a real app over a model server whose tokens are slow.

`python -m benchmarks.load` needs no model and no network. Exit code 1 if a stream ends in anything
but an answer or a 429, or if a place is still taken at the end.
"""

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from benchmarks.retrieval.processes import cpu_s
from tests.e2e.campaign import Campaign, campaign
from tests.e2e.running import Client, until
from tests.faults.server import Behaviour, FaultServer, fault_server

SENTENCE = "Каждому сотруднику полагается 28 календарных дней отпуска в год."
QUESTION = "Сколько дней отпуска полагается сотруднику?"
SENTENCES = 4
CALLERS = 10
LEAVES = 20
STREAMED = {"question": QUESTION, "stream": True}
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "native, streamed": ("/v1/ask", STREAMED),
    "native": ("/v1/ask", {"question": QUESTION}),
    "OpenAI, streamed": ("/v1/chat/completions", CHAT | {"stream": True}),
    "OpenAI": ("/v1/chat/completions", CHAT),
}
TEXT = " ".join([f"{SENTENCE} [1]"] * SENTENCES)
BY_WORD = Behaviour(text=TEXT)
BY_LETTER = Behaviour(text=TEXT, token_chars=1)


@dataclass
class Run:
    """What came of a number of streams that were begun at once."""

    name: str
    tokens: int
    ends: Counter[str] = field(default_factory=Counter)
    waits_s: list[int] = field(default_factory=list)
    most_running: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    mib: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def streamed(self) -> int:
        """Tokens that came from the model server in whole answers."""
        return self.tokens * self.ends["finished"]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--answer-s", type=float, default=60, help="how long each answer takes")
    arguments = parser.parse_args()
    _allow_open_files(8 * arguments.streams)
    folder = Path(tempfile.mkdtemp(prefix="opora-load-"))
    folder.chmod(0o755)
    try:
        good = asyncio.run(_run(arguments, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if good else 1)


def _allow_open_files(needed: int) -> None:
    """Streams of the clients, of the model server, and of the app, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f"needs {needed} open files, `ulimit -Hn` allows {hard}: raise it or --streams")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _run(arguments: argparse.Namespace, folder: Path) -> bool:
    console, streams = Console(width=120), arguments.streams
    runs, left = [], dict[str, list[float]]()
    async with _opora(folder / "few", 16) as (trial, server):
        runs.append(await _streams("16 places", trial, server, BY_WORD, streams, 2))
        for door, (path, body) in DOORS.items():
            left[door] = [await _leave(trial.client, server, path, body) for _ in range(LEAVES)]
    # A caller gets three quarters of the places; ten callers get them all.
    async with _opora(folder / "many", streams) as (trial, server):
        for name, behaviour in ((" by word", BY_WORD), (" by letter", BY_LETTER)):
            answer_s = arguments.answer_s
            runs.append(
                await _streams(
                    f"{streams} places,{name}", trial, server, behaviour, streams, answer_s
                )
            )
    _print(console, runs, left)
    return all(set(run.ends) <= {"finished", "429"} for run in runs)


@asynccontextmanager
async def _opora(folder: Path, places: int) -> AsyncIterator[tuple[Campaign, FaultServer]]:
    """An app with one document, over a fault server in this process."""
    await asyncio.to_thread(folder.mkdir, 0o755)
    postgres = await asyncio.to_thread(start_embedded, folder / "database")
    await asyncio.to_thread(upgrade, postgres.get_uri())
    timeout = aiohttp.ClientTimeout(total=600)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        fault_server(BY_WORD) as server,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
        campaign(
            folder,
            postgres.get_uri(),
            http,
            1,
            llm__base_url=server.base_url,
            http__max_concurrent_answers=places,
            answering__min_evidence=0,
            answering__max_answer_tokens=1000,
        ) as trial,
    ):
        document_id = await trial.client.ingest(SENTENCE, "leave.txt")
        await trial.client.find("отпуска", document_id)

        async def warm() -> bool:
            return bool((await trial.client.get("/readyz")).json["ready"])

        await until(warm)
        await trial.client.post("/v1/ask", {"question": QUESTION})
        yield trial, server
    postgres.cleanup()


async def _streams(
    name: str,
    trial: Campaign,
    server: FaultServer,
    behaviour: Behaviour,
    count: int,
    answer_s: float,
) -> Run:
    """Begin the streams of ten callers within a second, and wait for the end of all."""
    run = Run(name, len(behaviour.tokens))
    server.behaviour = behaviour.slowed(answer_s)
    app = trial.pair.processes["app"].popen.pid
    callers = [await _caller(trial.client, f"caller-{number}") for number in range(CALLERS)]
    before_mib, before_s, begun = _mib(app), cpu_s(app), monotonic()
    peak_mib = before_mib

    async def ask(number: int) -> None:
        await asyncio.sleep(number / count)
        await _stream(callers[number % CALLERS], run)

    asked = asyncio.gather(*(ask(number) for number in range(count)))
    while not asked.done():
        peak_mib = max(peak_mib, _mib(app))
        run.most_running = max(run.most_running, server.running)
        await asyncio.wait([asked], timeout=0.2)
    await asked
    run.seconds, run.cpu_s = monotonic() - begun, cpu_s(app) - before_s
    await until(lambda: _rests(trial.client))
    run.mib = (before_mib, peak_mib, _mib(app))
    return run


async def _caller(admin: Client, user_id: str) -> Client:
    made = await admin.post("/v1/admin/api-keys", {"user_id": user_id, "scopes": ["ask"]})
    return admin.with_key(made.json["key"])


async def _stream(client: Client, run: Run) -> None:
    """Read a streamed answer and note how it ended."""
    try:
        async with client.session.post(
            client.base_url + "/v1/ask", json=STREAMED, headers=client.headers
        ) as response:
            if response.status != 200:
                run.ends[str(response.status)] += 1
                run.waits_s.append(int(response.headers.get("Retry-After", 0)))
                return
            names = [line async for line in response.content if line.startswith(b"event: ")]
        run.ends[names[-1].removeprefix(b"event: ").decode().strip()] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        run.ends[type(error).__name__] += 1


async def _leave(client: Client, server: FaultServer, path: str, body: dict[str, Any]) -> float:
    """Milliseconds from a caller's leaving to the end of the generation."""
    server.behaviour = Behaviour(endless=True, token_delay_s=0.02)
    call = asyncio.create_task(client.post(path, body))

    async def generates() -> bool:
        return server.running == 1

    await until(generates)
    await asyncio.sleep(0.05)
    left_at = monotonic()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    await server.idle(30)
    ended = server.generations[-1].ended
    assert ended is not None
    return (ended - left_at) * 1000


async def _rests(client: Client) -> bool:
    lines = (await client.get("/metrics")).raw.decode().splitlines()
    wanted = {"opora_answers_in_flight_count 0.0", "opora_answers_waiting_count 0.0"}
    return wanted <= set(lines)


def _mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1024**2


def _print(console: Console, runs: Sequence[Run], left: dict[str, list[float]]) -> None:
    load = os.getloadavg()[0]
    console.print(f"{os.cpu_count()} cores, load average {load:.1f}")
    table = Table("run", "ends", "running", "s", "app CPU-s", "tokens", "CPU-ms/100", "MiB")
    for run in runs:
        per_100 = run.cpu_s * 1e5 / run.streamed
        ends = ", ".join(f"{count} {end}" for end, count in sorted(run.ends.items()))
        mib = " → ".join(f"{part:.0f}" for part in run.mib)
        table.add_row(
            run.name,
            ends,
            str(run.most_running),
            f"{run.seconds:.0f}",
            f"{run.cpu_s:.1f}",
            str(run.streamed),
            f"{per_100:.1f}",
            mib,
        )
    console.print(table)
    for run in runs:
        if run.waits_s:
            console.print(f"{run.name}: Retry-After {min(run.waits_s)} to {max(run.waits_s)} s")
    by_word, by_letter = runs[-2:]
    more = by_letter.streamed - by_word.streamed
    if more:
        proxying = (by_letter.cpu_s - by_word.cpu_s) * 1e5 / more
        console.print(f"proxying alone, from the last two: {proxying:.1f} CPU-ms per 100 tokens")
    leaves = Table("who leaves", "generation ended after, ms: median", "most")
    for door, took_ms in left.items():
        leaves.add_row(door, f"{statistics.median(took_ms):.0f}", f"{max(took_ms):.0f}")
    console.print(leaves)


if __name__ == "__main__":
    main()
