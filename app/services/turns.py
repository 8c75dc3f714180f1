"""The turns of a conversation: read for the next question, stored with their evidence."""

import re
from dataclasses import asdict
from html import unescape

from app.db.base import new_id, now
from app.db.models import AnswerCitation, AnswerPassage, AnswerRow, Conversation
from app.db.repositories import access as access_rows
from app.db.repositories import answers as answer_rows
from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.answers import Abstention, Answer, AnswerStatus, Citation
from app.domain.assistants import FormatType
from app.domain.errors import Conflict
from app.domain.follow_ups import Turn

_LONGEST_TITLE = 80  # characters
_TAG = re.compile(r"<[^>]*>")


async def read_turns(
    database: Database, scope: AccessScope, conversation_id: str | None
) -> list[Turn]:
    """The turns so far, oldest first; none for a new conversation.

    The answer of a turn is left out once a document that it cites is gone, changed or not the
    caller's to read any more.

    Raises:
        NotFound: The conversation is not the caller's.
    """
    if conversation_id is None:
        return []
    async with database.transaction() as session:
        await answer_rows.get_conversation(session, scope, conversation_id)
        rows = await answer_rows.list_answers(session, conversation_id)
        good = await answer_rows.with_readable_sources(
            session, scope, [row.answer_id for row in rows]
        )
    return [Turn(row.question, _told(row) if row.answer_id in good else "") for row in rows]


def _told(row: AnswerRow) -> str:
    """Return what an answer says, without its form."""
    if row.format != FormatType.HTML:
        return row.text
    said, _, _ = row.text.partition("<ol>")
    return unescape(_TAG.sub("", said))


async def store_turn(
    database: Database,
    scope: AccessScope,
    answer_id: str,
    conversation_id: str | None,
    question: str,
    result: Answer | Abstention,
) -> str:
    """Store a turn with its evidence, in a new conversation where none is named.

    Returns:
        The conversation's id.

    Raises:
        Conflict: A cited document went away while the model wrote.
        NotFound: The conversation is not the caller's.
    """
    citations = result.citations if isinstance(result, Answer) else ()
    async with database.transaction() as session:
        cited = {(c.document_id, c.version) for c in citations}
        live = await document_rows.live_documents(session, sorted({d for d, _ in cited}))
        if not cited <= live:
            raise Conflict(
                "a document behind this answer was changed or deleted meanwhile; ask again"
            )
        if conversation_id is None:
            conversation_id = new_id("con")
            title = question.strip().splitlines()[0][:_LONGEST_TITLE]
            session.add(
                Conversation(conversation_id=conversation_id, user_id=scope.user_id, title=title)
            )
        else:
            conversation = await answer_rows.get_conversation(session, scope, conversation_id)
            conversation.updated_at = now()
        await session.flush()
        session.add(_row(answer_id, conversation_id, scope, question, result))
        await session.flush()
        session.add_all(
            AnswerPassage(
                answer_id=answer_id,
                rank=rank,
                chunk_id=passage.chunk_id,
                document_id=passage.document_id,
                version=passage.version,
                char_start=passage.char_start,
                char_end=passage.char_end,
                score=passage.score,
            )
            for rank, passage in enumerate(result.passages, start=1)
        )
        session.add_all(
            AnswerCitation(answer_id=answer_id, ordinal=ordinal, **_citation_fields(citation))
            for ordinal, citation in enumerate(citations, start=1)
        )
        provenance = result.provenance
        await access_rows.record(
            session,
            scope.user_id,
            "answered",
            answer_id,
            conversation=conversation_id,
            status="answered" if isinstance(result, Answer) else "abstained",
            reason=None if isinstance(result, Answer) else str(result.reason),
            model=provenance.model,
            adapter=provenance.adapter,
            prompt=provenance.prompt_version,
            documents=sorted({citation.document_id for citation in citations}),
        )
    return conversation_id


def _row(
    answer_id: str,
    conversation_id: str,
    scope: AccessScope,
    question: str,
    result: Answer | Abstention,
) -> AnswerRow:
    answered = isinstance(result, Answer)
    return AnswerRow(
        answer_id=answer_id,
        conversation_id=conversation_id,
        user_id=scope.user_id,
        question=question,
        status=AnswerStatus.ANSWERED if answered else AnswerStatus.ABSTAINED,
        reason=None if isinstance(result, Answer) else result.reason,
        text=result.text,
        model=result.provenance.model,
        adapter=result.provenance.adapter,
        assistant=result.provenance.assistant,
        format=result.provenance.format,
        data=result.data if isinstance(result, Answer) else None,
        generation_id=result.provenance.generation_id,
        prompt_version=result.provenance.prompt_version,
        prompt_tokens=result.usage.prompt_tokens,
        completion_tokens=result.usage.completion_tokens,
        timings_ms=result.timings_ms,
    )


def _citation_fields(citation: Citation) -> dict[str, object]:
    fields = {name: getattr(citation, name) for name in Citation.__slots__}
    layers = asdict(citation.layers) if citation.layers else None
    return fields | {"pages": list(citation.pages), "layers": layers}
