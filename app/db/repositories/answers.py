"""Conversations, answers and feedback."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import AnswerCitation, AnswerRow, Conversation, Document
from app.db.repositories.documents import readable
from app.domain.access import AccessScope
from app.domain.errors import NotFound


async def get_conversation(
    session: AsyncSession, scope: AccessScope, conversation_id: str
) -> Conversation:
    """Return a conversation of the caller's, or raise NotFound."""
    found = await session.get(Conversation, conversation_id)
    if found is None or found.user_id != scope.user_id:
        raise NotFound("there is no such conversation")
    return found


async def list_conversations(
    session: AsyncSession, scope: AccessScope, limit: int, before: str | None
) -> Sequence[Conversation]:
    """The caller's conversations, newest first."""
    query = select(Conversation).where(Conversation.user_id == scope.user_id)
    if before:
        query = query.where(Conversation.conversation_id < before)
    query = query.order_by(Conversation.conversation_id.desc()).limit(limit)
    return (await session.scalars(query)).all()


async def list_answers(session: AsyncSession, conversation_id: str) -> Sequence[AnswerRow]:
    """The turns of a conversation, in order."""
    query = select(AnswerRow).where(AnswerRow.conversation_id == conversation_id)
    return (await session.scalars(query.order_by(AnswerRow.answer_id))).all()


async def with_readable_sources(
    session: AsyncSession, scope: AccessScope, answer_ids: Sequence[str]
) -> set[str]:
    """Those of the answers all of whose cited versions are live and readable to the caller."""
    live = and_(
        Document.document_id == AnswerCitation.document_id,
        Document.live_version == AnswerCitation.version,
        readable(scope),
    )
    query = (
        select(AnswerCitation.answer_id)
        .outerjoin(Document, live)
        .where(AnswerCitation.answer_id.in_(answer_ids))
        .group_by(AnswerCitation.answer_id)
        .having(func.count() == func.count(Document.document_id))
    )
    return set((await session.scalars(query)).all())


async def with_lost_sources(
    session: AsyncSession, scope: AccessScope, answer_ids: Sequence[str]
) -> set[str]:
    """Those of the answers that cite a document which is gone or not the caller's to read."""
    seen = and_(Document.document_id == AnswerCitation.document_id, readable(scope))
    query = (
        select(AnswerCitation.answer_id)
        .outerjoin(Document, seen)
        .where(AnswerCitation.answer_id.in_(answer_ids), Document.document_id.is_(None))
    )
    return set((await session.scalars(query)).all())


async def delete_conversations(session: AsyncSession, before: datetime, most: int) -> int:
    """Remove at most so many conversations whose last turn is older, with their answers."""
    old = (
        select(Conversation.conversation_id)
        .where(Conversation.updated_at < before)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    query = delete(Conversation).where(Conversation.conversation_id.in_(old))
    result = await session.execute(query.execution_options(synchronize_session=False))
    return int(getattr(result, "rowcount", 0))


async def list_citations(session: AsyncSession, answer_id: str) -> Sequence[AnswerCitation]:
    """The citations of an answer, in order."""
    query = select(AnswerCitation).where(AnswerCitation.answer_id == answer_id)
    return (await session.scalars(query.order_by(AnswerCitation.ordinal))).all()


async def get_answer(session: AsyncSession, scope: AccessScope, answer_id: str) -> AnswerRow:
    """Return an answer of the caller's, or raise NotFound."""
    found = await session.get(AnswerRow, answer_id)
    if found is None or found.user_id != scope.user_id:
        raise NotFound("there is no such answer")
    return found
