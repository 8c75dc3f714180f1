"""Documents and collections."""

import asyncio
import contextlib
import hashlib
import secrets
import tempfile
from pathlib import Path, PurePath
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.api import schemas
from app.api.dependencies import Admin, Cursor, Ingester, Limit, Reader, Wired
from app.db.repositories import access as access_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import sources as source_rows
from app.domain.access import AccessScope, check_principal
from app.domain.documents import DocumentStatus
from app.domain.errors import Conflict, InvalidField, NotFound, StorageUnavailable
from app.services.documents import DEFAULT_COLLECTION, Upload

router = APIRouter(prefix="/v1", tags=["documents"])

_LONGEST_NAME = 255
Received = Annotated[UploadFile, File(description="The file.")]


@router.post("/documents", status_code=202)
async def add_document(
    services: Wired,
    caller: Ingester,
    file: Received,
    collection: Annotated[str, Form()] = DEFAULT_COLLECTION,
    title: Annotated[str | None, Form(max_length=500)] = None,
    source_uri: Annotated[str | None, Form(max_length=2000)] = None,
    readers: Annotated[list[str] | None, Form()] = None,
    batch: Annotated[str | None, Form(max_length=100)] = None,
) -> schemas.Accepted:
    """Accept a document; a job makes it searchable."""
    upload = await asyncio.to_thread(_receive, file)
    try:
        accepted = await services.documents.add(
            caller,
            upload,
            collection,
            title or None,
            source_uri or None,
            readers or (),
            batch or None,
        )
    finally:
        upload.path.unlink(missing_ok=True)
    return schemas.Accepted.of(accepted)


@router.put("/documents/{document_id}", status_code=202)
async def replace_document(
    services: Wired,
    caller: Ingester,
    document_id: str,
    file: Received,
    title: Annotated[str | None, Form(max_length=500)] = None,
) -> schemas.Accepted:
    """Accept a new version; the old one answers until the new one is live."""
    upload = await asyncio.to_thread(_receive, file)
    try:
        accepted = await services.documents.replace(caller, document_id, upload, title or None)
    finally:
        upload.path.unlink(missing_ok=True)
    return schemas.Accepted.of(accepted)


@router.get("/documents")
async def list_documents(
    services: Wired,
    caller: Reader,
    collection: str | None = None,
    status: DocumentStatus | None = None,
    q: Annotated[str | None, Query(description="Part of the title.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.Page[schemas.Document]:
    """Documents that the caller may see, newest first."""
    async with services.database.transaction() as session:
        views = await document_rows.list_documents(
            session,
            caller,
            collection=collection,
            status=status,
            title=q,
            limit=limit + 1,
            before=cursor,
        )
    page = views[:limit]
    return schemas.Page(
        items=[schemas.Document.of(view) for view in page],
        next_cursor=page[-1].document.document_id if len(views) > limit else None,
    )


@router.get("/documents/{document_id}")
async def get_document(services: Wired, caller: Reader, document_id: str) -> schemas.Document:
    """One document."""
    async with services.database.transaction() as session:
        return schemas.Document.of(await document_rows.get_document(session, caller, document_id))


@router.get("/documents/{document_id}/content")
async def get_content(
    services: Wired, caller: Reader, document_id: str, version: int | None = None
) -> FileResponse:
    """The original bytes, by default of the newest version; always as a download."""
    async with services.database.transaction() as session:
        view = await document_rows.get_document(session, caller, document_id)
        if version is not None:
            found = await document_rows.get_version(session, document_id, version)
            if found is None:
                raise NotFound(f"document {document_id!r} has no version {version}")
            view = found
        await _opened(session, caller, document_id, view.version.version, "content")
    path = services.blobs.local_path(view.version.sha256)
    return FileResponse(path, media_type=view.version.media_type, filename=view.version.filename)


@router.get("/documents/{document_id}/text")
async def get_text(
    services: Wired, caller: Reader, document_id: str, version: int | None = None
) -> PlainTextResponse:
    """The parsed text that all offsets point into; by default the live version's."""
    async with services.database.transaction() as session:
        view = await document_rows.get_document(session, caller, document_id)
        number = version or view.document.live_version or view.version.version
        text = await document_rows.get_text(session, document_id, number)
        if text is None:
            raise NotFound(f"version {number} of document {document_id!r} has no text")
        await _opened(session, caller, document_id, number, "text")
    return PlainTextResponse(text)


@router.get("/documents/{document_id}/chunks")
async def list_chunks(
    services: Wired, caller: Reader, document_id: str, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.Chunk]:
    """The chunks of the live version, in order."""
    if cursor is not None and not cursor.isdigit():
        raise InvalidField("cursor", "not one that a page before gave")
    async with services.database.transaction() as session:
        view = await document_rows.get_document(session, caller, document_id)
        version = view.document.live_version or view.version.version
        after = int(cursor) if cursor else -1
        rows = await document_rows.list_chunks(session, document_id, version, limit + 1, after)
        await _opened(session, caller, document_id, version, "chunks")
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.Chunk.of(row) for row in page],
        next_cursor=str(page[-1].ordinal) if len(rows) > limit else None,
    )


@router.patch("/documents/{document_id}")
async def change_document(
    services: Wired, caller: Ingester, document_id: str, change: schemas.DocumentChange
) -> schemas.Document:
    """Change title, readers or collection."""
    view = await services.documents.change(
        caller, document_id, change.title, change.readers, change.collection
    )
    return schemas.Document.of(view)


@router.delete("/documents/{document_id}", status_code=204)
async def delete_document(services: Wired, caller: Ingester, document_id: str) -> Response:
    """Delete: from this answer on, the document is in no other."""
    await services.documents.delete(caller, document_id)
    return Response(status_code=204)


@router.get("/collections")
async def list_collections(services: Wired, caller: Reader) -> schemas.Page[schemas.Collection]:
    """All collections whose readers or editors the caller is among."""
    async with services.database.transaction() as session:
        rows = await document_rows.list_collections(session)
    seen = [row for row in rows if caller.may_read(frozenset(row.readers + row.editors))]
    return schemas.Page(items=[schemas.Collection.of(row) for row in seen], next_cursor=None)


@router.post("/collections", status_code=201)
async def add_collection(
    services: Wired, _: Admin, new: schemas.NewCollection
) -> schemas.Collection:
    """Make a collection."""
    readers = sorted({check_principal(reader) for reader in new.readers})
    async with services.database.transaction() as session:
        if await document_rows.collection_exists(session, new.name):
            raise Conflict(f"there is already a collection {new.name!r}")
        await document_rows.ensure_collection(session, new.name, readers, new.description)
        row = await document_rows.get_collection(session, new.name)
        row.editors = sorted({check_principal(editor) for editor in new.editors})
        return schemas.Collection.of(row)


@router.patch("/collections/{name}")
async def change_collection(
    services: Wired, _: Admin, name: str, change: schemas.CollectionChange
) -> schemas.Collection:
    """Change a collection's description or its readers for documents that come later."""
    async with services.database.transaction() as session:
        row = await document_rows.get_collection(session, name)
        if change.description is not None:
            row.description = change.description
        if change.readers is not None:
            row.readers = sorted({check_principal(reader) for reader in change.readers})
        if change.editors is not None:
            row.editors = sorted({check_principal(editor) for editor in change.editors})
        return schemas.Collection.of(row)


@router.delete("/collections/{name}", status_code=204)
async def delete_collection(services: Wired, _: Admin, name: str) -> Response:
    """Delete an empty collection."""
    async with services.database.transaction() as session:
        await document_rows.get_collection(session, name)
        if name == DEFAULT_COLLECTION:
            raise Conflict(f"the collection {name!r} stays")
        if not await document_rows.collection_is_empty(session, name):
            raise Conflict(f"the collection {name!r} still holds documents")
        if await source_rows.uses_collection(session, name):
            raise Conflict(f"a source still puts documents into the collection {name!r}")
        await document_rows.drop_collection(session, name)
    return Response(status_code=204)


def _receive(file: UploadFile) -> Upload:
    """Copy the received bytes to a file of our own while hashing them."""
    name = PurePath((file.filename or "").replace("\\", "/")).name.replace("\x00", "")
    if not name:
        raise InvalidField("file", "has no name")
    path = Path(tempfile.gettempdir()) / f"upload-{secrets.token_hex(16)}"
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("xb") as target:
            while piece := file.file.read(1024 * 1024):
                digest.update(piece)
                size += len(piece)
                target.write(piece)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise StorageUnavailable(f"the upload cannot be kept: {error.strerror}") from error
    return Upload(path, name[-_LONGEST_NAME:], digest.hexdigest(), size)


async def _opened(
    session: AsyncSession, caller: AccessScope, document_id: str, version: int, what: str
) -> None:
    await access_rows.record(
        session, caller.user_id, "document.read", document_id, version=version, what=what
    )
