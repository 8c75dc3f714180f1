"""Counting by the server's tokenizer, and doing without it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from app.domain.evidence import estimate_tokens
from app.domain.ports import ChatParams, Message, PromptSize
from app.engines.llm import token_counter
from app.engines.llm.openai_client import OpenAiChatModel
from app.settings import LlmSettings
from tests.faults.server import free_port

PROMPT = (Message("system", "Отвечай кратко."), Message("user", "How long is the leave?"))
PARAMS = ChatParams(max_tokens=10)


@dataclass
class Counting:
    """A server with vLLM's /tokenize, beside /v1 or below a gateway's path."""

    answer: dict[str, Any] = field(
        default_factory=lambda: {"count": 17, "max_model_len": 2048, "tokens": [1] * 17}
    )
    status: int = 200
    max_model_len: int | None = 4096
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def tokenize(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.json_response(self.answer, status=self.status)

    async def models(self, _request: web.Request) -> web.Response:
        adapter = {"id": "lora", "parent": "base"}
        return web.json_response(
            {"data": [{"id": "base", "max_model_len": self.max_model_len}, adapter]}
        )

    @asynccontextmanager
    async def client(self, path: str = "") -> AsyncIterator[OpenAiChatModel]:
        app = web.Application()
        app.router.add_post(f"{path}/tokenize", self.tokenize)
        app.router.add_get(f"{path}/v1/models", self.models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        model = OpenAiChatModel(LlmSettings(base_url=f"http://127.0.0.1:{port}{path}/v1"))
        try:
            yield model
        finally:
            await model.close()
            await runner.cleanup()


@pytest.mark.parametrize("path", ["", "/llm"])
async def test_the_server_counts_the_messages_as_they_are_sent(path: str) -> None:
    server = Counting()
    async with server.client(path) as model:
        await model.check()
        assert await model.measure(PROMPT, PARAMS) == PromptSize(17, 2048, is_exact=True)
        await model.measure(PROMPT, ChatParams(10, adapter="lora"))
    messages = [{"role": turn.role, "content": turn.content} for turn in PROMPT]
    assert server.asked[0] == {"model": "base", "messages": messages}
    assert server.asked[1]["model"] == "lora"


@pytest.mark.parametrize(
    "server",
    [
        Counting(status=404),
        Counting(status=500),
        Counting(answer={"tokens": []}),  # llama.cpp, which reads another field
        Counting(answer={"count": "many"}),
    ],
    ids=["missing", "broken", "llama.cpp", "nonsense"],
)
async def test_a_server_that_does_not_count_is_estimated_and_left_alone(server: Counting) -> None:
    async with server.client() as model:
        await model.check()
        sizes = [await model.measure(PROMPT, PARAMS) for _ in range(3)]
    least = sum(estimate_tokens(turn.content) for turn in PROMPT)
    assert {(size.context_tokens, size.is_exact) for size in sizes} == {(4096, False)}
    assert all(least < size.tokens < least + 20 for size in sizes)
    assert len(server.asked) == 1


async def test_a_slow_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counter, "TIMEOUT_S", 0.0)
    server = Counting(max_model_len=None)
    async with server.client() as model:
        await model.check()
        size = await model.measure(PROMPT, PARAMS)
    assert (size.context_tokens, size.is_exact) == (None, False)


async def test_a_server_that_is_not_there_is_no_failure_of_counting() -> None:
    model = OpenAiChatModel(LlmSettings(model="base"), f"http://127.0.0.1:{free_port()}/v1")
    size = await model.measure(PROMPT, PARAMS)
    await model.close()
    assert (size.context_tokens, size.is_exact) == (LlmSettings().context_tokens, False)
