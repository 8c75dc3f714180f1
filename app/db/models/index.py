"""What index followers read: the log, the recipes and the generations."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, SmallInteger, text
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


class Recipe(Base):
    """How documents become chunks and vectors: an embedder, and how large its chunks are.

    `state` is `serving` for the one that questions are answered with; the others are `kept`, or
    `retired` while their chunks are being deleted.
    `embedder` is what the embedder is built from, None where an earlier release did not write it
    down; `chunk_tokens` and `chunking` say how texts are cut.
    """

    __tablename__ = "recipe"
    __table_args__ = (
        Index(
            "uq_recipe_serving", "state", unique=True, postgresql_where=text("state = 'serving'")
        ),
        Index("uq_recipe_fingerprint", "fingerprint", "chunk_tokens", "chunking", unique=True),
    )

    recipe_id: Mapped[int] = mapped_column(SmallInteger, Identity(), primary_key=True)
    fingerprint: Mapped[str]
    dimension: Mapped[int]
    embedder: Mapped[dict[str, object] | None]
    chunk_tokens: Mapped[int]
    chunking: Mapped[str]
    state: Mapped[str]


class Generation(Base):
    """A saved index directory of a recipe; `state` is `ready`, `active` or `retired`.

    The active one is what a process that starts loads for that recipe. `recall` is recall@10 of its
    vectors against the exact search; 1 where the search is exact.
    """

    __tablename__ = "generation"

    generation_id: Mapped[str] = mapped_column(primary_key=True)
    recipe_id: Mapped[int] = mapped_column(SmallInteger, ForeignKey("recipe.recipe_id"))
    text_fingerprint: Mapped[str]
    log_number: Mapped[int]
    chunks: Mapped[int]
    recall: Mapped[float] = mapped_column(server_default=text("1"))
    manifest_sha256: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    activated_at: Mapped[datetime | None]
