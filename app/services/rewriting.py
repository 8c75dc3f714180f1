"""What the chat model does for search: questions that stand alone, and translated ones."""

import asyncio
import re
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

from app.domain.errors import Unavailable
from app.domain.follow_ups import Asked, Turn, in_context, leans, topic_keys
from app.domain.ports import ChatModel, ChatParams, Message
from app.domain.prompts import rewrite_prompt, translate_prompt
from app.domain.text import guess_language, search_keys
from app.telemetry import get_logger, stage

log = get_logger(__name__)

REST_S = 60.0
"""How long a model that was too slow or not there is left alone: each call costs the timeout."""

_SHOWN_TURNS = 2
_SHOWN_ANSWER_CHARS = 200
_LONGEST_QUESTION = 500  # characters; who writes more needs no rewriting
_MAX_TOKENS = 80
_NAME_OR_NUMBER = re.compile(r"\b(?:[A-ZА-ЯЁ]|\d)[\w-]*")
OTHER_LANGUAGE = {"ru": "en", "en": "ru"}


class Rewriter:
    """Asks the chat model for better search texts, and does without where that takes too long.

    Args:
        chat: The model.
        timeout_s: Longest wait for one text; 0 never asks.
        rewrites: Whether follow-ups are rewritten too; otherwise `in_context` alone reads them.
        clock: Seconds that never run backwards.

    Where the model was asked, `timings_ms` gets `rewrite` or `translate`; where search must do
    without its text, `rewrite_skipped` or `translate_skipped` as well: the time lost, 0 for a model
    that was not asked because it failed in the last REST_S seconds.
    """

    def __init__(
        self,
        chat: ChatModel,
        timeout_s: float,
        rewrites: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._chat = chat
        self._timeout_s = timeout_s
        self._rewrites = rewrites
        self._clock = clock
        self._resting_until = float("-inf")

    async def stand_alone(
        self, question: str, history: Sequence[Turn], timings_ms: dict[str, float]
    ) -> Asked:
        """Read a question after the turns before it, the oldest first; never fails."""
        plain = await asyncio.to_thread(in_context, question, history)
        if not self._rewrites or not plain.leans_on or len(question) > _LONGEST_QUESTION:
            return plain
        language = guess_language(plain.text) or "en"
        messages = rewrite_prompt(language, _conversation(history), question)
        rewritten = await self._ask(
            "rewrite",
            messages,
            lambda text: _is_rewriting(text, question, history, language),
            timings_ms,
        )
        if rewritten is None:
            return plain
        return await asyncio.to_thread(in_context, rewritten, history)

    async def translate(self, question: str, timings_ms: dict[str, float]) -> str | None:
        """Return a Russian question in English or the reverse; None where that is not to be had."""
        language = guess_language(question)
        if language is None or len(question) > _LONGEST_QUESTION:
            return None
        return await self._ask(
            "translate",
            translate_prompt(language, question),
            lambda text: _is_translation(text, question, OTHER_LANGUAGE[language]),
            timings_ms,
        )

    async def _ask(
        self,
        name: str,
        messages: Sequence[Message],
        is_usable: Callable[[str], bool],
        timings_ms: dict[str, float],
    ) -> str | None:
        """Return the model's one line, or None and say so in the timings."""
        if not self._timeout_s:
            return None
        begun = perf_counter()
        if self._clock() < self._resting_until:
            timings_ms[f"{name}_skipped"] = 0.0
            return None
        reason = "unusable"
        try:
            with stage(name, timings_ms):
                async with asyncio.timeout(self._timeout_s):
                    done = await self._chat.complete(messages, ChatParams(_MAX_TOKENS))
            text = done.text.strip().strip('"«»')
            if done.finish_reason != "length" and await asyncio.to_thread(is_usable, text):
                return text
        except (TimeoutError, Unavailable) as error:
            self._resting_until = self._clock() + REST_S
            reason = type(error).__name__
        timings_ms[f"{name}_skipped"] = round((perf_counter() - begun) * 1000, 3)
        log.info(f"{name}.skipped", reason=reason)
        return None


def _conversation(history: Sequence[Turn]) -> str:
    lines = []
    for turn in history[-_SHOWN_TURNS:]:
        lines += [turn.question, turn.answer[:_SHOWN_ANSWER_CHARS]]
    return "\n".join(line for line in lines if line)


def _is_rewriting(text: str, question: str, history: Sequence[Turn], language: str) -> bool:
    """Whether the text asks the question with what it leans on, and neither answers nor invents."""
    asked = set(topic_keys(text))
    before = set(topic_keys(" ".join(f"{turn.question} {turn.answer}" for turn in history)))
    return (
        "\n" not in text
        and text.endswith("?") >= question.rstrip().endswith("?")
        and guess_language(text) == language
        and not leans(text)
        and _given(question) <= asked
        and bool(asked & before)
        and 2 * len(asked - before - set(topic_keys(question))) <= len(asked)
    )


def _is_translation(text: str, question: str, language: str) -> bool:
    """Whether the text can be the question in the language: every number is still there."""
    return (
        "\n" not in text
        and guess_language(text) == language
        and {key for key in search_keys(question) if key.isdecimal()} <= set(search_keys(text))
    )


def _given(question: str) -> set[str]:
    """Return the keys of the question's names and numbers; its first word may be neither."""
    _, _, rest = question.partition(" ")
    return set(topic_keys(" ".join(_NAME_OR_NUMBER.findall(rest))))
