"""Starts Opora as processes, talks to it over HTTP, and finds every process that it left."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import aiohttp
import psutil

TERMINAL = {"live", "empty", "failed", "quarantined", "cancelled", "deleted"}
START_TIMEOUT_S = 90.0


Found = TypeVar("Found")


async def until(look: Callable[[], Awaitable[Found | None]], timeout_s: float = 30) -> Found:
    """Look again and again until there is something, and return it."""
    async with asyncio.timeout(timeout_s):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Answered:
    """A response, read whole."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: Any


@dataclass
class Client:
    """A caller with a key."""

    base_url: str
    key: str | None
    session: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def with_key(self, key: str | None) -> "Client":
        return Client(self.base_url, key, self.session)

    async def call(self, method: str, path: str, **options: Any) -> Answered:
        """Send a request and read the whole answer."""
        async with self.session.request(
            method, self.base_url + path, headers=self.headers, **options
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.status, headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answered:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Answered:
        return await self.call("POST", path, json=body, **options)

    async def upload(
        self,
        content: str | bytes,
        filename: str = "note.txt",
        document_id: str | None = None,
        **fields: str | list[str],
    ) -> Answered:
        """Upload a document, or a new version of one."""
        form = aiohttp.FormData()
        for name, value in fields.items():
            for one in value if isinstance(value, list) else [value]:
                form.add_field(name, one)
        raw = content.encode() if isinstance(content, str) else content
        form.add_field(
            "file", io.BytesIO(raw), filename=filename, content_type="application/octet-stream"
        )
        if document_id is not None:
            return await self.call("PUT", f"/v1/documents/{document_id}", data=form)
        return await self.call("POST", "/v1/documents", data=form)

    async def ingest(self, content: str | bytes, filename: str = "note.txt", **fields: Any) -> str:
        """Upload a document, wait for its end, and return its id."""
        accepted = (await self.upload(content, filename, **fields)).json
        await self.ended_job(accepted["job_id"])
        document_id: str = accepted["document_id"]
        return document_id

    async def document(self, document_id: str) -> Any:
        return (await self.get(f"/v1/documents/{document_id}")).json

    async def ended(self, document_id: str, timeout_s: float = 60) -> Any:
        """Wait until a document is in a terminal state, and return it."""

        async def look() -> Any:
            found = await self.document(document_id)
            return found if found["status"] in TERMINAL else None

        return await until(look, timeout_s)

    async def ended_job(self, job_id: str, timeout_s: float = 60) -> Any:
        """Wait until a job is over, and return it."""

        async def look() -> Any:
            job = (await self.get(f"/v1/jobs/{job_id}")).json
            return None if job["state"] in ("queued", "running") else job

        return await until(look, timeout_s)

    async def search(self, query: str, **options: Any) -> list[Any]:
        """Passages for a query."""
        answered = await self.post("/v1/search", {"query": query, **options})
        assert answered.status == 200, answered.raw
        passages: list[Any] = answered.json["passages"]
        return passages

    async def find(self, query: str, document_id: str, timeout_s: float = 10) -> None:
        """Wait until the words of a query lead to a document."""

        async def look() -> bool:
            return document_id in await self.holders(query)

        await until(look, timeout_s)

    async def holders(self, query: str) -> set[str]:
        """Documents that hold the words."""
        found = await self.search(query, mode="lexical", limit=100)
        return {passage["document_id"] for passage in found}

    async def events(self, method: str, path: str, **options: Any) -> AsyncIterator[Event]:
        """The server-sent events of a call."""
        async with self.session.request(
            method, self.base_url + path, headers=self.headers, **options
        ) as response:
            assert response.status == 200, await response.read()
            assert response.content_type == "text/event-stream"
            name = ""
            async for line in response.content:
                if line.startswith(b"event: "):
                    name = line.removeprefix(b"event: ").decode().strip()
                elif line.startswith(b"data: "):
                    yield Event(name, json.loads(line.removeprefix(b"data: ")))

    async def ask_stream(self, question: str, **options: Any) -> list[Event]:
        """All events of a streamed answer."""
        body = {"question": question, "stream": True, **options}
        return [event async for event in self.events("POST", "/v1/ask", json=body)]


def environment(data: Path, **settings: object) -> dict[str, str]:
    """The environment of a process of Opora; `http__port=1` becomes `OPORA_HTTP__PORT`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPORA_")}
    named = {f"OPORA_{name.upper()}": str(value) for name, value in settings.items()}
    return own | {"OPORA_DATA_DIR": str(data)} | named


@dataclass
class Process:
    """A running `opora` command, its output in a file."""

    command: tuple[str, ...]
    log_path: Path
    popen: "subprocess.Popen[bytes]"
    family: set[psutil.Process] = field(default_factory=set)
    base_url: str = ""

    @property
    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def remember_family(self) -> set[psutil.Process]:
        """Note every process below this one, so that `left_behind` can look for them later."""
        try:
            own = psutil.Process(self.popen.pid)
            self.family |= {own, *own.children(recursive=True)}
        except psutil.NoSuchProcess:
            pass
        return self.family

    def left_behind(self) -> list[psutil.Process]:
        """Those of the remembered processes that still run."""
        return [process for process in self.family if is_running(process)]

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 40) -> int:
        """Ask it to end, and return its exit code."""
        self.remember_family()
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(timeout_s)


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def start(command: tuple[str, ...], settings: dict[str, str], log_path: Path) -> Process:
    """Start an `opora` command."""
    with log_path.open("ab") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *command],
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Process(command, log_path, popen)


@contextmanager
def running(
    command: tuple[str, ...], settings: dict[str, str], log_path: Path
) -> Iterator[Process]:
    """An `opora` command that is ended, with all that it started, when the test is over."""
    process = start(command, settings, log_path)
    try:
        yield process
    finally:
        try:
            process.stop()
        finally:
            for left in process.left_behind():
                left.kill()


async def ready(process: Process, base_url: str, session: aiohttp.ClientSession) -> None:
    """Wait until the app listens."""
    deadline = monotonic() + START_TIMEOUT_S
    while True:
        if process.popen.poll() is not None or monotonic() > deadline:
            raise AssertionError(f"{process.command} does not listen:\n{process.output}")
        try:
            async with session.get(f"{base_url}/healthz") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
