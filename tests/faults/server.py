"""An OpenAI-compatible model server for tests that fails in every way a real one does.

    async with fault_server() as server:
        server.behaviour = Behaviour(hang_after=3)
        ... # OPORA_LLM__BASE_URL = server.base_url

It runs in the test's own loop on a free loopback port.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import cycle
from time import monotonic
from typing import Any

from aiohttp import web

SECRET = "sk-very-secret-key"


@dataclass(frozen=True)
class Behaviour:
    """What the server does. Without arguments: the answer, in one token per word, and its usage.

    `*_after` counts the tokens that are sent before the fault; None is never.
    """

    text: str = "The answer is 42 [1]."
    models: tuple[str, ...] = ("fault-model",)
    finish_reason: str | None = "stop"
    usage: bool = True
    done: bool = True
    status: int = 200
    error: str = "something is wrong"
    retry_after_s: int | None = None
    knows_model: bool = True
    context_tokens: int | None = None
    echo_key: bool = False
    content_type: str = "text/event-stream"
    location: str | None = None
    hang_before_headers: bool = False
    hang_after: int | None = None
    reset_after: int | None = None
    end_after: int | None = None
    malformed_after: int | None = None
    malformed: bytes = b'{"choices": [{"delta"'
    error_after: int | None = None
    huge_event: bool = False
    endless: bool = False
    thinks: bool = False
    token_delay_s: float = 0.0
    token_chars: int | None = None
    pings: bool = False

    @property
    def tokens(self) -> list[str]:
        """The text in pieces: of `token_chars` each, or one per word."""
        if self.token_chars is not None:
            starts = range(0, len(self.text), self.token_chars)
            return [self.text[start : start + self.token_chars] for start in starts]
        words = self.text.split(" ") if self.text else []
        return [word if i == 0 else f" {word}" for i, word in enumerate(words)]

    def slowed(self, answer_s: float) -> "Behaviour":
        """The same, with the tokens spread over so many seconds."""
        return replace(self, token_delay_s=answer_s / len(self.tokens))

    def __str__(self) -> str:
        """Name what differs from a good server."""
        named = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        return ",".join(f"{name}={value}" for name, value, default in named if value != default)


@dataclass
class Generation:
    """One request for a text: when it began and ended (monotonic seconds), and how."""

    begun: float
    ended: float | None = None
    was_left: bool = False


@dataclass
class FaultServer:
    """A running fault server, with a record of what it was asked for."""

    port: int
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: list[dict[str, Any]] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    connections: set[str] = field(default_factory=set)

    @property
    def running(self) -> int:
        """Generations that are going on."""
        return sum(one.ended is None for one in self.generations)

    @property
    def left(self) -> int:
        """Generations whose client went away."""
        return sum(one.was_left for one in self.generations)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def idle(self, timeout_s: float = 0.5) -> None:
        """Wait until nothing is generated any more; TimeoutError when something still is."""
        async with asyncio.timeout(timeout_s):
            while self.running:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def models(self, request: web.Request) -> web.StreamResponse:
        if (failure := self._failure(request)) is not None:
            return failure
        models = [{"id": name, "object": "model"} for name in self.behaviour.models]
        return web.json_response({"object": "list", "data": models})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        self.connections.add(str(request.transport.get_extra_info("peername")))  # type: ignore[union-attr]
        generation = Generation(monotonic())
        self.generations.append(generation)
        try:
            if self.behaviour.hang_before_headers:
                await asyncio.sleep(3600)
            failure = self._failure(request) or self._refusal(asked)
            return failure or await self._generate(request)
        except (asyncio.CancelledError, ConnectionError):
            generation.was_left = True
            raise
        finally:
            generation.ended = monotonic()

    def _failure(self, request: web.Request) -> web.Response | None:
        behaviour = self.behaviour
        if behaviour.status == 200:
            return None
        message = behaviour.error
        if behaviour.echo_key:
            message += f" {request.headers['Authorization']}"
        headers = {"Location": behaviour.location} if behaviour.location else {}
        if behaviour.retry_after_s is not None:
            headers["Retry-After"] = str(behaviour.retry_after_s)
        body = {"error": {"message": message, "type": "fault"}}
        return web.json_response(body, status=behaviour.status, headers=headers)

    def _refusal(self, asked: dict[str, Any]) -> web.Response | None:
        """What vLLM says to a model that it does not serve, and to too long a prompt."""
        tokens, most = len(str(asked["messages"])) // 4, self.behaviour.context_tokens
        if not self.behaviour.knows_model:
            return _vllm_error(
                404, "NotFoundError", f"The model `{asked['model']}` does not exist."
            )
        if most is not None and tokens > most:
            return _vllm_error(
                400,
                "BadRequestError",
                f"This model's maximum context length is {most} tokens. However, you requested "
                f"{asked['max_tokens']} output tokens and the prompt has {tokens}.",
            )
        return None

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        behaviour = self.behaviour
        response = web.StreamResponse(headers={"Content-Type": behaviour.content_type})
        await response.prepare(request)
        await _send(response, _choice({"role": "assistant", "content": None}))
        tokens = behaviour.tokens
        for number, token in enumerate(cycle(tokens) if behaviour.endless else [*tokens, None]):
            if behaviour.huge_event:
                await response.write(b"data: " + b"x" * 2_000_000)
            if behaviour.hang_after == number:
                await _hang(response, pings=behaviour.pings)
            if behaviour.reset_after == number:
                _reset(request)
                return response
            if behaviour.end_after == number:
                return response
            if behaviour.malformed_after == number:
                await response.write(b"data: " + behaviour.malformed + b"\n\n")
                return response
            if behaviour.error_after == number:
                await _send(response, {"error": {"message": behaviour.error}})
                return response
            if token is not None:
                await asyncio.sleep(behaviour.token_delay_s)
                kind = "reasoning_content" if behaviour.thinks else "content"
                await _send(response, _choice({kind: token}))
        if behaviour.finish_reason:
            await _send(response, _choice({}, behaviour.finish_reason))
        if behaviour.usage:
            counts = {"prompt_tokens": 7, "completion_tokens": len(tokens)}
            await _send(response, {"choices": [], "usage": counts})
        if behaviour.done:
            await response.write(b"data: [DONE]\n\n")
        return response


@asynccontextmanager
async def fault_server(behaviour: Behaviour = Behaviour()) -> AsyncIterator[FaultServer]:
    """Run a fault server on a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FaultServer(listener.getsockname()[1], behaviour)
        app = web.Application()
        app.router.add_get("/v1/models", server.models)
        app.router.add_post("/v1/chat/completions", server.chat)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield server
        finally:
            await runner.cleanup()


def _vllm_error(status: int, kind: str, message: str) -> web.Response:
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return web.json_response(body, status=status)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "choices": [choice]}


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


async def _hang(response: web.StreamResponse, *, pings: bool) -> None:
    while True:
        if pings:
            await response.write(b": still here\n\n")
        await asyncio.sleep(0.05)


def _reset(request: web.Request) -> None:
    """Break the connection with a TCP reset, as a killed server does."""
    assert request.transport is not None
    raw = request.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
