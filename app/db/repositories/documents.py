"""Documents and collections."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import TupleRow
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    any_,
    cast,
    delete,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text

from app.db.base import now
from app.db.models import Chunk, Collection, Document, DocumentVersion, ParsedText, Recipe
from app.db.session import Reader
from app.domain.access import AccessScope
from app.domain.documents import DocumentStatus, IndexedDocument, Passage
from app.domain.errors import Forbidden, NotFound
from app.domain.fusion import Fused
from app.domain.validity import SUPERSEDED


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document with its newest version."""

    document: Document
    version: DocumentVersion

    @property
    def status(self) -> DocumentStatus:
        """The newest version's status, or `deleted`."""
        if self.document.deleted_at is not None:
            return DocumentStatus.DELETED
        return DocumentStatus(self.version.status)


def readable(scope: AccessScope) -> ColumnElement[bool]:
    """The condition under which the caller may see a document that exists."""
    exists = Document.deleted_at.is_(None)
    if scope.is_admin:
        return exists
    shared = Document.readers.overlap(cast(sorted(scope.principals), ARRAY(Text)))
    return and_(exists, shared)


async def get_collection(session: AsyncSession, name: str) -> Collection:
    """Return a collection or raise NotFound."""
    found = await session.get(Collection, name)
    if found is None:
        raise NotFound("there is no such collection")
    return found


async def get_edited_collection(session: AsyncSession, scope: AccessScope, name: str) -> Collection:
    """Return a collection that the caller may put documents into.

    Raises:
        NotFound: There is none that the caller may read or edit.
        Forbidden: The caller may only read it.
    """
    found = await get_collection(session, name)
    if scope.may_edit(found.readers, found.editors):
        return found
    if scope.may_read(frozenset(found.readers)):
        raise Forbidden("only the editors of this collection may put documents into it")
    raise NotFound("there is no such collection")


async def collection_exists(session: AsyncSession, name: str) -> bool:
    """Whether there is such a collection."""
    return await session.get(Collection, name) is not None


async def ensure_collection(
    session: AsyncSession, name: str, readers: Sequence[str], description: str = ""
) -> None:
    """Create a collection unless it exists."""
    row = {
        "name": name,
        "description": description,
        "readers": list(readers),
        "editors": [],
        "created_at": now(),
    }
    await session.execute(insert(Collection).values(row).on_conflict_do_nothing())


async def list_collections(session: AsyncSession) -> Sequence[Collection]:
    """All collections by name."""
    return (await session.scalars(select(Collection).order_by(Collection.name))).all()


async def collection_is_empty(session: AsyncSession, name: str) -> bool:
    """Whether no document was ever stored in a collection that still exists."""
    found = select(Document.document_id).where(
        Document.collection == name, Document.deleted_at.is_(None)
    )
    return (await session.scalar(found.limit(1))) is None


async def is_untouched(session: AsyncSession) -> bool:
    """Whether no document was ever accepted."""
    return (await session.scalar(select(Document.document_id).limit(1))) is None


async def drop_collection(session: AsyncSession, name: str) -> None:
    """Remove a collection and the remains of its deleted documents."""
    await session.execute(delete(Document).where(Document.collection == name))
    await session.execute(delete(Collection).where(Collection.name == name))


async def lock_content(session: AsyncSession, collection: str, sha256: str) -> None:
    """Let uploads of the same bytes into one collection pass one after the other."""
    key = func.hashtextextended(literal(f"{collection}/{sha256}"), 0)
    await session.execute(select(func.pg_advisory_xact_lock(key)))


async def find_same_bytes(
    session: AsyncSession, scope: AccessScope, collection: str, sha256: str
) -> DocumentView | None:
    """Find a readable upload in the collection whose newest version has these bytes.

    A document of a source does not count: it would go with its file there.
    """
    query = _views().where(
        readable(scope),
        Document.collection == collection,
        DocumentVersion.sha256 == sha256,
        Document.source_id.is_(None),
    )
    return _view((await session.execute(query.limit(1))).first())


async def get_document(
    session: AsyncSession, scope: AccessScope, document_id: str, lock: bool = False
) -> DocumentView:
    """Return a document that the caller may see, or raise NotFound."""
    query = _views().where(Document.document_id == document_id, readable(scope))
    if lock:
        query = query.with_for_update(of=Document)
    view = _view((await session.execute(query)).first())
    if view is None:
        raise NotFound("there is no such document")
    return view


async def list_documents(
    session: AsyncSession,
    scope: AccessScope,
    *,
    collection: str | None,
    status: str | None,
    title: str | None,
    limit: int,
    before: str | None,
) -> list[DocumentView]:
    """Readable documents, newest first; `before` is the last id of the page before."""
    query = _views().where(readable(scope)).order_by(Document.document_id.desc()).limit(limit)
    if collection:
        query = query.where(Document.collection == collection)
    if status:
        query = query.where(DocumentVersion.status == status)
    if title:
        query = query.where(Document.title.icontains(title, autoescape=True))
    if before:
        query = query.where(Document.document_id < before)
    rows = (await session.execute(query)).all()
    return [DocumentView(document, version) for document, version in rows]


async def get_version(
    session: AsyncSession, document_id: str, version: int, lock: bool = False
) -> DocumentView | None:
    """A version with its document for the worker, whoever may read it; also a deleted one's."""
    query = (
        select(Document, DocumentVersion)
        .join(DocumentVersion, DocumentVersion.document_id == Document.document_id)
        .where(Document.document_id == document_id, DocumentVersion.version == version)
    )
    if lock:
        query = query.with_for_update()
    return _view((await session.execute(query)).first())


_PASSAGES = """
    SELECT c.chunk_id, c.document_id, c.version, c.ordinal, c.tokens, d.title, d.source_uri, c.text,
           c.context, c.pages, c.heading_path, c.char_start, c.char_end, v.language, d.updated_at,
           v.flags, c.gap, v.sha256
    FROM chunk c
    JOIN document d ON d.document_id = c.document_id AND d.live_version = c.version
    JOIN document_version v ON v.document_id = c.document_id AND v.version = c.version
    WHERE c.chunk_id = ANY(%(chunk_ids)s::bigint[]) AND d.deleted_at IS NULL
          AND (%(sees_all)s OR d.readers && %(principals)s::text[])
    """


async def load_passages(
    connection: Reader, scope: AccessScope, hits: Sequence[Fused]
) -> list[Passage]:
    """Load what the hits stand for, in their order, as far as it lives and the caller may read it.

    This is where rights and liveness are decided, whatever an index proposed.
    """
    parameters = {
        # As a literal, for psycopg takes long over a list.
        "chunk_ids": "{" + ",".join(str(hit.chunk_id) for hit in hits) + "}",
        "sees_all": scope.is_admin,
        "principals": sorted(scope.principals),
    }
    cursor = await connection.execute(_PASSAGES, parameters)
    found = {row[0]: row for row in await cursor.fetchall()}
    return [_passage(found[hit.chunk_id], hit) for hit in hits if hit.chunk_id in found]


def _passage(row: TupleRow, hit: Fused) -> Passage:
    return Passage(
        chunk_id=row[0],
        document_id=row[1],
        version=row[2],
        ordinal=row[3],
        tokens=row[4],
        gap=row[16],
        title=row[5],
        source_uri=row[6],
        text=row[7],
        context=row[8],
        pages=tuple(row[9]),
        heading_path=tuple(row[10]),
        char_start=row[11],
        char_end=row[12],
        language=row[13],
        updated_at=row[14],
        superseded=SUPERSEDED in row[15],
        score=hit.score,
        found_by=hit.found_by,
        similarity=hit.dense,
        document_sha256=row[17],
    )


async def get_text(session: AsyncSession, document_id: str, version: int) -> str | None:
    """The parsed text of a version."""
    found = await session.get(ParsedText, (document_id, version))
    return found.text if found else None


async def list_chunks(
    session: AsyncSession, document_id: str, version: int, limit: int, after: int
) -> Sequence[Chunk]:
    """Chunks of a version by the serving recipe, in their order, after an ordinal."""
    query = (
        select(Chunk)
        .join(Recipe, Recipe.recipe_id == Chunk.recipe_id)
        .where(
            Recipe.state == "serving",
            Chunk.document_id == document_id,
            Chunk.version == version,
            Chunk.ordinal > after,
        )
    )
    return (await session.scalars(query.order_by(Chunk.ordinal).limit(limit))).all()


async def live_versions(
    session: AsyncSession, collections: Sequence[str]
) -> Sequence[tuple[str, int]]:
    """The live documents of some collections that were made of a file, with their versions."""
    query = (
        select(ParsedText.document_id, ParsedText.version)
        .join(
            Document,
            (Document.document_id == ParsedText.document_id)
            & (Document.live_version == ParsedText.version),
        )
        .where(Document.collection.in_(collections), Document.deleted_at.is_(None))
        .order_by(ParsedText.document_id)
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def load_indexed(
    session: AsyncSession, recipe_id: int, document_ids: Sequence[str] | None = None
) -> dict[str, IndexedDocument]:
    """What a recipe's followers need of live documents: all, or those of these ids."""
    query = text(
        """
        SELECT d.document_id, d.collection, d.readers, v.language, v.media_type, d.updated_at,
               d.source_uri, :superseded = ANY(v.flags), array_agg(c.chunk_id ORDER BY c.chunk_id)
        FROM document d
        JOIN document_version v ON v.document_id = d.document_id AND v.version = d.live_version
        JOIN chunk c ON c.document_id = d.document_id AND c.version = d.live_version
            AND c.recipe_id = :recipe_id
        WHERE d.deleted_at IS NULL AND (:everything OR d.document_id = ANY(:ids))
        GROUP BY d.document_id, v.document_id, v.version
        """
    )
    parameters = {
        "recipe_id": recipe_id,
        "everything": document_ids is None,
        "ids": list(document_ids or ()),
        "superseded": SUPERSEDED,
    }
    return {
        row[0]: IndexedDocument(
            document_id=row[0],
            collection=row[1],
            readers=frozenset(row[2]),
            language=row[3],
            media_type=row[4],
            updated_at=row[5],
            source_uri=row[6],
            superseded=row[7],
            chunk_ids=tuple(row[8]),
        )
        for row in await session.execute(query, parameters)
    }


async def live_documents(
    session: AsyncSession, document_ids: Sequence[str]
) -> set[tuple[str, int]]:
    """Which of these documents are still there, each with its live version."""
    query = select(Document.document_id, Document.live_version).where(
        Document.document_id == any_(cast(list(document_ids), ARRAY(Text))),
        Document.deleted_at.is_(None),
        Document.live_version.is_not(None),
    )
    return {(document_id, version or 0) for document_id, version in await session.execute(query)}


def _views() -> Select[Document, DocumentVersion]:
    return select(Document, DocumentVersion).join(
        DocumentVersion,
        (DocumentVersion.document_id == Document.document_id)
        & (DocumentVersion.version == Document.latest_version),
    )


def _view(row: Row[Document, DocumentVersion] | None) -> DocumentView | None:
    return None if row is None else DocumentView(row[0], row[1])
