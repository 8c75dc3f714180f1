"""Versioned prompts: one text file per purpose and language, none inside functions."""

from functools import lru_cache
from itertools import cycle
from pathlib import Path

from app.domain.ports import Message

PROMPT_VERSION = "answer-3"


@lru_cache
def prompt(name: str, language: str) -> str:
    """The text of `name.language.txt`, without its last newline."""
    path = Path(__file__).with_name(f"{name}.{language}.txt")
    return path.read_text(encoding="utf-8").rstrip("\n")


def answer_prompt(
    language: str, passages: str, question: str, style: str = "", history: str = ""
) -> list[Message]:
    """The messages that ask for a grounded answer.

    What is the same for every question stands first: the model server keeps it read (a prefix
    cache), so the worked examples cost their tokens once. Then come passages, history, question.

    Args:
        language: `ru` or `en`.
        passages: The numbered excerpts.
        question: What is asked.
        style: See `style_prompt`; it closes the instructions.
        history: The turns before, for a question that leans on them.
    """
    examples = prompt("examples", language).split("\n---\n")
    roles = cycle(("user", "assistant"))
    return [
        Message("system", prompt("answer", language) + style),
        *(Message(role, text) for role, text in zip(roles, examples, strict=False)),
        _request(language, passages, question, history),
    ]


def data_prompt(
    language: str, schema: str, passages: str, question: str, style: str = "", history: str = ""
) -> list[Message]:
    """The messages that ask for a grounded answer as JSON by a schema; else as `answer_prompt`."""
    rules = prompt("data", language).format(schema=schema)
    return [
        Message("system", rules + style),
        _request(language, passages, question, history),
    ]


def repair_prompt(language: str, written: str, problem: str) -> list[Message]:
    """The messages that follow an unusable answer and ask for a better one."""
    return [
        Message("assistant", written),
        Message("user", prompt("repair", language).format(problem=problem)),
    ]


def style_prompt(language: str, instructions: str, tone: str) -> str:
    """The part of the instructions that an administrator wrote, set apart from the rules above."""
    wishes = [prompt("tone", language).format(tone=tone)] if tone else []
    wishes += [instructions] if instructions else []
    return prompt("style", language).format(wishes="\n".join(wishes)) if wishes else ""


def _request(language: str, passages: str, question: str, history: str) -> Message:
    fields = {"passages": passages, "question": question}
    if history:
        text = prompt("follow_up", language).format(history=history, **fields)
    else:
        text = prompt("question", language).format(**fields)
    return Message("user", text)


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
