"""Each way in which a model server fails, and the typed error that it becomes in time."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from app.domain.errors import (
    ConfigurationError,
    ModelServerBroken,
    ModelServerRefused,
    ModelServerTimeout,
    ModelServerUnavailable,
    Unavailable,
)
from app.domain.ports import ChatParams, Message
from app.engines.llm.openai_client import OpenAiChatModel
from app.settings import LlmSettings
from tests.faults.server import SECRET, Behaviour, FaultServer, fault_server, free_port

PROMPT = [Message("user", "What is the answer?")]
PARAMS = ChatParams(max_tokens=20)
LIMIT_S = 0.3


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with fault_server() as running:
        yield running


def _model(base_url: str, name: str | None = "fault-model") -> OpenAiChatModel:
    settings = LlmSettings(
        base_url=base_url,
        model=name,
        api_key=SecretStr(SECRET),
        first_token_timeout_s=LIMIT_S,
        between_tokens_timeout_s=LIMIT_S,
    )
    return OpenAiChatModel(settings, connect_timeout_s=LIMIT_S / 2)


async def _ask(base_url: str, expected: type[Unavailable]) -> tuple[str, str]:
    """Ask once; return the text that came before the expected error, and the error's message."""
    model = _model(base_url)
    text = ""
    started = time.monotonic()
    with pytest.raises(expected) as caught:
        async for delta in model.stream(PROMPT, PARAMS):
            text += delta.text
    assert time.monotonic() - started < LIMIT_S + 1.2
    assert type(caught.value) is expected
    assert SECRET not in caught.value.message
    await model.close()
    return text, caught.value.message


@pytest.mark.parametrize(
    ("behaviour", "expected", "before"),
    [
        (Behaviour(hang_before_headers=True), ModelServerTimeout, ""),
        (Behaviour(hang_after=0), ModelServerTimeout, ""),
        (Behaviour(hang_after=2), ModelServerTimeout, "The answer"),
        (Behaviour(hang_after=2, pings=True), ModelServerTimeout, "The answer"),
        (Behaviour(reset_after=0), ModelServerUnavailable, ""),
        (Behaviour(reset_after=2), ModelServerUnavailable, None),
        (Behaviour(end_after=0), ModelServerUnavailable, ""),
        (Behaviour(end_after=2), ModelServerUnavailable, "The answer"),
        (Behaviour(status=429), ModelServerRefused, ""),
        (Behaviour(status=500), ModelServerRefused, ""),
        (Behaviour(status=503), ModelServerRefused, ""),
        (Behaviour(status=302, location="http://127.0.0.1:9/"), ModelServerRefused, ""),
        (Behaviour(error_after=2), ModelServerRefused, "The answer"),
        (Behaviour(malformed_after=2), ModelServerBroken, "The answer"),
        (
            Behaviour(malformed_after=0, malformed=b'{"choices":[{"delta":{"content":"\xff"}}]}'),
            ModelServerBroken,
            "",
        ),
        (Behaviour(malformed_after=0, malformed=b"[1]"), ModelServerBroken, ""),
        (Behaviour(content_type="text/html"), ModelServerBroken, ""),
        (Behaviour(huge_event=True), ModelServerBroken, ""),
    ],
    ids=lambda value: str(value) if isinstance(value, Behaviour) else "",
)
async def test_each_fault_is_a_typed_error_in_time(
    server: FaultServer, behaviour: Behaviour, expected: type[Unavailable], before: str | None
) -> None:
    server.behaviour = behaviour
    text, _ = await _ask(server.base_url, expected)
    assert before in (None, text)
    await server.idle()


async def test_nobody_listens() -> None:
    await _ask(f"http://127.0.0.1:{free_port()}/v1", ModelServerUnavailable)


async def test_unknown_host() -> None:
    model = _model("http://no-such-host.invalid/v1")
    with pytest.raises(
        (ModelServerUnavailable, ModelServerTimeout), match=r"no-such-host\.invalid"
    ):
        await model.complete(PROMPT, PARAMS)
    await model.close()


async def test_nobody_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        _, message = await _ask(f"http://127.0.0.1:{address[1]}/v1", ModelServerTimeout)
        assert "gave no connection within 0.15 s" in message
        for one in waiting:
            one.close()


async def test_another_protocol() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as mail:
        port = mail.sockets[0].getsockname()[1]
        await _ask(f"http://127.0.0.1:{port}/v1", ModelServerBroken)


async def test_a_refusal_tells_the_reason_but_never_the_key(server: FaultServer) -> None:
    server.behaviour = Behaviour(status=401, error="bad key " + "x" * 5000, echo_key=True)
    _, message = await _ask(server.base_url, ModelServerRefused)
    assert "401" in message
    assert "bad key xxx" in message
    assert len(message) < 500
    server.behaviour = Behaviour(status=401, error="bad", echo_key=True)
    _, message = await _ask(server.base_url, ModelServerRefused)
    assert message.endswith("bad Bearer [key]")


async def test_a_slow_but_steady_answer_is_no_fault(server: FaultServer) -> None:
    server.behaviour = Behaviour(token_delay_s=LIMIT_S / 2)
    model = _model(server.base_url)
    assert (await model.complete(PROMPT, PARAMS)).text == Behaviour().text
    await model.close()


async def test_a_slow_reader_is_no_fault(server: FaultServer) -> None:
    model = _model(server.base_url)
    text = ""
    async for delta in model.stream(PROMPT, PARAMS):
        await asyncio.sleep(LIMIT_S * 1.2)
        text += delta.text
    assert text == Behaviour().text
    await model.close()


async def test_an_endless_answer_ends_when_the_caller_leaves(server: FaultServer) -> None:
    server.behaviour = Behaviour(endless=True, token_delay_s=0.001)
    model = _model(server.base_url)
    stream = model.stream(PROMPT, PARAMS)
    for _ in range(50):
        await anext(stream)
    assert server.running == 1
    await stream.aclose()
    await server.idle(0.5)
    assert server.left == 1
    await model.close()


async def test_cancelling_before_the_first_token_stops_the_server(server: FaultServer) -> None:
    server.behaviour = Behaviour(hang_before_headers=True)
    model = OpenAiChatModel(LlmSettings(base_url=server.base_url, model="fault-model"))
    call = asyncio.create_task(model.complete(PROMPT, PARAMS))
    async with asyncio.timeout(1):
        while not server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.idle(0.5)
    await model.close()


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(done=False), Behaviour(finish_reason=None), Behaviour(usage=False)],
    ids=["no [DONE]", "no finish reason", "no usage"],
)
async def test_a_whole_answer_may_lack_one_of_its_ends(
    server: FaultServer, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    model = _model(server.base_url)
    whole = await model.complete(PROMPT, PARAMS)
    assert whole.text == behaviour.text
    assert whole.finish_reason == behaviour.finish_reason
    assert (whole.usage.completion_tokens > 0) is behaviour.usage
    await model.close()


async def test_finish_reason_length_is_reported(server: FaultServer) -> None:
    server.behaviour = Behaviour(finish_reason="length")
    model = _model(server.base_url)
    assert (await model.complete(PROMPT, PARAMS)).finish_reason == "length"
    await model.close()


async def test_what_is_asked(server: FaultServer) -> None:
    model = _model(server.base_url, name=None)
    assert model.model == "unknown"
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    await model.complete(PROMPT, PARAMS)
    await model.complete(
        PROMPT, ChatParams(9, 0.5, stop=("\n",), adapter="style", response_format=schema)
    )
    plain, full = server.requests
    assert plain == {
        "model": "fault-model",
        "messages": [{"role": "user", "content": "What is the answer?"}],
        "max_tokens": 20,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (full["model"], full["stop"], full["response_format"]) == ("style", ["\n"], schema)
    assert model.model == "fault-model"
    await model.close()


async def test_one_connection_serves_answer_after_answer(server: FaultServer) -> None:
    model = _model(server.base_url)
    for _ in range(5):
        await model.complete(PROMPT, PARAMS)
    assert len(server.connections) == 1
    await model.close()


async def test_check_names_the_served_models(server: FaultServer) -> None:
    server.behaviour = Behaviour(models=("qwen", "llama"))
    model = _model(server.base_url, name="gpt")
    with pytest.raises(ModelServerRefused, match="does not serve 'gpt' but 'qwen', 'llama'"):
        await model.check()
    server.behaviour = Behaviour(models=("gpt",))
    assert await model.check() == "gpt"
    server.behaviour = Behaviour(models=())
    with pytest.raises(ModelServerBroken, match="lists no model"):
        await model.check()
    await model.close()


@pytest.mark.parametrize("address", [None, "127.0.0.1:8081/v1", "ftp://host/v1", "http:///v1"])
def test_an_address_that_is_none(address: str | None) -> None:
    with pytest.raises(ConfigurationError, match="OPORA_LLM__BASE_URL"):
        OpenAiChatModel(LlmSettings(base_url=address))
