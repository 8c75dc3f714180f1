"""The app is asked to end: answers in the making come to their end, or to a typed one."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.campaign import Campaign, campaign
from tests.e2e.running import Client, until
from tests.faults.server import Behaviour, FaultServer, fault_server

TEXT = "Каждому сотруднику полагается 28 календарных дней отпуска в год."
QUESTION = "Сколько дней отпуска полагается сотруднику?"
ASK: dict[str, Any] = {"question": QUESTION}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
SLOW = Behaviour(text=f"{TEXT} [1]", token_delay_s=0.3)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session; every call has a time limit."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with fault_server(SLOW) as running:
        yield running


@pytest.fixture
async def trial(
    tmp_path: Path,
    new_database: Callable[[], str],
    http: aiohttp.ClientSession,
    server: FaultServer,
) -> AsyncIterator[Campaign]:
    """An app with one document, over the fault server."""
    settings = {"llm__base_url": server.base_url, "answering__min_evidence": 0}
    async with campaign(tmp_path, new_database(), http, 6, **settings) as started:
        await started.client.find("отпуска", await started.client.ingest(TEXT, "leave.txt"))
        await until(lambda: is_warm(started.client))
        yield started


async def test_streams_drain_and_what_hangs_ends_as_failed(
    trial: Campaign, server: FaultServer
) -> None:
    client, app = trial.client, trial.pair.processes["app"].popen
    before = len(server.generations)
    ending_stream = asyncio.create_task(client.ask_stream(QUESTION))
    ending = asyncio.create_task(client.post("/v1/chat/completions", CHAT))
    await until(lambda: begun(server, before + 2))
    server.behaviour = Behaviour(hang_after=1)
    hanging_stream = asyncio.create_task(client.ask_stream(QUESTION))
    hanging = asyncio.create_task(client.post("/v1/ask", ASK))
    hanging_chat = asyncio.create_task(client.post("/v1/chat/completions", CHAT))
    await until(lambda: begun(server, before + 5))
    app.send_signal(signal.SIGTERM)

    await until(lambda: stops(client))
    assert (await client.get("/healthz")).status == 200
    for path, body in (("/v1/ask", ASK), ("/v1/ask", ASK | {"stream": True})):
        refused = await client.post(path, body)
        assert (refused.status, refused.json["code"]) == (503, "stopping")
        assert int(refused.headers["retry-after"]) > 0
    refused = await client.post("/v1/chat/completions", CHAT | {"stream": True})
    assert (refused.status, refused.json["error"]["code"]) == (503, "stopping")
    assert len(server.generations) == before + 5

    streamed, whole = await ending_stream, await ending
    assert streamed[-1].name == "finished"
    assert streamed[-1].data["citations"][0]["quote"] == TEXT
    assert "28" in whole.json["choices"][0]["message"]["content"]

    failed_stream, failed, failed_chat = await hanging_stream, await hanging, await hanging_chat
    assert [event.name for event in failed_stream] == ["retrieved", "failed"]
    assert failed_stream[-1].data["code"] == "stopping"
    assert (failed.status, failed.json["code"]) == (503, "stopping")
    assert (failed_chat.status, failed_chat.json["error"]["code"]) == (503, "stopping")
    await server.idle(5)
    assert await asyncio.to_thread(app.wait, 20) in (0, -signal.SIGTERM)
    assert "Traceback" not in trial.pair.processes["app"].output


async def test_who_waits_in_line_is_told_at_once_and_an_idle_app_ends_at_once(
    trial: Campaign, server: FaultServer
) -> None:
    client, app = trial.client, trial.pair.processes["app"].popen
    before, places = len(server.generations), 12  # of one caller, by default
    server.behaviour = Behaviour(text=f"{TEXT} [1]", token_delay_s=0.5)
    crowd = [asyncio.create_task(client.post("/v1/ask", ASK)) for _ in range(places + 3)]
    await until(lambda: begun(server, before + places))
    app.send_signal(signal.SIGTERM)
    codes = [answered.status for answered in await asyncio.gather(*crowd)]
    assert sorted(codes) == [200] * places + [503] * 3
    assert await asyncio.to_thread(app.wait, 10) in (0, -signal.SIGTERM)


async def begun(server: FaultServer, count: int) -> bool:
    return len(server.generations) >= count


async def is_warm(client: Client) -> bool:
    return bool((await client.get("/readyz")).json["ready"])


async def stops(client: Client) -> bool:
    ready = await client.get("/readyz")
    return ready.status == 503 and ready.json["app"] == "stopping"
