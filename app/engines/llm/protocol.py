"""The pieces of OpenAI's chat protocol that the client reads; everything else is ignored.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from app.domain.errors import ModelServerBroken

MAX_EVENT_BYTES = 1024**2
MAX_MESSAGE_CHARS = 300
CHARS_PER_TOKEN = 20
"""More than a whole answer has on average; single tokens, as of spaces, are longer."""

# As vLLM, llama.cpp and OpenAI say it.
_OVER_CONTEXT = re.compile(
    r"maximum (context|model|input) length|context length is|available context size"
    r"|context_length_exceeded|exceed\w* (the )?(model'?s )?(max_model_len|context)",
    re.IGNORECASE,
)


class ServedModel(msgspec.Struct):
    """A model; vLLM says how many tokens it reads and writes at most."""

    id: str
    max_model_len: int | None = None


class ModelList(msgspec.Struct):
    """The answer of `GET /models`."""

    data: list[ServedModel]


class Delta(msgspec.Struct):
    """New text; a reasoning model thinks aloud in `reasoning_content`, which nobody is shown."""

    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether the model got on; the opening event, with the role alone, does not count."""
        return bool(self.delta.content or self.delta.reasoning_content or self.finish_reason)

    @property
    def chars(self) -> int:
        """Characters of text and thought, and one for the event itself."""
        return 1 + len(self.delta.content or "") + len(self.delta.reasoning_content or "")


class TokenCounts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chunk(msgspec.Struct):
    """One event of a stream. The one with the usage comes last and has no choices."""

    choices: list[Choice] = []
    usage: TokenCounts | None = None
    error: Any = None


CHUNK = msgspec.json.Decoder(Chunk)
MODEL_LIST = msgspec.json.Decoder(ModelList)


class EventReader:
    """Cuts a byte stream into the data of its events; `done` after the closing `[DONE]`."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of each event that is whole now.

        Raises:
            ModelServerBroken: An event is over MAX_EVENT_BYTES.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ModelServerBroken(f"the model server sent an event over {MAX_EVENT_BYTES} bytes")
        for line in lines:
            field, _, value = line.strip().partition(b":")
            if field == b"error":  # llama.cpp's own way to report one
                yield b'{"error":' + value + b"}"
            elif field == b"data" and value.strip() == b"[DONE]":
                self.done = True
                return
            elif field == b"data":
                yield value


def longest_answer_chars(max_tokens: int) -> int:
    """Characters after which a stream of at most so many tokens is taken for an endless one."""
    return 1000 + CHARS_PER_TOKEN * max_tokens


def tells_of_context(message: str) -> bool:
    """Whether an error says that the prompt is longer than the model's context."""
    return _OVER_CONTEXT.search(message) is not None


def error_message(body: bytes) -> str:
    """Return what an error body says, shortened: `error.message`, `message`, `detail` or text."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = body.decode(errors="replace")
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    text = " ".join(str(found).split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
