"""The chat model behind any OpenAI-compatible server: vLLM, llama.cpp, a company's gateway.

One pooled aiohttp session and one msgspec decode per delta: a fourth of the CPU time that httpx
takes for the same stream. A generation lives exactly as long as its connection.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from app.domain.answers import Usage
from app.domain.errors import (
    ConfigurationError,
    ModelContextExceeded,
    ModelServerBroken,
    ModelServerRefused,
    ModelServerTimeout,
    ModelServerUnavailable,
)
from app.domain.ports import ChatCompletion, ChatDelta, ChatParams, Message, PromptSize
from app.engines.llm.protocol import (
    CHUNK,
    MODEL_LIST,
    EventReader,
    error_message,
    longest_answer_chars,
    tells_of_context,
)
from app.engines.llm.token_counter import TokenCounter
from app.settings import LlmSettings

KEEP_CONNECTION_S = 4.0
"""Below the 5 s after which llama.cpp and uvicorn (vLLM) hang up on an idle connection."""

GATHERING_S = 0.04
"""How long a stream of fast tokens is left alone: waking up for one costs more than reading it."""

MODELS_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 0.5
MAX_ERROR_BODY_BYTES = 16 * 1024
RETRY_AFTER_S = 5
LONGEST_RETRY_S = 300


Wire = TypeVar("Wire")


class OpenAiChatModel:
    """A ChatModel over an OpenAI-compatible server.

    Args:
        settings: Name, key and timeouts.
        base_url: Where the server is when the settings do not say it, ending in `/v1`.
        connect_timeout_s: Longest wait for a connection, in seconds.

    Raises:
        ConfigurationError: There is no address, or it is no http(s) URL.
    """

    def __init__(
        self, settings: LlmSettings, base_url: str | None = None, connect_timeout_s: float = 5
    ) -> None:
        address = base_url or settings.base_url
        if not address:
            raise ConfigurationError("OPORA_LLM__BASE_URL: the model server has no address")
        url = URL(address)
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError(
                f"OPORA_LLM__BASE_URL: {str(url.with_user(None) if url.host else url)!r} is no "
                "http(s) URL of a server"
            )
        self._settings = settings
        self._connect_timeout_s = connect_timeout_s
        self._url = url
        self._server = f"the model server at {url.with_user(None)}"
        self._key = settings.api_key.get_secret_value() if settings.api_key else None
        self._served: str | None = None
        self._context_tokens = settings.context_tokens if settings.base_url is None else None
        self._counter = TokenCounter(url, self._pool)
        self._session: aiohttp.ClientSession | None = None

    @property
    def model(self) -> str:
        """The configured name, else the one that the server gave; `unknown` before it was asked."""
        return self._settings.model or self._served or "unknown"

    async def check(self) -> str:
        """Ask the server what it serves and return the name that will be used.

        Raises:
            ModelServerRefused: The configured model is not among the served ones.
        """
        served = await self._served_models()
        wanted = self._settings.model
        if wanted and wanted not in served:
            names = ", ".join(repr(name) for name in served)
            raise ModelServerRefused(
                f"{self._server} does not serve {wanted!r} but {names}; set OPORA_LLM__MODEL to a "
                "served name"
            )
        self._served = wanted or served[0]
        return self._served

    async def measure(self, messages: Sequence[Message], params: ChatParams) -> PromptSize:
        """Count a prompt's tokens by the server's tokenizer, or estimate them."""
        named = params.adapter or params.model or self._settings.model or self._served
        return await self._counter.measure(named, messages, self._context_tokens)

    async def complete(self, messages: Sequence[Message], params: ChatParams) -> ChatCompletion:
        """Generate the whole text over a stream, so that cancelling stops the server's work."""
        texts: list[str] = []
        last = ChatDelta()
        async with aclosing(self.stream(messages, params)) as deltas:
            async for last in deltas:
                texts.append(last.text)
        return ChatCompletion("".join(texts), last.usage or Usage(), last.finish_reason)

    async def stream(
        self, messages: Sequence[Message], params: ChatParams
    ) -> AsyncGenerator[ChatDelta]:
        """Yield the text as it is generated, then one empty delta with usage and finish reason.

        Closing the generator closes the connection, which ends the server's work.

        Raises:
            ModelServerTimeout: No connection, first token or next token within its limit.
            ModelServerUnavailable: No connection, or it broke before the answer was whole.
            ModelServerRefused: An error status, or an error in mid-stream.
            ModelServerBroken: Anything that is not a stream of chat completion chunks.
        """
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self._settings.first_token_timeout_s
        waiting_for = "the first token"
        named = params.adapter or params.model or self._settings.model or self._served
        model = named or await self.check()
        usage: Usage | None = None
        finish_reason: str | None = None
        seen_choice = False
        left_chars = longest_answer_chars(params.max_tokens)
        read_at = 0.0
        async with self._post(_payload(model, messages, params), deadline) as response:
            events = EventReader()
            while not events.done:
                with self._failures(waiting_for):
                    async with asyncio.timeout_at(deadline):
                        data = await response.content.readany()
                if not data:
                    break
                tokens = 0
                for event in events.feed(data):
                    chunk = self._decode(event, CHUNK)
                    if chunk.error is not None:
                        raise self._refused("in mid-answer", msgspec.json.encode(chunk.error))
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    for choice in chunk.choices[:1]:
                        seen_choice = True
                        finish_reason = choice.finish_reason or finish_reason
                        tokens += choice.has_token
                        left_chars -= choice.chars
                        if left_chars < 0:
                            raise ModelServerBroken(
                                f"{self._server} goes on beyond the {params.max_tokens} tokens "
                                "that it was asked for"
                            )
                        if text := choice.delta.content:
                            yield ChatDelta(text)
                if tokens:
                    last_read_at, read_at = read_at, clock.time()
                    deadline = read_at + self._settings.between_tokens_timeout_s
                    waiting_for = "the next token"
                    is_fast = tokens > 1 or read_at - last_read_at < GATHERING_S
                    if is_fast and not finish_reason:
                        await _let_gather(response)
            if not (events.done or finish_reason):
                raise ModelServerUnavailable(
                    f"{self._server} closed the connection before the answer was whole; try again"
                )
            if not seen_choice:
                raise ModelServerBroken(f"{self._server} ended its answer without any choice")
            await _drain(response)
        yield ChatDelta(usage=usage, finish_reason=finish_reason)

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _post(
        self, payload: dict[str, Any], deadline: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open the stream; its connection is closed at the end unless it was read to the end."""
        address = self._url / "chat/completions"
        with self._failures("an answer to the request"):
            async with asyncio.timeout_at(deadline):
                try:
                    response = await self._pool().post(address, json=payload, allow_redirects=False)
                except aiohttp.ClientConnectorError:
                    raise
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                    # The server has just hung up on a pooled connection, as llama.cpp does.
                    response = await self._pool().post(address, json=payload, allow_redirects=False)
        try:
            await self._expect(response, "text/event-stream")
            yield response
        finally:
            response.close()

    async def _served_models(self) -> list[str]:
        with self._failures("its list of models"):
            async with (
                asyncio.timeout(MODELS_TIMEOUT_S),
                self._pool().get(self._url / "models", allow_redirects=False) as response,
            ):
                await self._expect(response, "application/json")
                models = self._decode(await response.read(), MODEL_LIST).data
        if not models:
            raise ModelServerBroken(f"{self._server} lists no model")
        contexts = [model.max_model_len for model in models if model.max_model_len]
        self._context_tokens = min(contexts, default=self._context_tokens)
        return [model.id for model in models]

    async def _expect(self, response: aiohttp.ClientResponse, content_type: str) -> None:
        """Raise unless the response has status 200 and the content type."""
        if response.status != 200:
            body = b""
            with suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(MODELS_TIMEOUT_S):
                    body = await response.content.read(MAX_ERROR_BODY_BYTES)
            waits = response.headers.get("Retry-After", "")
            raise self._refused(
                f"with status {response.status}", body, int(waits) if waits.isdecimal() else None
            )
        if response.content_type != content_type:
            raise ModelServerBroken(
                f"{self._server} answered {response.content_type!r} where {content_type!r} belongs;"
                " check that OPORA_LLM__BASE_URL ends in the path of its OpenAI-compatible API"
            )

    def _refused(
        self, how: str, body: bytes, retry_after_s: int | None = None
    ) -> ModelServerRefused:
        message = error_message(body)
        if self._key:
            message = message.replace(self._key, "[key]")
        if tells_of_context(message):
            return ModelContextExceeded(
                f"the question, with its passages, is too long for {self._server} ({message}); ask "
                "a shorter one, or set OPORA_ANSWERING__EVIDENCE_TOKENS lower"
            )
        waits_s = min(max(retry_after_s or RETRY_AFTER_S, 1), LONGEST_RETRY_S)
        return ModelServerRefused(
            f"{self._server} refused {how}: {message or 'no reason given'}", waits_s
        )

    def _decode(self, data: bytes, decoder: msgspec.json.Decoder[Wire]) -> Wire:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelServerBroken(
                f"{self._server} answered something that is not its protocol: {error}"
            ) from None

    @contextmanager
    def _failures(self, waiting_for: str) -> Iterator[None]:
        """Turn what goes wrong on the network into the domain's errors."""
        try:
            yield
        except aiohttp.ServerTimeoutError:
            raise ModelServerTimeout(
                f"{self._server} gave no connection within {self._connect_timeout_s:g} s"
            ) from None
        except TimeoutError:
            raise ModelServerTimeout(
                f"{self._server} took too long over {waiting_for}; it may be overloaded"
            ) from None
        except aiohttp.ClientResponseError as error:
            raise ModelServerBroken(
                f"{self._server} does not speak HTTP: {error.message}"
            ) from None
        except aiohttp.ClientError as error:
            raise ModelServerUnavailable(
                f"{self._server} is not there or broke off ({type(error).__name__}: {error}); "
                "check that it runs"
            ) from None

    def _pool(self) -> aiohttp.ClientSession:
        """Return the session, made on first use because it belongs to the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_CONNECTION_S),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
                json_serialize=lambda value: msgspec.json.encode(value).decode(),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _payload(model: str, messages: Sequence[Message], params: ChatParams) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in messages],
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if params.stop:
        payload["stop"] = list(params.stop)
    if params.response_format is not None:
        payload["response_format"] = params.response_format
    return payload


async def _let_gather(response: aiohttp.ClientResponse) -> None:
    """Leave what comes to the system for a moment, to read several tokens at once."""
    transport = response.connection and response.connection.transport
    if transport is None or transport.is_closing():
        return
    transport.pause_reading()
    try:
        await asyncio.sleep(GATHERING_S)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the end of a finished stream, so that its connection can serve the next answer."""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while await response.content.readany():
                pass
