"""An answer as JSON: asked for, read, grounded, and asked for once more where it is unusable."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.domain.answers import AbstentionReason, Usage
from app.domain.errors import SchemaMismatch
from app.domain.follow_ups import topic_keys
from app.domain.ports import ChatModel, ChatParams, Message
from app.domain.prompts import prompt, repair_prompt
from app.domain.structured import AnswerSchema, Grounded, Json
from app.telemetry import get_logger

log = get_logger(__name__)

_REFUSALS = ("no answer", "нет ответа")
_SHOWN_VALUES = 5
_FIELD = re.compile(r'"[^"\n]*"\s*:|[\x00\ud800-\udfff]|\bnull\b|\[\d+\]')
_LONGEST_DRAFT = 1000  # characters


def refuses(written: str) -> bool:
    """Whether a model says that the excerpts hold no answer."""
    return written.strip().strip('*"«').lower().startswith(_REFUSALS)


def drafted(written: str) -> str | None:
    """What a draft, as text or JSON, says to search for; None where it holds no answer."""
    said = " ".join(_FIELD.sub(" ", written).split())[:_LONGEST_DRAFT]
    return None if refuses(written) or not topic_keys(said) else said


@dataclass(frozen=True, slots=True)
class Structured:
    """Data whose every value a document carries, or the reason why there is none."""

    data: Json
    grounded: Grounded | None
    usage: Usage
    reason: AbstentionReason | None = None


async def write_structured(
    chat: ChatModel,
    messages: Sequence[Message],
    params: ChatParams,
    schema: AnswerSchema,
    language: str,
    ground: Callable[[Json], Grounded],
) -> Structured:
    """Ask for data by a schema, and once more where it is not by it or not in the evidence.

    Raises:
        SchemaMismatch: The second try is not by the schema either.
        Unavailable: The model server fails.
    """
    form = {"name": "answer", "schema": schema.schema, "strict": True}
    params = replace(params, response_format={"type": "json_schema", "json_schema": form})
    asked, usage = list(messages), Usage()
    for is_last in (False, True):
        done = await chat.complete(asked, params)
        usage += done.usage
        if refuses(done.text):
            return Structured(None, None, usage, AbstentionReason.MODEL_FOUND_NOTHING)
        try:
            data = await asyncio.to_thread(schema.read, done.text)
        except SchemaMismatch as error:
            if is_last:
                raise
            problem = error.message
        else:
            grounded = await asyncio.to_thread(ground, data)
            if grounded.citations and not grounded.missing:
                return Structured(data, grounded, usage)
            if is_last or not grounded.missing:
                return Structured(data, None, usage, AbstentionReason.NOTHING_SUPPORTED)
            values = "; ".join(grounded.missing[:_SHOWN_VALUES])
            problem = prompt("missing", language).format(values=values)
        log.info("structured.repaired", finish_reason=done.finish_reason)
        asked += repair_prompt(language, done.text, problem)
    raise AssertionError("the last try returns or raises")
