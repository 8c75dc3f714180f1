"""Collections, documents, their versions, parsed text, chunks and vectors."""

from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class Collection(Base):
    """A named set of documents with default readers, and with editors, else its readers."""

    __tablename__ = "collection"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    readers: Mapped[list[str]]
    editors: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Document(Base):
    """A document through all its versions; `live_version` is the one that search sees.

    `source_id` is the source, or the document of the ZIP archive, that it came from; `source_key`
    its name there, `source_mark` what changes with its content there. One that a person deleted
    keeps them, so that it does not come again.
    """

    __tablename__ = "document"
    __table_args__ = (
        Index("ix_document_readers", "readers", postgresql_using="gin"),
        Index("ix_document_collection_document_id", "collection", "document_id"),
        Index(
            "uq_document_source_id_source_key",
            "source_id",
            "source_key",
            unique=True,
            postgresql_where=text("source_id IS NOT NULL"),
        ),
    )

    document_id: Mapped[str] = mapped_column(primary_key=True)
    collection: Mapped[str] = mapped_column(ForeignKey("collection.name"))
    title: Mapped[str]
    title_is_given: Mapped[bool] = mapped_column(default=False)
    source_uri: Mapped[str | None]
    source_id: Mapped[str | None]
    source_key: Mapped[str | None]
    source_mark: Mapped[str | None]
    readers: Mapped[list[str]]
    latest_version: Mapped[int] = mapped_column(default=1)
    live_version: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class DocumentVersion(Base):
    """One upload of a document and what became of it; `title` is the one that it is searched by."""

    __tablename__ = "document_version"
    __table_args__ = (Index("ix_document_version_sha256", "sha256"),)

    document_id: Mapped[str] = mapped_column(
        ForeignKey("document.document_id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str]
    title: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    language: Mapped[str | None]
    pages: Mapped[int | None]
    chunks: Mapped[int] = mapped_column(default=0)
    flags: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class ParsedText(Base):
    """The text that every offset of a version points into, with its blocks.

    `blocks` rows are `[kind, char_start, char_end, level, page]`.
    """

    __tablename__ = "parsed_text"
    __table_args__ = (
        ForeignKeyConstraint(
            ["document_id", "version"],
            ["document_version.document_id", "document_version.version"],
            ondelete="CASCADE",
        ),
    )

    document_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    blocks: Mapped[list[list[object]]]


class Chunk(Base):
    """A span of a version's parsed text, cut and embedded by a recipe.

    Only the chunks of live versions are searched; where a new version says the same again, the
    chunk moves on to it. `version` is None while the chunk waits for its document to be published.
    `gap` is the white space up to the next chunk; None where there is no next one right after it.
    `content_sha256` is of what the embedder and the lexical index read.
    """

    __tablename__ = "chunk"
    __table_args__ = (
        ForeignKeyConstraint(
            ["document_id", "version"],
            ["document_version.document_id", "document_version.version"],
            ondelete="CASCADE",
        ),
        Index("ix_chunk_document_id_recipe_id", "document_id", "recipe_id", "version"),
        Index("ix_chunk_recipe_id_chunk_id", "recipe_id", "chunk_id"),
    )

    chunk_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("document.document_id", ondelete="CASCADE"))
    recipe_id: Mapped[int] = mapped_column(SmallInteger, ForeignKey("recipe.recipe_id"))
    version: Mapped[int | None]
    ordinal: Mapped[int]
    char_start: Mapped[int]
    char_end: Mapped[int]
    text: Mapped[str]
    context: Mapped[str]
    heading_path: Mapped[list[str]]
    pages: Mapped[list[int]]
    tokens: Mapped[int]
    gap: Mapped[str | None]
    content_sha256: Mapped[bytes] = mapped_column(LargeBinary)


class Embedding(Base):
    """A chunk's vector: little-endian float32, L2-normalised."""

    __tablename__ = "embedding"

    chunk_id: Mapped[int] = mapped_column(
        ForeignKey("chunk.chunk_id", ondelete="CASCADE"), primary_key=True
    )
    vector: Mapped[bytes] = mapped_column(LargeBinary)
