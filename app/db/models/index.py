"""What index followers read: the log and the generations."""

from datetime import datetime

from sqlalchemy import ForeignKey, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class IndexLog(Base):
    """One change to what is searchable; numbers follow the order of commits.

    `kind` is `set` (the document's live version, readers or filters changed: read it anew) or
    `remove`.
    """

    __tablename__ = "index_log"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    document_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Generation(Base):
    """A saved index directory; `state` is `ready`, `active` or `retired`.

    `recall` is recall@10 of its vectors against the exact search; 1 where the search is exact.
    """

    __tablename__ = "generation"

    generation_id: Mapped[str] = mapped_column(primary_key=True)
    embedding_model_id: Mapped[int] = mapped_column(
        SmallInteger, ForeignKey("embedding_model.embedding_model_id")
    )
    text_fingerprint: Mapped[str]
    log_number: Mapped[int]
    chunks: Mapped[int]
    recall: Mapped[float] = mapped_column(server_default=text("1"))
    manifest_sha256: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    activated_at: Mapped[datetime | None]
