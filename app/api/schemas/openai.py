"""Requests of OpenAI's clients."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.api.schemas.assistants import ResponseFormat
from app.domain.assistants import DEFAULT_ASSISTANT
from app.domain.follow_ups import Turn

_READ_TURNS = 4
Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Part(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of the conversation so far."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[Part] | None = None

    def plain(self) -> str:
        """The text of the content."""
        if isinstance(self.content, list):
            return "\n".join(part.text or "" for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """An OpenAI chat request; fields that mean nothing here are ignored, as OpenAI does."""

    model_config = ConfigDict(extra="allow")
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: str = DEFAULT_ASSISTANT
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    n: Literal[1] | None = None
    stop: Annotated[list[Stop], Field(max_length=4)] = []
    response_format: ResponseFormat | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, stop: Any) -> Any:
        return [] if stop is None else [stop] if isinstance(stop, str) else stop

    def questions(self) -> list[str]:
        """What the user wrote, the oldest first."""
        return [message.plain() for message in self.messages if message.role == "user"]

    def history(self) -> tuple[Turn, ...]:
        """The questions before the last one.

        What an assistant answered is left out: here nobody can say what it stands on, and whether
        the caller may still read that.
        """
        before = [question for question in self.questions()[:-1] if _is_text(question)]
        return tuple(Turn(question) for question in before[-_READ_TURNS:])


def _is_text(text: str) -> bool:
    return bool(text.strip()) and not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text)
