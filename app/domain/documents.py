"""What is stored about documents: versions, blocks of parsed text, chunks, passages, jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class MediaType(StrEnum):
    """The file types that Opora takes; ZIP archives are unpacked, all others are parsed."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    TEXT = "text/plain"
    CSV = "text/csv"
    EML = "message/rfc822"
    XLS = "application/vnd.ms-excel"
    ODT = "application/vnd.oasis.opendocument.text"
    ODS = "application/vnd.oasis.opendocument.spreadsheet"
    ODP = "application/vnd.oasis.opendocument.presentation"
    RTF = "application/rtf"
    JSON = "application/json"
    JSONL = "application/jsonl"
    MSG = "application/vnd.ms-outlook"
    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    WEBP = "image/webp"
    BMP = "image/bmp"
    GIF = "image/gif"
    ZIP = "application/zip"


class DocumentStatus(StrEnum):
    """Where a document version stands; `TERMINAL` ones change only by a person's act."""

    RECEIVED = "received"
    PARSING = "parsing"
    EMBEDDING = "embedding"
    LIVE = "live"
    EMPTY = "empty"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    DELETED = "deleted"


TERMINAL = frozenset(DocumentStatus) - {
    DocumentStatus.RECEIVED,
    DocumentStatus.PARSING,
    DocumentStatus.EMBEDDING,
}


CONTAINER = "container"
"""The flag of a document whose text lies in its members alone: a ZIP archive."""


class BlockKind(StrEnum):
    """The structure that a parser found."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A structural piece of the parsed text, `text[char_start:char_end]`.

    Offsets count Unicode code points. `level` is the heading's depth from 1, else 0. `page` is the
    page or slide number from 1, None where the format has none. Tables are Markdown tables whose
    first two lines are the header and its rule.
    """

    kind: BlockKind
    char_start: int
    char_end: int
    level: int = 0
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A file's text and its structure; every later offset points into `text`.

    `blocks` are in order, do not overlap and cover all of the text but white space. `flags` names
    what a reader of the document should know ("plain_text_fallback", "replaced_characters", ...).
    """

    text: str
    blocks: tuple[Block, ...]
    title: str | None = None
    pages: int | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk before it has an id: `text == parsed.text[char_start:char_end]`.

    `context` repeats what the span needs to be understood but does not hold (a table's header).
    """

    ordinal: int
    char_start: int
    char_end: int
    text: str
    context: str
    heading_path: tuple[str, ...]
    pages: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as search gives it, loaded from SQL under the caller's AccessScope.

    Neighbours that were found too may be joined to it; `chunk_id` and `ordinal` are then those of
    the best one. `similarity` is the cosine to the question, 0 when the dense leg did not find it;
    `coverage` in [0, 1] is the share of the question's keys that it holds, rare keys weighing more.
    `gap` is the white space up to the next chunk, None where none follows at once.
    `duplicates` are other readable documents that say the same in nearly the same words.
    `document_sha256` is of the document's original bytes.
    """

    chunk_id: int
    document_id: str
    version: int
    ordinal: int
    tokens: int
    gap: str | None
    title: str
    source_uri: str | None
    text: str
    context: str
    pages: tuple[int, ...]
    heading_path: tuple[str, ...]
    char_start: int
    char_end: int
    language: str | None
    updated_at: datetime
    superseded: bool = False
    score: float = 0.0
    rank: int = 0
    found_by: tuple[str, ...] = ()
    similarity: float = 0.0
    coverage: float = 0.0
    duplicates: tuple[str, ...] = ()
    document_sha256: str | None = None


def index_text(title: str, heading_path: Sequence[str], context: str, text: str) -> str:
    """What both search legs read of a chunk: where it stands, then what it says."""
    headings = [title, *(heading for heading in heading_path if heading != title)]
    return "\n".join(part for part in (*headings, context, text) if part)


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Narrows a search; an absent field narrows nothing."""

    collections: tuple[str, ...] = ()
    language: str | None = None
    media_type: str | None = None
    updated_after: datetime | None = None
    source_uri_prefix: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is narrowed."""
        return self == SearchFilters()


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What the index followers know of a live document, to filter inside the search."""

    document_id: str
    collection: str
    readers: frozenset[str]
    language: str | None
    media_type: str
    updated_at: datetime
    source_uri: str | None
    superseded: bool
    chunk_ids: tuple[int, ...] = field(repr=False)
