"""Bodies of assistants, and the form of an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.schemas.base import Body, Name
from app.domain.assistants import AnswerFormat, Assistant, FormatType, Unsupported
from app.domain.errors import InvalidField
from app.domain.structured import AnswerSchema

Instructions = Annotated[str, Field(max_length=4000)]
Tone = Annotated[str, Field(max_length=200)]
Language = Literal["auto", "ru", "en"]
Temperature = Annotated[float, Field(ge=0, le=2)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
Stages = Literal[1, 2]


class ResponseFormat(BaseModel):
    """The form of the answer; `json_schema` is a JSON Schema, alone or as OpenAI wraps it."""

    type: FormatType = FormatType.TEXT
    json_schema: dict[str, Any] | None = None

    def domain(self) -> AnswerFormat:
        """The form, or InvalidField where the schema is missing or no good."""
        if self.type is not FormatType.JSON_SCHEMA:
            return AnswerFormat(self.type)
        wrapped = (self.json_schema or {}).get("schema")
        schema = wrapped if isinstance(wrapped, dict) else self.json_schema
        if not schema:
            raise InvalidField("response_format.json_schema", "is missing")
        return AnswerFormat(self.type, AnswerSchema(schema).schema)


class AssistantChange(Body):
    """What may be changed of an assistant; what is not named stays."""

    instructions: Instructions = ""
    tone: Tone = ""
    language: Language = "auto"
    collections: Annotated[list[Name], Field(max_length=100)] = []
    response_format: ResponseFormat = ResponseFormat()
    model: ModelName | None = None
    adapter: ModelName | None = None
    temperature: Temperature = 0.0
    stages: Stages = 1
    unsupported: Unsupported = Unsupported.REMOVE

    def applied(self, assistant: Assistant) -> Assistant:
        """The assistant with what is named here."""
        named = {name: getattr(self, name) for name in self.model_fields_set - {"name"}}
        for field, value in named.items():
            if isinstance(value, str) and any(
                c == "\x00" or "\ud800" <= c <= "\udfff" for c in value
            ):
                raise InvalidField(field, "holds a NUL or half a character")
        if "language" in named:
            named["language"] = None if self.language == "auto" else self.language
        if "collections" in named:
            named["collections"] = tuple(sorted(set(self.collections)))
        if "response_format" in named:
            del named["response_format"]
            named["answer_format"] = self.response_format.domain()
        return replace(assistant, **named)


class NewAssistant(AssistantChange):
    """An assistant to be made."""

    name: Name


class AssistantView(BaseModel):
    """An assistant; its collections are those that the caller may see."""

    name: str
    instructions: str
    tone: str
    language: Language
    collections: list[str]
    response_format: ResponseFormat
    model: str | None
    adapter: str | None
    temperature: float
    stages: int
    unsupported: Unsupported

    @classmethod
    def of(cls, assistant: Assistant, collections: Sequence[str] | None = None) -> "AssistantView":
        """From the domain's assistant."""
        same = ("name", "instructions", "tone", "model", "adapter", "temperature", "stages")
        form = assistant.answer_format
        fields = {name: getattr(assistant, name) for name in same} | {
            "language": assistant.language or "auto",
            "collections": list(assistant.collections if collections is None else collections),
            "response_format": ResponseFormat(type=form.type, json_schema=form.schema),
            "unsupported": assistant.unsupported,
        }
        return cls.model_validate(fields)
