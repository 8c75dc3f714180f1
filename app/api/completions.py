"""Answers in the shapes of OpenAI's chat completions, with their citations."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from app.api.errors import openai_error
from app.api.streams import sse
from app.db.base import new_id
from app.domain.answers import Abstention, Answer, Citation
from app.domain.assistants import FormatType
from app.domain.errors import OporaError
from app.domain.html_form import is_web_address
from app.domain.unlinking import unlinked
from app.services.answering import AnswerEvent, Finished
from app.services.drafts import Token


class Completions:
    """The chat completion of one request.

    Args:
        model: The name that the request gave.
        include_usage: Whether a stream ends with the usage.
        for_open_webui: Whether the sources come as events of Open WebUI in place of annotations,
            which it would list as well.
    """

    def __init__(self, model: str, include_usage: bool, for_open_webui: bool) -> None:
        self._head = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": model}
        self._include_usage = include_usage
        self._for_open_webui = for_open_webui

    async def whole(self, events: AsyncGenerator[AnswerEvent, None]) -> dict[str, object]:
        """The completion as one object."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    message = {
                        "role": "assistant",
                        **_message(event),
                        "annotations": annotations(event),
                    }
                    return {
                        **self._head,
                        "object": "chat.completion",
                        "choices": [
                            {
                                "index": 0,
                                "message": message,
                                "finish_reason": _finish_reason(event),
                                "logprobs": None,
                            }
                        ],
                        "usage": _usage(event),
                        "sources": sources(event),
                    }
        raise AssertionError("an answer always finishes or raises")

    async def chunks(
        self, events: AsyncGenerator[AnswerEvent, None]
    ) -> AsyncGenerator[bytes, None]:
        """The completion as server-sent events."""
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            sent = ""
            async for event in events:
                if isinstance(event, Token):
                    sent += event.text
                    yield self._chunk({"content": event.text})
                elif isinstance(event, Finished):
                    for chunk in self._end(event, sent):
                        yield chunk
            yield b"data: [DONE]\n\n"
        except OporaError as error:
            yield sse(None, openai_error(error))
        finally:
            await events.aclose()

    def _end(self, event: Finished, sent: str) -> list[bytes]:
        message, found = _message(event), sources(event)
        refusal = message["refusal"]
        delta: dict[str, object] = {"content": (message["content"] or "")[len(sent) :]}
        if refusal is not None:
            delta = {"refusal": refusal}
        if self._for_open_webui:
            ends = [self._chunk(delta)]
            ends += [
                sse(None, {**self._bare(), "event": {"type": "source", "data": one}})
                for one in found
            ]
        else:
            ends = [self._chunk(delta | {"annotations": annotations(event)}, sources=found)]
        ends.append(self._chunk({}, _finish_reason(event)))
        if self._include_usage:
            ends.append(sse(None, {**self._bare(), "usage": _usage(event)}))
        return ends

    def _bare(self) -> dict[str, object]:
        return {**self._head, "object": "chat.completion.chunk", "choices": []}

    def _chunk(
        self, delta: dict[str, object], finish_reason: str | None = None, **more: object
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return sse(None, {**self._bare(), "choices": [choice], **more})


def notes(citations: Sequence[Citation]) -> str:
    """Numbered Markdown notes for clients that know nothing of annotations."""
    lines: dict[tuple[int, str], str] = {}
    for citation in citations:
        page = f", {_pages(citation)}" if citation.pages else ""
        quote = " ".join(unlinked(citation.quote).split())
        lines[citation.marker, citation.quote] = (
            f"[{citation.marker}] {unlinked(citation.title)}{page}: «{quote}»"
        )
    return "\n\n---\n" + "\n\n".join(lines.values()) if lines else ""


def annotations(event: Finished) -> list[dict[str, object]]:
    """OpenAI's annotations, with what Opora knows beyond them."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": _address(citation),
                "title": unlinked(citation.title),
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
        for citation in _citations(event)
    ]


def sources(event: Finished) -> list[dict[str, object]]:
    """Sources as Open WebUI shows them: the one of marker n is the n-th.

    So those before the last cited one are among them, each under an id of its own.
    """
    citations = _citations(event)
    last = max((citation.marker for citation in citations), default=0)
    listed: list[dict[str, object]] = []
    for marker, passage in enumerate(event.result.passages[:last], start=1):
        own = [citation for citation in citations if citation.marker == marker]
        quotes = list(dict.fromkeys(citation.quote for citation in own)) or [passage.text]
        source_id = f"{passage.document_id}-{marker}"
        title = unlinked(passage.title)
        source: dict[str, object] = {"id": source_id, "name": title}
        if is_web_address(passage.source_uri):
            source["url"] = passage.source_uri
        described = {"source": source_id, "name": title, "pages": list(passage.pages)}
        listed.append(
            {
                "source": source,
                "document": [unlinked(quote) for quote in quotes],
                "metadata": [described for _ in quotes],
            }
        )
    return listed


def _message(event: Finished) -> dict[str, str | None]:
    """Content and refusal; who asked for data gets data or a refusal, as of OpenAI."""
    result = event.result
    form = result.provenance.format
    if isinstance(result, Abstention) and form is FormatType.JSON_SCHEMA:
        return {"content": None, "refusal": result.text}
    noted = notes(_citations(event)) if form is FormatType.TEXT else ""
    return {"content": result.text + noted, "refusal": None}


def _finish_reason(event: Finished) -> str:
    return "length" if isinstance(event.result, Answer) and event.result.is_cut else "stop"


def _citations(event: Finished) -> tuple[Citation, ...]:
    return event.result.citations if isinstance(event.result, Answer) else ()


def _address(citation: Citation) -> str:
    address = citation.source_uri or ""
    if is_web_address(address) or address.startswith("file:///"):
        return address
    return f"/v1/documents/{citation.document_id}"


def _pages(citation: Citation) -> str:
    first, last = citation.pages[0], citation.pages[-1]
    return f"p. {first}" if first == last else f"pp. {first}-{last}"


def _usage(event: Finished) -> dict[str, int]:
    usage = event.result.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
