"""Conversations, answers with their evidence, and feedback."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now
from app.domain.assistants import DEFAULT_ASSISTANT, FormatType


class Conversation(Base):
    """A user's thread of questions."""

    __tablename__ = "conversation"
    __table_args__ = (
        Index("ix_conversation_user_id_conversation_id", "user_id", "conversation_id"),
    )

    conversation_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    title: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class AnswerRow(Base):
    """A question and how it ended."""

    __tablename__ = "answer"
    __table_args__ = (Index("ix_answer_conversation_id_answer_id", "conversation_id", "answer_id"),)

    answer_id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversation.conversation_id", ondelete="CASCADE")
    )
    user_id: Mapped[str]
    question: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    text: Mapped[str]
    model: Mapped[str]
    adapter: Mapped[str | None]
    generation_id: Mapped[str]
    prompt_version: Mapped[str]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    timings_ms: Mapped[dict[str, float]]
    assistant: Mapped[str] = mapped_column(server_default=DEFAULT_ASSISTANT)
    format: Mapped[str] = mapped_column(server_default=FormatType.TEXT)
    data: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class AnswerPassage(Base):
    """A passage that stood in an answer's prompt."""

    __tablename__ = "answer_passage"

    answer_id: Mapped[str] = mapped_column(
        ForeignKey("answer.answer_id", ondelete="CASCADE"), primary_key=True
    )
    rank: Mapped[int] = mapped_column(primary_key=True)
    chunk_id: Mapped[int]
    document_id: Mapped[str]
    version: Mapped[int]
    char_start: Mapped[int]
    char_end: Mapped[int]
    score: Mapped[float]


class AnswerCitation(Base):
    """A citation of an answer; see app.domain.answers.Citation."""

    __tablename__ = "answer_citation"

    answer_id: Mapped[str] = mapped_column(
        ForeignKey("answer.answer_id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    marker: Mapped[int]
    chunk_id: Mapped[int]
    document_id: Mapped[str]
    version: Mapped[int]
    title: Mapped[str]
    source_uri: Mapped[str | None]
    pages: Mapped[list[int]]
    quote: Mapped[str]
    char_start: Mapped[int]
    char_end: Mapped[int]
    answer_start: Mapped[int]
    answer_end: Mapped[int]
    support: Mapped[float]
    layers: Mapped[dict[str, object] | None]
    document_sha256: Mapped[str | None]


class FeedbackRow(Base):
    """What a user thought of an answer."""

    __tablename__ = "feedback"

    feedback_id: Mapped[str] = mapped_column(primary_key=True)
    answer_id: Mapped[str] = mapped_column(
        ForeignKey("answer.answer_id", ondelete="CASCADE"), index=True
    )
    user_id: Mapped[str]
    rating: Mapped[str]
    comment: Mapped[str | None]
    correction: Mapped[str | None]
    reasons: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)
