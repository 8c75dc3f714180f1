"""Counting a prompt's tokens by the model's own tokenizer, where the server has `/tokenize`."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import aiohttp
import msgspec
from yarl import URL

from app.domain.evidence import estimate_tokens
from app.domain.ports import Message, PromptSize
from app.telemetry import get_logger

TIMEOUT_S = 2.0
REST_S = 60.0
"""How long a server that did not count for a model is not asked again."""

_TURN_TOKENS = 5  # what a chat template puts around each message

log = get_logger(__name__)


class _Counted(msgspec.Struct):
    """The answer of `POST /tokenize`; the ids themselves are not read."""

    count: int
    max_model_len: int | None = None


_COUNTED = msgspec.json.Decoder(_Counted)


class TokenCounter:
    """Asks the server, and estimates where it does not answer.

    Args:
        base_url: That of the chat completions; `/tokenize` stands beside its `/v1`.
        pool: Gives the session.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        base_url: URL,
        pool: Callable[[], aiohttp.ClientSession],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        path = base_url.path.rstrip("/").removesuffix("/v1")
        self._url = base_url.with_path(f"{path}/tokenize")
        self._pool = pool
        self._clock = clock
        self._resting_until: dict[str, float] = {}
        self._is_told = False

    async def measure(
        self, model: str | None, messages: Sequence[Message], context_tokens: int | None
    ) -> PromptSize:
        """Count for a model, None where its name is not known yet.

        `context_tokens` is what is known without asking.
        """
        if model is not None and self._clock() >= self._resting_until.get(model, float("-inf")):
            try:
                counted = await self._ask(model, messages)
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError) as error:
                self._resting_until[model] = self._clock() + REST_S
                if not self._is_told:
                    log.info("tokens.estimated", reason=f"{type(error).__name__}: {error}")
                    self._is_told = True
            else:
                return PromptSize(counted.count, counted.max_model_len or context_tokens, True)
        tokens = sum(_TURN_TOKENS + estimate_tokens(turn.content) for turn in messages)
        return PromptSize(tokens, context_tokens)

    async def _ask(self, model: str, messages: Sequence[Message]) -> _Counted:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._pool().post(
                self._url, json={"model": model, "messages": turns}, allow_redirects=False
            ) as response,
        ):
            response.raise_for_status()
            return _COUNTED.decode(await response.read())
