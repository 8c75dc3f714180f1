"""The door for OpenAI-compatible clients."""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.dependencies import Asker, Wired
from app.api.errors import openai_error
from app.api.routes.answers import checked_text
from app.api.streams import event_stream, sse, started, unless_left
from app.db.base import new_id
from app.domain.answers import Answer, Citation
from app.domain.documents import SearchFilters
from app.domain.errors import InvalidField, NotFound, OporaError
from app.services.answering import AnswerEvent, Finished, Question, Token
from app.wiring import DEFAULT_ASSISTANT

router = APIRouter(prefix="/v1", tags=["openai"])


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

    include_usage: bool = False


class ChatRequest(BaseModel):
    """An OpenAI chat request; fields that mean nothing here are ignored, as OpenAI does."""

    model_config = ConfigDict(extra="allow")
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: str = DEFAULT_ASSISTANT
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    n: Literal[1] | None = None
    response_format: dict[str, Any] | None = None


@router.get("/models")
async def list_models(_: Asker) -> dict[str, object]:
    """The assistants, as models."""
    return {"object": "list", "data": [_model(DEFAULT_ASSISTANT)]}


@router.get("/models/{name}")
async def get_model(_: Asker, name: str) -> dict[str, object]:
    """One assistant."""
    return _model(_known(name))


@router.post("/chat/completions", response_model=None)
async def complete(
    request: Request, services: Wired, caller: Asker, body: ChatRequest
) -> Response | dict[str, object]:
    """Answer the last user message over the caller's documents, with citations as notes."""
    _known(body.model)
    if (body.response_format or {}).get("type", "text") != "text":
        raise InvalidField("response_format", "this release answers as `text`")
    asked = [message for message in body.messages if message.role == "user"]
    if not asked:
        raise InvalidField("messages", "hold no message of the role `user`")
    question = Question(
        text=checked_text("messages", asked[-1].plain(), services.settings.http.max_question_chars),
        filters=SearchFilters(),
        temperature=body.temperature or 0.0,
        max_tokens=body.max_completion_tokens or body.max_tokens,
    )
    events = services.answering.ask(caller, question)
    head = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": body.model}
    if body.stream:
        include_usage = body.stream_options.include_usage
        return event_stream(_chunks(head, await started(events), include_usage))
    return await unless_left(request, _whole(head, events))


async def _whole(
    head: dict[str, object], events: AsyncGenerator[AnswerEvent, None]
) -> dict[str, object]:
    async for event in events:
        if isinstance(event, Finished):
            text, citations = _body(event)
            message = {
                "role": "assistant",
                "content": text + notes(citations),
                "annotations": _annotations(citations),
                "refusal": None,
            }
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": _usage(event),
            }
    raise AssertionError("an answer always finishes or raises")


async def _chunks(
    head: dict[str, object], events: AsyncGenerator[AnswerEvent, None], include_usage: bool
) -> AsyncGenerator[bytes, None]:
    def chunk(delta: dict[str, object], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return sse(None, {**head, "object": "chat.completion.chunk", "choices": [choice]})

    try:
        yield chunk({"role": "assistant", "content": ""})
        sent = ""
        async for event in events:
            if isinstance(event, Token):
                sent += event.text
                yield chunk({"content": event.text})
            elif isinstance(event, Finished):
                text, citations = _body(event)
                rest = text[len(sent) :] + notes(citations)
                yield chunk({"content": rest, "annotations": _annotations(citations)})
                yield chunk({}, "stop")
                if include_usage:
                    last = {"object": "chat.completion.chunk", "choices": []}
                    yield sse(None, {**head, **last, "usage": _usage(event)})
        yield b"data: [DONE]\n\n"
    except OporaError as error:
        yield sse(None, openai_error(error))
    finally:
        await events.aclose()


def notes(citations: Sequence[Citation]) -> str:
    """Numbered Markdown notes for clients that know nothing of annotations."""
    lines: dict[tuple[int, str], str] = {}
    for citation in citations:
        page = f", {_pages(citation)}" if citation.pages else ""
        quote = " ".join(citation.quote.split())
        lines[(citation.marker, citation.quote)] = (
            f"[{citation.marker}] {citation.title}{page}: «{quote}»"
        )
    return "\n\n---\n" + "\n\n".join(lines.values()) if lines else ""


def _pages(citation: Citation) -> str:
    first, last = citation.pages[0], citation.pages[-1]
    return f"p. {first}" if first == last else f"pp. {first}-{last}"


def _annotations(citations: Sequence[Citation]) -> list[dict[str, object]]:
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": citation.source_uri or f"/v1/documents/{citation.document_id}",
                "title": citation.title,
                "start_index": citation.answer_start,
                "end_index": citation.answer_end,
                "document_id": citation.document_id,
                "version": citation.version,
                "pages": list(citation.pages),
                "quote": citation.quote,
                "char_start": citation.char_start,
                "char_end": citation.char_end,
                "support": citation.support,
            },
        }
        for citation in citations
    ]


def _body(event: Finished) -> tuple[str, tuple[Citation, ...]]:
    result = event.result
    return result.text, result.citations if isinstance(result, Answer) else ()


def _usage(event: Finished) -> dict[str, int]:
    usage = event.result.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "opora"}


def _known(name: str) -> str:
    if name != DEFAULT_ASSISTANT:
        raise NotFound(f"there is no model {name!r}; the assistant is {DEFAULT_ASSISTANT!r}")
    return name
