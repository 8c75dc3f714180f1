"""Versioned prompts: one text file per purpose and language, none inside functions."""

from functools import lru_cache
from itertools import cycle
from pathlib import Path

from app.domain.ports import Message

PROMPT_VERSION = "answer-1"


@lru_cache
def prompt(name: str, language: str) -> str:
    """The text of `name.language.txt`, without its last newline."""
    path = Path(__file__).with_name(f"{name}.{language}.txt")
    return path.read_text(encoding="utf-8").rstrip("\n")


def answer_prompt(language: str, passages: str, question: str) -> list[Message]:
    """The messages that ask for a grounded answer.

    What is the same for every question stands first: the model server keeps it read (a prefix
    cache), so the worked examples cost their tokens once.
    """
    examples = prompt("examples", language).split("\n---\n")
    roles = cycle(("user", "assistant"))
    return [
        Message("system", prompt("answer", language)),
        *(Message(role, text) for role, text in zip(roles, examples, strict=False)),
        Message("user", prompt("question", language).format(passages=passages, question=question)),
    ]


def rewrite_prompt(language: str, conversation: str, question: str) -> list[Message]:
    """The messages that ask for a follow-up as a question that stands alone."""
    return _with_example("rewrite", language, conversation=conversation, question=question)


def translate_prompt(language: str, question: str) -> list[Message]:
    """The messages that ask for a question of a language in the other one, `ru` or `en`."""
    return _with_example("translate", language, question=question)


def _with_example(name: str, language: str, **fields: str) -> list[Message]:
    """An instruction, one worked example and the request, as `name.language.txt` has them."""
    *fixed, request = prompt(name, language).split("\n---\n")
    roles = ("system", "user", "assistant")
    return [
        *(Message(role, text) for role, text in zip(roles, fixed, strict=True)),
        Message("user", request.format(**fields)),
    ]
