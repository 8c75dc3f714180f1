"""Assistants."""

from datetime import datetime

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class AssistantRow(Base):
    """See app.domain.assistants.Assistant; the one of the name `opora` is always there."""

    __tablename__ = "assistant"

    name: Mapped[str] = mapped_column(primary_key=True)
    instructions: Mapped[str]
    tone: Mapped[str]
    language: Mapped[str | None]
    collections: Mapped[list[str]]
    format: Mapped[str]
    json_schema: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    model: Mapped[str | None]
    adapter: Mapped[str | None]
    temperature: Mapped[float]
    stages: Mapped[int]
    unsupported: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
