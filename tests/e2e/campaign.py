"""Files that come, change and go while processes are killed, and what must be left then."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from app.settings import Settings
from app.wiring import prepare_database
from tests.conftest import ADMIN_KEY
from tests.e2e.audit import Audit, audit
from tests.e2e.killing import Killer, Pair, Point
from tests.e2e.running import Answered, Client, environment, ready, until
from tests.faults.server import free_port
from tests.fixtures.hostile_packages import body, paragraph
from tests.fixtures.make_files import make_package, make_pdf

_QUEUED = 4
_DELETED_SHARE = 0.05
_ENDINGS = ("txt", "md", "html", "csv", "docx", "pdf")
_PARAGRAPHS = (1, 3, 10, 40, 400)
_EMPTY_EVERY, _BROKEN_EVERY = 41, 43


def word(number: int, version: int = 1) -> str:
    """A word that only one version of one document holds."""
    letters, left = "", number * 1000 + version
    for _ in range(5):  # search keeps words apart by their first letters
        left, digit = divmod(left, 26)
        letters += chr(ord("a") + digit)
    return letters + "qzxj"


def make_content(number: int, version: int, folder: Path) -> tuple[str, bytes]:
    """A file's name and bytes; every few are empty or broken, for good."""
    name, unique = f"{number}", word(number, version)
    if number % _EMPTY_EVERY == 7:
        return f"{name}.txt", b" \n" * (number + version)
    if number % _BROKEN_EVERY == 11:
        return f"{name}.docx", make_package(folder / name, f"<{unique}".encode()).read_bytes()
    paragraphs = [f"Документ {unique} лежит."] + [
        f"Абзац {n} документа {number} о складе, договоре {n * number} и поставке {unique}."
        for n in range(_PARAGRAPHS[(number + version) % len(_PARAGRAPHS)])
    ]
    ending = _ENDINGS[number % len(_ENDINGS)]
    match ending:
        case "html":
            inner = "".join(f"<p>{text}</p>" for text in paragraphs)
            content = f"<!doctype html><html><body>{inner}</body></html>".encode()
        case "csv":
            content = "\n".join(f"{n};{text}" for n, text in enumerate(paragraphs)).encode()
        case "docx":
            parts = b"".join(paragraph(text.encode()) for text in paragraphs)
            content = make_package(folder / name, body(parts)).read_bytes()
        case "pdf":
            pages = [[(12.0, text) for text in part] for part in batched(paragraphs)]
            content = make_pdf(folder / name, pages).read_bytes()
        case _:
            content = "\n\n".join(paragraphs).encode()
    return f"{name}.{ending}", content


def batched(paragraphs: list[str]) -> list[list[str]]:
    """Paragraphs by the page."""
    return [paragraphs[n : n + 40] for n in range(0, len(paragraphs), 40)]


def ends_live(number: int) -> bool:
    """Whether a file holds text that can be read."""
    return number % _EMPTY_EVERY != 7 and number % _BROKEN_EVERY != 11


@dataclass
class File:
    """A file that was accepted: the version that must be found at last."""

    number: int
    document_id: str
    version: int = 1
    deleted: bool = False


@dataclass
class Campaign:
    """A pair under fire, with the files that it accepted."""

    pair: Pair
    client: Client
    url: str
    data: Path
    folder: Path
    chance: random.Random
    files: list[File] = field(default_factory=list)
    over: bool = False

    async def feed(self, most_files: int) -> None:
        """Upload files, and then change and delete some, until the killing is over."""
        while len(self.files) < most_files or not self.over:
            await self._few_are_queued()
            if len(self.files) < most_files:
                await self._add(len(self.files))
                continue
            file = self.chance.choice(self.files)
            if file.deleted or not ends_live(file.number):
                continue
            if self.chance.random() < _DELETED_SHARE:
                file.deleted = True
                await self._call("DELETE", f"/v1/documents/{file.document_id}")
            else:
                await self._change(file)

    async def fire(self, killer: Killer, points: Sequence[Point]) -> None:
        """Kill at each point, and start again what died."""
        for point in points:
            names = await asyncio.to_thread(killer.kill, point)
            self.pair.start(*names)
            if "app" in names:
                await ready(self.pair.processes["app"], self.pair.base_url, self.client.session)
        self.over = True

    async def settle(self, timeout_s: float = 300) -> Audit:
        """Wait until nothing is open, let an admin release what is in quarantine, and audit."""
        await self._nothing_is_open(timeout_s)
        before = await audit(self.url, self.data)
        for job in (await self._call("GET", "/v1/jobs?state=failed&limit=200"))["items"]:
            document = await self.client.document(job["document_id"])
            if document.get("status") == "quarantined":
                await self._call("POST", f"/v1/jobs/{job['job_id']}/retry")
        await self._nothing_is_open(timeout_s)
        after = await audit(self.url, self.data)
        return replace(after, faults=before.faults | after.faults, before=before.statuses)

    async def wrong_files(self, live_chunks: int) -> list[str]:
        """Files that are not what their owner was told, in the running app's own eyes."""

        async def followed() -> bool:
            metrics = (await self.client.get("/metrics")).raw.decode()
            return f"opora_index_chunks_count {live_chunks}.0" in metrics

        await until(followed)
        wrong = []
        for file in self.files:
            found = await self.client.document(file.document_id)
            holders = await self.client.holders(word(file.number, file.version))
            if file.deleted:
                good = found.get("code") == "not_found" and not holders
            elif ends_live(file.number):
                versions = (found["version"], found["live_version"], file.version)
                good = len(set(versions)) == 1 and found["status"] == "live"
                good = good and holders == {file.document_id}
            else:
                good = found["status"] in ("empty", "failed") and bool(found["reason"])
            if not good:
                wrong.append(f"{file}: {found}, found in {holders}")
        listed = await self._all_documents()
        kept = {file.document_id for file in self.files if not file.deleted}
        return wrong + [f"unknown or doubled: {one}" for one in listed if one not in kept]

    async def _all_documents(self) -> list[str]:
        found, cursor = list[str](), ""
        while True:
            page = await self._call("GET", f"/v1/documents?limit=200{cursor}")
            found += [item["document_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def _few_are_queued(self) -> None:
        """Wait until the worker has little to do, so that the files last for all the kills."""

        async def few() -> bool:
            jobs = await self._call("GET", "/v1/jobs?state=queued&limit=50")
            return len(jobs["items"]) < _QUEUED

        await until(few, 300)

    async def _nothing_is_open(self, timeout_s: float) -> None:
        async def nothing() -> bool:
            open_jobs = [
                (await self._call("GET", f"/v1/jobs?state={state}&limit=1"))["items"]
                for state in ("queued", "running")
            ]
            return not any(open_jobs)

        await until(nothing, timeout_s)

    async def _add(self, number: int) -> None:
        name, content = make_content(number, 1, self.folder)
        accepted = await self._send(content, name)
        self.files.append(File(number, accepted["document_id"]))

    async def _change(self, file: File) -> None:
        name, content = make_content(file.number, file.version + 1, self.folder)
        accepted = await self._send(content, name, file.document_id)
        file.version += 1
        assert accepted["version"] == file.version, (accepted, file)

    async def _send(self, content: bytes, name: str, document_id: str | None = None) -> Any:
        return await stubbornly(lambda: self.client.upload(content, name, document_id))

    async def _call(self, method: str, path: str) -> Any:
        return await stubbornly(lambda: self.client.call(method, path))


async def stubbornly(call: Callable[[], Awaitable[Answered]]) -> Any:
    """Call until it is answered, as `opora` in a shell loop does."""
    while True:
        try:
            answered = await call()
        except (aiohttp.ClientError, TimeoutError):
            answered = None
        if answered is not None and (answered.status < 400 or answered.status == 404):
            return answered.json if answered.raw else None
        assert answered is None or answered.status >= 500, answered.raw
        await asyncio.sleep(0.1)


@asynccontextmanager
async def campaign(
    folder: Path, url: str, http: aiohttp.ClientSession, seed: int, **settings: object
) -> AsyncIterator[Campaign]:
    """A started pair on an empty database; both end with the block."""
    data = folder / "data"
    chosen: dict[str, object] = {
        "http__port": free_port(),
        "database__url": url,
        "embedder__model": "hash",
        "llm__base_url": f"http://127.0.0.1:{free_port()}/v1",
        "ingestion__stalled_after_s": 1,
        "ingestion__compact_after": 5,
        "retrieval__follow_interval_s": 0.2,
    }
    own = environment(data, **chosen | settings)
    await prepare_database(Settings(data_dir=data, admin_key=SecretStr(ADMIN_KEY)), url)
    made = folder / "made"
    made.mkdir()
    pair = Pair(own, folder)
    client = Client(pair.base_url, ADMIN_KEY, http)
    try:
        pair.start("app", "worker")
        await ready(pair.processes["app"], pair.base_url, http)
        yield Campaign(pair, client, url, data, made, random.Random(seed))
    finally:
        pair.kill(*pair.processes)
