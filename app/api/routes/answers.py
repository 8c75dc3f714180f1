"""Search, questions, conversations, feedback."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from app.api import schemas
from app.api.dependencies import Asker, Cursor, Limit, Wired
from app.api.errors import problem
from app.api.streams import sse, streamed, unless_left
from app.db.base import new_id
from app.db.models import FeedbackRow
from app.db.repositories import answers as answer_rows
from app.domain.assistants import Assistant
from app.domain.documents import SearchFilters
from app.domain.errors import InvalidField, OporaError
from app.domain.follow_ups import Asked
from app.services.answering import AnswerEvent, Finished, Retrieved
from app.services.drafts import Cited, Question, Token
from app.services.retrieval import SearchOptions

router = APIRouter(prefix="/v1", tags=["answers"])


def checked_text(field: str, text: str, longest: int) -> str:
    """A question or query as given, or InvalidField naming the limit."""
    if not text.strip():
        raise InvalidField(field, "is empty")
    if len(text) > longest:
        raise InvalidField(field, f"has {len(text)} characters; the limit is {longest}")
    if not any(letter.isalnum() for letter in text):
        raise InvalidField(field, "holds no word or number")
    if "\x00" in text:
        raise InvalidField(field, "holds a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidField(field, "holds half a character")
    return text


def searched_collections(assistant: Assistant, wanted: Sequence[str]) -> list[str]:
    """Those that both the assistant and the caller narrow the search to; none narrows nothing.

    Raises:
        InvalidField: The assistant searches none of the wanted ones.
    """
    if not assistant.collections or not wanted:
        return list(wanted or assistant.collections)
    both = sorted(set(assistant.collections).intersection(wanted))
    if not both:
        raise InvalidField("collections", f"the assistant {assistant.name!r} searches none of them")
    return both


def _filters(filters: schemas.Filters, collections: list[str]) -> SearchFilters:
    return SearchFilters(collections=tuple(sorted(set(collections))), **filters.model_dump())


@router.post("/search")
async def search(
    services: Wired, caller: Asker, body: schemas.SearchRequest
) -> schemas.SearchResponse:
    """Find passages."""
    query = checked_text("query", body.query, services.settings.http.max_question_chars)
    found = await services.retrieval.search(
        caller,
        Asked(query),
        body.limit,
        SearchOptions(
            filters=_filters(body.filters, body.collections),
            mode=body.mode,
            prefer_recent=body.prefer_recent,
        ),
    )
    await services.audit.searched(caller, query, found)
    return schemas.SearchResponse(
        passages=[schemas.Passage.of(passage) for passage in found.passages],
        searched_for=found.query.text,
        generation_id=found.generation_id,
        timings_ms=found.timings_ms,
    )


@router.post("/ask", response_model=schemas.AskResponse)
async def ask(
    request: Request, services: Wired, caller: Asker, body: schemas.AskRequest
) -> Response | schemas.AskResponse:
    """Answer a question; with `stream: true` as server-sent events."""
    assistant = await services.assistants.get(body.assistant)
    collections = searched_collections(assistant, body.collections)
    question = Question(
        text=checked_text("question", body.question, services.settings.http.max_question_chars),
        conversation_id=body.conversation_id,
        filters=_filters(body.filters, collections),
        language=None if body.language == "auto" else body.language,
        assistant=assistant,
        answer_format=body.response_format.domain() if body.response_format else None,
        stages=body.stages,
    )
    events = services.answering.ask(caller, question)
    if body.stream:
        return await streamed(request, events, _as_sse)
    return await unless_left(request, _last(events))


async def _last(events: AsyncGenerator[AnswerEvent, None]) -> schemas.AskResponse:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                return schemas.AskResponse.of(event)
    raise AssertionError("an answer always finishes or raises")


async def _as_sse(events: AsyncGenerator[AnswerEvent, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            match event:
                case Retrieved(passages, generation_id):
                    found = [schemas.Passage.of(p).model_dump(mode="json") for p in passages]
                    yield sse("retrieved", {"passages": found, "generation_id": generation_id})
                case Token(text):
                    yield sse("token", {"text": text})
                case Cited(citation):
                    yield sse("cited", schemas.Citation.of(citation).model_dump(mode="json"))
                case Finished():
                    yield sse("finished", schemas.AskResponse.of(event).model_dump(mode="json"))
    except OporaError as error:
        yield sse("failed", problem(error))
    finally:
        await events.aclose()


@router.get("/conversations")
async def list_conversations(
    services: Wired, caller: Asker, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.ConversationView]:
    """The caller's conversations, newest first."""
    async with services.database.transaction() as session:
        rows = await answer_rows.list_conversations(session, caller, limit + 1, cursor)
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.ConversationView.model_validate(row, from_attributes=True) for row in page],
        next_cursor=page[-1].conversation_id if len(rows) > limit else None,
    )


@router.get("/conversations/{conversation_id}")
async def get_conversation(
    services: Wired, caller: Asker, conversation_id: str
) -> schemas.ConversationDetail:
    """A conversation with its turns; answers on documents lost to the caller are withheld."""
    async with services.database.transaction() as session:
        row = await answer_rows.get_conversation(session, caller, conversation_id)
        found = await answer_rows.list_answers(session, conversation_id)
        ids = [turn.answer_id for turn in found]
        lost = await answer_rows.with_lost_sources(session, caller, ids)
        cited = {
            answer_id: await answer_rows.list_citations(session, answer_id) for answer_id in ids
        }
    view = schemas.ConversationView.model_validate(row, from_attributes=True)
    turns = [schemas.Turn.of(one, cited[one.answer_id], one.answer_id in lost) for one in found]
    return schemas.ConversationDetail(**view.model_dump(), turns=turns)


@router.patch("/conversations/{conversation_id}")
async def change_conversation(
    services: Wired, caller: Asker, conversation_id: str, change: schemas.ConversationChange
) -> schemas.ConversationView:
    """Change a conversation's title."""
    async with services.database.transaction() as session:
        row = await answer_rows.get_conversation(session, caller, conversation_id)
        row.title = change.title
        return schemas.ConversationView.model_validate(row, from_attributes=True)


@router.delete("/conversations/{conversation_id}", status_code=204)
async def delete_conversation(services: Wired, caller: Asker, conversation_id: str) -> Response:
    """Delete a conversation with its answers."""
    async with services.database.transaction() as session:
        await session.delete(await answer_rows.get_conversation(session, caller, conversation_id))
    return Response(status_code=204)


@router.post("/answers/{answer_id}/feedback", status_code=201)
async def add_feedback(
    services: Wired, caller: Asker, answer_id: str, feedback: schemas.Feedback
) -> dict[str, str]:
    """Say what was good or bad about an answer."""
    async with services.database.transaction() as session:
        await answer_rows.get_answer(session, caller, answer_id)
        row = FeedbackRow(
            feedback_id=new_id("fbk"),
            answer_id=answer_id,
            user_id=caller.user_id,
            **feedback.model_dump(),
        )
        session.add(row)
        return {"feedback_id": row.feedback_id}
