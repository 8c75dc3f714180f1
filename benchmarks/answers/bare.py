"""vLLM asked without Opora: the same messages, read as a stream."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp

from app.domain.ports import Message
from app.domain.text import sentences
from tests.vllm.server import SERVED_MODEL


@dataclass(frozen=True)
class Streamed:
    """How one answer came, seconds from the request; `first_sentence_s` is None without one."""

    first_token_s: float
    first_sentence_s: float | None
    total_s: float
    tokens: int


async def ask_vllm(
    session: aiohttp.ClientSession,
    url: str,
    messages: Sequence[Message],
    max_tokens: int,
    cache_salt: str | None = None,
) -> Streamed:
    """Stream one answer of the server at `url`, which ends in `/v1`."""
    body: dict[str, Any] = {
        "model": SERVED_MODEL,
        "messages": [{"role": m.role, "content": m.content} for m in messages],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if cache_salt is not None:
        body["cache_salt"] = cache_salt
    begun = perf_counter()
    first: float | None = None
    first_sentence: float | None = None
    written, tokens = "", 0
    async with session.post(f"{url}/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            now = perf_counter() - begun
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    first = first or now
                    written += text
                    if first_sentence is None and len(sentences(written)) > 1:
                        first_sentence = now
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    total = perf_counter() - begun
    return Streamed(first or total, first_sentence, total, tokens)


async def prefix_cache(session: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    """How many prompt tokens vLLM has looked up in its prefix cache so far, and found there."""
    async with session.get(url.removesuffix("/v1") + "/metrics") as response:
        text = await response.text()
    return _counter(text, "prefix_cache_queries"), _counter(text, "prefix_cache_hits")


def _counter(metrics: str, name: str) -> float:
    found = re.findall(rf"^vllm:{name}_total\{{[^}}]*\}} (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, found))
