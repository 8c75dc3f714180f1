"""Who leaves stops the work at once, at every door; who is too many waits, or comes back later."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from yarl import URL

from tests.e2e.conftest import MOST_ANSWERS
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client, until
from tests.e2e.test_bad_input import assert_problem
from tests.faults.server import Behaviour

QUESTION = "Сколько дней отпуска полагается сотруднику?"
ASK: dict[str, Any] = {"question": QUESTION}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "native, streamed": ("/v1/ask", ASK | {"stream": True}),
    "native": ("/v1/ask", ASK),
    "OpenAI, streamed": ("/v1/chat/completions", CHAT | {"stream": True}),
    "OpenAI": ("/v1/chat/completions", CHAT),
}
STOPPED_WITHIN_S = 0.5
TRIES = 5  # another process may hold up the machine for longer than that

Leave = Callable[[], Awaitable[None]]


@asynccontextmanager
async def asking(client: Client, path: str, body: dict[str, Any]) -> AsyncIterator[Leave]:
    """A call that goes on until its caller leaves."""
    call = asyncio.create_task(client.post(path, body))

    async def leave() -> None:
        assert not call.done(), call
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    try:
        yield leave
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


@asynccontextmanager
async def not_reading(client: Client, path: str, body: dict[str, Any]) -> AsyncIterator[Leave]:
    """A client that reads nothing of what comes, and then closes its connection."""
    url, content = URL(client.base_url), json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: opora", f"Content-Length: {len(content)}"]
    head += ["Content-Type: application/json", f"Authorization: Bearer {client.key}"]
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect((url.host, url.port))
        connection.sendall("\r\n".join([*head, "", ""]).encode() + content)

        async def leave() -> None:
            connection.close()

        yield leave


WAYS = [(name, asking) for name in DOORS] + [("native, streamed", not_reading)]


@pytest.mark.parametrize(("door", "way"), WAYS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize(
    "fault",
    [
        Behaviour(hang_before_headers=True),
        Behaviour(hang_after=0),
        Behaviour(endless=True, token_delay_s=0.05),
    ],
    ids=str,
)
async def test_leaving_stops_the_generation(
    admin: Client, healthy: EchoServer, fault: Behaviour, door: str, way: Any
) -> None:
    healthy.fault, server = fault, healthy.faults
    took_s: list[float] = []
    while len(took_s) < TRIES and (not took_s or min(took_s) > STOPPED_WITHIN_S):
        async with way(admin, *DOORS[door]) as leave:
            await until(lambda: runs(healthy, 1))
            left_at = monotonic()
            await leave()
            await server.idle(30)
        last = server.generations[-1]
        assert last.was_left and last.ended is not None
        took_s.append(last.ended - left_at)
    assert min(took_s) < STOPPED_WITHIN_S, took_s
    assert await until(lambda: nothing_is_counted(admin))


async def test_too_many_wait_then_are_sent_away_and_leaving_the_line_frees_it(
    admin: Client, healthy: EchoServer
) -> None:
    healthy.fault = Behaviour(hang_before_headers=True)
    before = len(healthy.requests)
    crowd = [
        asyncio.create_task(admin.post(*list(DOORS.values())[number % 4]))
        for number in range(MOST_ANSWERS)
    ]
    try:
        await until(lambda: runs(healthy, MOST_ANSWERS))
        line = 8 * MOST_ANSWERS // 2
        crowd += [asyncio.create_task(admin.post(*DOORS["native"])) for _ in range(line - 1)]
        crowd.append(asyncio.create_task(admin.post(*DOORS["native, streamed"])))
        await until(lambda: counted(admin, MOST_ANSWERS, line))
        for name, (path, body) in DOORS.items():
            refused = await admin.post(path, body)
            assert 1 <= int(refused.headers["retry-after"]) <= 300
            if "native" in name:
                assert_problem(refused, 429, "overloaded")
            else:
                assert refused.status == 429
                assert refused.json["error"]["type"] == "rate_limit_error"
        assert await admin.search(QUESTION)  # search goes on
        crowd[-1].cancel()
        await until(lambda: counted(admin, MOST_ANSWERS, line - 1))
    finally:
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    assert await until(lambda: nothing_is_counted(admin))
    assert len(healthy.requests) < before + 2 * MOST_ANSWERS, "those who waited asked no model"
    healthy.fault = None
    assert (await admin.post("/v1/ask", ASK)).json["status"] == "answered"


async def test_a_caller_with_many_questions_holds_up_nobody_else(
    admin: Client, healthy: EchoServer
) -> None:
    made = await admin.post("/v1/admin/api-keys", {"user_id": "another", "scopes": ["ask"]})
    another = admin.with_key(made.json["key"])
    healthy.fault = Behaviour(token_delay_s=0.1)
    done: list[str] = []

    async def ask(name: str, client: Client) -> None:
        answered = await client.post("/v1/ask", ASK)
        assert answered.status == 200, answered.raw
        done.append(name)

    crowd = [asyncio.create_task(ask("crowd", admin)) for _ in range(5 * MOST_ANSWERS)]
    await until(lambda: counted(admin, MOST_ANSWERS, 4 * MOST_ANSWERS))
    await ask("another", another)
    assert done.count("crowd") <= 2 * MOST_ANSWERS
    await asyncio.gather(*crowd)


async def runs(server: EchoServer, count: int) -> bool:
    return server.running == count


async def counted(client: Client, running: int, waiting: int) -> bool:
    """Whether Opora counts so many answers in the making, and so many questions in line."""
    lines = (await client.with_key(None).get("/metrics")).raw.decode().splitlines()
    return {
        f"opora_answers_in_flight_count {running}.0",
        f"opora_answers_waiting_count {waiting}.0",
    } <= set(lines)


async def nothing_is_counted(client: Client) -> bool:
    return await counted(client, 0, 0)
