"""The company's glossary."""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class GlossaryRow(Base):
    """The whole glossary in one row, or none: each change is a new `updated_at`.

    An entry is its term, its expansions and its language.
    """

    __tablename__ = "glossary"
    __table_args__ = (CheckConstraint("glossary_id = 1", name="one_row"),)

    glossary_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entries: Mapped[list[tuple[str, list[str], str | None]]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]
