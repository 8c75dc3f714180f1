"""A model server that answers from the passages of its prompt, or fails as a test tells it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from app.domain.ports import ChatParams, Message
from app.engines.llm.scripted import ScriptedChatModel
from tests.e2e.running import until
from tests.faults.server import Behaviour, FaultServer, free_port


@dataclass
class EchoServer:
    """Answers with the first sentence of the first passage, unless `fault` says otherwise."""

    faults: FaultServer
    chat: ScriptedChatModel = field(default_factory=lambda: ScriptedChatModel(model="echo"))
    fault: Behaviour | None = None
    requests: list[Any] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return self.faults.base_url

    @property
    def running(self) -> int:
        """Generations that are going on."""
        return self.chat.running + self.faults.running

    async def idle(self, timeout_s: float = 5) -> None:
        """Wait until nothing is generated any more."""

        async def look() -> bool:
            return self.running == 0

        await until(look, timeout_s)

    async def listen(self) -> None:
        """Take connections."""
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.complete)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.faults.port, reuse_address=True).start()

    async def close(self) -> None:
        """Break all connections and take no more."""
        assert self._runner is not None
        await self._runner.cleanup()

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """The server is not there meanwhile."""
        await self.close()
        try:
            yield
        finally:
            await self.listen()

    async def models(self, request: web.Request) -> web.StreamResponse:
        if self.fault is not None:
            self.faults.behaviour = self.fault
            return await self.faults.models(request)
        models = [{"id": self.chat.model, "object": "model"}]
        return web.json_response({"object": "list", "data": models})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if self.fault is not None:
            self.faults.behaviour = self.fault
            return await self.faults.chat(request)
        messages = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        params = ChatParams(max_tokens=body["max_tokens"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for delta in self.chat.stream(messages, params):
            choice = {"delta": {"content": delta.text}, "finish_reason": delta.finish_reason}
            await _send(response, {"choices": [choice]})
            if delta.usage is not None:
                usage = {
                    "prompt_tokens": delta.usage.prompt_tokens,
                    "completion_tokens": delta.usage.completion_tokens,
                }
                await _send(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


@asynccontextmanager
async def echo_server() -> AsyncIterator[EchoServer]:
    """Run it on a free loopback port, in the test's own loop."""
    server = EchoServer(FaultServer(free_port()))
    await server.listen()
    try:
        yield server
    finally:
        await server.close()
