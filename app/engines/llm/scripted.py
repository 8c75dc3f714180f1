"""A deterministic chat model for tests, behind the same port and with the same manners."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain, repeat

from app.domain.answers import Usage
from app.domain.errors import OporaError
from app.domain.ports import ChatCompletion, ChatDelta, ChatParams, Message, PromptSize

Reply = Callable[[Sequence[Message]], str]
"""Makes the whole text from the prompt."""

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_PASSAGE = re.compile(r"^\[(\d+)\](.*?)(?=^\[\d+\]|\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE = re.compile(r"\S[^\n]*?[.!?…](?=\s|$)")


def echo_evidence(messages: Sequence[Message]) -> str:
    """Answer with the first sentence of a passage of the last user message, and its marker.

    It is the passage with most words of the message's last paragraph, where the question stands;
    the first of equals. The first line of a passage that has more is its heading, as
    `app.domain.evidence` writes it.
    """
    request = _last_question(messages)
    asked = _words(request.rpartition("\n\n")[2])
    passages = _PASSAGE.findall(request)
    if not passages:
        return ""
    number, passage = max(passages, key=lambda found: len(asked & _words(found[1])))
    heading, _, text = passage.strip().partition("\n")
    text = text or heading
    sentence = _SENTENCE.search(text)
    return f"{sentence[0] if sentence else text.splitlines()[-1]} [{number}]"


def repeat_prompt(messages: Sequence[Message]) -> str:
    """Answer with the last user message itself."""
    return _last_question(messages)


def fixed(*texts: str) -> Reply:
    """Answer with these texts one after the other, then with the last one for ever."""
    queue = chain(texts, repeat(texts[-1]))
    return lambda _messages: next(queue)


@dataclass
class ScriptedChatModel:
    """A ChatModel whose words and punctuation marks are its tokens.

    Args:
        reply: What it says: `echo_evidence`, `repeat_prompt`, `fixed(...)` or any function.
        model: The name it goes by.
        token_delay_s: Time that each token takes.
        fail_with: Raised after `fail_after` tokens, or at the end of a shorter text.
        context_tokens: What it claims to read and write at most.

    `requests` keeps what it was asked; `running` counts the generations that are not over.
    """

    reply: Reply = echo_evidence
    model: str = "scripted"
    token_delay_s: float = 0.0
    fail_with: OporaError | None = None
    fail_after: int = 0
    context_tokens: int | None = None
    requests: list[tuple[tuple[Message, ...], ChatParams]] = field(default_factory=list)
    running: int = 0

    async def stream(
        self, messages: Sequence[Message], params: ChatParams
    ) -> AsyncGenerator[ChatDelta]:
        """Yield token by token, at most `params.max_tokens`, then the usage."""
        self.requests.append((tuple(messages), params))
        text = self.reply(messages)
        for stop in params.stop:
            text = text.partition(stop)[0]
        tokens = _TOKEN.findall(text)
        said = tokens[: params.max_tokens]
        self.running += 1
        try:
            for number, token in enumerate(said):
                if self.fail_with and number >= self.fail_after:
                    raise self.fail_with
                await asyncio.sleep(self.token_delay_s)
                yield ChatDelta(token)
            if self.fail_with:
                raise self.fail_with
        finally:
            self.running -= 1
        finish_reason = "stop" if said == tokens else "length"
        yield ChatDelta(usage=Usage(_count(messages), len(said)), finish_reason=finish_reason)

    async def complete(self, messages: Sequence[Message], params: ChatParams) -> ChatCompletion:
        """Generate the whole text."""
        texts: list[str] = []
        last = ChatDelta()
        async with aclosing(self.stream(messages, params)) as deltas:
            async for last in deltas:
                texts.append(last.text)
        return ChatCompletion("".join(texts), last.usage or Usage(), last.finish_reason)

    async def measure(
        self,
        messages: Sequence[Message],
        params: ChatParams,  # noqa: ARG002
    ) -> PromptSize:
        """Count its tokens."""
        return PromptSize(_count(messages), self.context_tokens, is_exact=True)

    async def check(self) -> str:
        """Return its name."""
        return self.model

    async def close(self) -> None:
        """Nothing is held."""


def _words(text: str) -> set[str]:
    return {word.lower()[:5] for word in re.findall(r"\w{3,}", text)}


def _count(messages: Sequence[Message]) -> int:
    return sum(len(_TOKEN.findall(turn.content)) for turn in messages)


def _last_question(messages: Sequence[Message]) -> str:
    return next((turn.content for turn in reversed(messages) if turn.role == "user"), "")
