"""Assistants: how an administrator wants questions answered."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DEFAULT_ASSISTANT = "opora"


class FormatType(StrEnum):
    """The form of an answer."""

    TEXT = "text"
    HTML = "html"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The form of an answer; `schema` is a JSON Schema for `json_schema`, else None."""

    type: FormatType = FormatType.TEXT
    schema: dict[str, Any] | None = None


class Unsupported(StrEnum):
    """What becomes of a sentence that no document carries."""

    MARK = "mark"
    REMOVE = "remove"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class Assistant:
    """How questions are answered; none of it switches the checking of citations off.

    Args:
        name: What a request names it by.
        instructions: Wishes for the wording of the answers.
        tone: Their tone, in a few words.
        language: `ru` or `en` locks the answer's language; None follows the question.
        collections: The only ones searched; none narrows nothing.
        answer_format: The form of an answer where the request names none.
        model: The chat model; None is the configured one.
        adapter: A LoRA that the model server has loaded.
        temperature: That of the chat model where the request names none, in [0, 2].
        stages: How often is searched and written.
        unsupported: What becomes of a sentence that no document carries.
    """

    name: str = DEFAULT_ASSISTANT
    instructions: str = ""
    tone: str = ""
    language: str | None = None
    collections: tuple[str, ...] = ()
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)
    model: str | None = None
    adapter: str | None = None
    temperature: float = 0.0
    stages: int = 1
    unsupported: Unsupported = Unsupported.REMOVE
