"""Model server down, hanging, cut off, nonsense: a typed error at every door, and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.conftest import FIRST_TOKEN_TIMEOUT_S
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client
from tests.e2e.test_bad_input import assert_problem
from tests.faults.server import Behaviour

QUESTION = "Сколько дней отпуска полагается сотруднику?"
ASK = {"question": QUESTION}
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
SLOW_MACHINE_S = 5


@dataclass(frozen=True)
class Fault:
    """What the model server does, and the error that comes of it."""

    behaviour: Behaviour | None
    code: str
    status: int = 503
    retry_after_s: int = 5


FAULTS = {
    "is not there": Fault(None, "model_server_unavailable"),
    "hangs before it answers": Fault(
        Behaviour(hang_before_headers=True), "model_server_timeout", 504
    ),
    "hangs before the first token": Fault(
        Behaviour(hang_after=0, pings=True), "model_server_timeout", 504
    ),
    "hangs in mid-answer": Fault(Behaviour(hang_after=2), "model_server_timeout", 504),
    "resets in mid-answer": Fault(Behaviour(reset_after=2), "model_server_unavailable"),
    "ends in mid-answer": Fault(Behaviour(end_after=2), "model_server_unavailable"),
    "ends without an end": Fault(
        Behaviour(text="", finish_reason=None, done=False), "model_server_unavailable"
    ),
    "sends malformed JSON": Fault(Behaviour(malformed_after=1), "model_server_broken"),
    "sends a web page": Fault(Behaviour(content_type="text/html"), "model_server_broken"),
    "sends a huge event": Fault(Behaviour(huge_event=True), "model_server_broken"),
    "answers nothing": Fault(Behaviour(text=""), "model_server_broken"),
    "never ends": Fault(Behaviour(endless=True), "model_server_broken"),
    "thinks without end": Fault(Behaviour(endless=True, thinks=True), "model_server_broken"),
    "sends an error in mid-answer": Fault(Behaviour(error_after=2), "model_server_refused"),
    "has an error inside": Fault(Behaviour(status=500), "model_server_refused"),
    "refuses the key": Fault(Behaviour(status=401), "model_server_refused"),
    "is too busy": Fault(Behaviour(status=429), "model_server_refused"),
    "says when it is less busy": Fault(
        Behaviour(status=429, retry_after_s=17), "model_server_refused", retry_after_s=17
    ),
    "starts": Fault(
        Behaviour(status=503, retry_after_s=100_000), "model_server_refused", retry_after_s=300
    ),
    "does not know the model": Fault(Behaviour(knows_model=False), "model_server_refused"),
    "reads less at once": Fault(Behaviour(context_tokens=10), "model_context_exceeded"),
    "sends elsewhere": Fault(
        Behaviour(status=307, location="http://127.0.0.1:9/v1"), "model_server_refused"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_a_typed_error_at_every_door(
    admin: Client, healthy: EchoServer, name: str
) -> None:
    fault = FAULTS[name]
    healthy.faults.generations.clear()
    async with failing(healthy, fault.behaviour):
        native, native_stream, openai, openai_stream = await asyncio.gather(
            admin.post("/v1/ask", ASK),
            admin.ask_stream(QUESTION),
            admin.post("/v1/chat/completions", CHAT),
            openai_events(admin),
        )
    assert_problem(native, fault.status, fault.code)
    assert [event.name for event in native_stream] == ["retrieved", "failed"]
    failed = native_stream[-1].data
    assert (failed["status"], failed["code"]) == (fault.status, fault.code)
    assert failed["detail"]

    assert openai.status == fault.status
    for error in (openai.json["error"], openai_stream[-1]["error"]):
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == ("server_error", fault.code)
    assert all(not chunk["choices"][0]["delta"].get("content") for chunk in openai_stream[:-1])
    if fault.status == 503:
        for answered in (native, openai):
            assert answered.headers["retry-after"] == str(fault.retry_after_s)

    await healthy.idle()
    for generation in healthy.faults.generations:
        assert generation.ended is not None
        assert generation.ended - generation.begun < FIRST_TOKEN_TIMEOUT_S + SLOW_MACHINE_S
    again = await admin.post("/v1/ask", ASK)
    assert again.json["status"] == "answered"


async def openai_events(client: Client) -> list[Any]:
    """What comes of a streamed chat completion that fails."""
    body = CHAT | {"stream": True}
    return [e.data async for e in client.events("POST", "/v1/chat/completions", json=body)]


@asynccontextmanager
async def failing(server: EchoServer, fault: Behaviour | None) -> AsyncIterator[None]:
    """The model server fails meanwhile; None is not there at all."""
    if fault is None:
        async with server.down():
            yield
        return
    server.fault = fault
    try:
        yield
    finally:
        server.fault = None


async def test_a_failed_answer_is_not_stored(admin: Client, healthy: EchoServer) -> None:
    before = (await admin.get("/v1/conversations")).json["items"]
    healthy.fault = Behaviour(end_after=1)
    assert (await admin.post("/v1/ask", ASK)).status == 503
    assert (await admin.get("/v1/conversations")).json["items"] == before
