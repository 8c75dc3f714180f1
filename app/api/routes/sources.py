"""Sources: folders, stores and sites that documents come from by themselves."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import schemas
from app.api.dependencies import Admin, Cursor, Limit, Wired
from app.db.base import now
from app.db.models import Source
from app.db.repositories import sources as source_rows
from app.domain.errors import InvalidField
from app.services.sources import SourceDraft, SyncRequest
from app.wiring import Services

router = APIRouter(prefix="/v1/sources", tags=["sources"])


@router.get("")
async def list_sources(
    services: Wired, _: Admin, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.SourceView]:
    """All sources, newest first, without their secrets."""
    async with services.database.transaction() as session:
        rows = await source_rows.list_sources(session, limit + 1, cursor)
    page = rows[:limit]
    return schemas.Page(
        items=[await _view(services, row) for row in page],
        next_cursor=page[-1].source_id if len(rows) > limit else None,
    )


@router.post("", status_code=201)
async def add_source(services: Wired, caller: Admin, new: schemas.NewSource) -> schemas.SourceView:
    """Make a source; secrets are written, never read back."""
    draft = SourceDraft(**{name: getattr(new, name) for name in schemas.NewSource.model_fields})
    return await _view(services, await services.sources.add(caller.user_id, draft))


@router.get("/{source_id}")
async def get_source(services: Wired, _: Admin, source_id: str) -> schemas.SourceView:
    """One source, without its secrets, with what its last sync did."""
    async with services.database.transaction() as session:
        row = await source_rows.get_source(session, source_id)
    return await _view(services, row)


@router.patch("/{source_id}")
async def change_source(
    services: Wired, caller: Admin, source_id: str, change: schemas.SourceChange
) -> schemas.SourceView:
    """Change a source; new readers count at once, for the documents that it gave too."""
    given = {name: getattr(change, name) for name in change.model_fields_set}
    for name, value in given.items():
        if value is None and name != "schedule":
            raise InvalidField(name, "may not be null")
    return await _view(services, await services.sources.change(caller.user_id, source_id, given))


@router.delete("/{source_id}", status_code=204)
async def delete_source(
    services: Wired,
    caller: Admin,
    source_id: str,
    keep_documents: Annotated[
        bool, Query(description="Let its documents stay, as if they had been uploaded.")
    ] = False,
) -> Response:
    """Delete a source, and with it its documents."""
    await services.sources.delete(caller.user_id, source_id, keep_documents)
    return Response(status_code=204)


@router.post("/{source_id}/sync", status_code=202)
async def sync_source(
    services: Wired,
    caller: Admin,
    source_id: str,
    order: schemas.SyncOrder | None = None,
    dry_run: Annotated[bool, Query(description="Only list what would change.")] = False,
    force: Annotated[
        bool, Query(description="Believe a source that lists no file any more.")
    ] = False,
) -> schemas.JobView:
    """Sync a source; its job sums up the files, and `/syncs` tells what it did or would do."""
    order = order or schemas.SyncOrder()
    request = SyncRequest(source_id, order.dry_run or dry_run, order.force or force)
    return schemas.JobView.of(await services.sources.request_sync(caller.user_id, request), now())


@router.get("/{source_id}/syncs")
async def list_syncs(
    services: Wired, _: Admin, source_id: str, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.SyncReport]:
    """What the syncs of a source did, newest first."""
    async with services.database.transaction() as session:
        await source_rows.get_source(session, source_id)
        rows = await source_rows.last_syncs(session, source_id, limit + 1, cursor)
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.SyncReport.of(row) for row in page],
        next_cursor=page[-1].job_id if len(rows) > limit else None,
    )


@router.get("/{source_id}/syncs/{job_id}")
async def get_sync(services: Wired, _: Admin, source_id: str, job_id: str) -> schemas.SyncReport:
    """What a sync did, or would do."""
    async with services.database.transaction() as session:
        return schemas.SyncReport.of(await source_rows.get_sync(session, source_id, job_id))


@router.get("/{source_id}/skipped")
async def list_skipped(
    services: Wired, _: Admin, source_id: str, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.SkippedFile]:
    """The files of a source, or of a ZIP archive by its document's id, that are not read."""
    async with services.database.transaction() as session:
        rows = await source_rows.list_skipped(session, source_id, limit + 1, cursor)
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.SkippedFile(key=row.key, reason=row.reason) for row in page],
        next_cursor=page[-1].key if len(rows) > limit else None,
    )


async def _view(services: Services, row: Source) -> schemas.SourceView:
    async with services.database.transaction() as session:
        counts = await source_rows.count_documents(session, [row.source_id])
        last = await source_rows.last_syncs(session, row.source_id, 1)
    return schemas.SourceView.of(
        row,
        services.sources.secret_names(row),
        counts.get(row.source_id, 0),
        last[0] if last else None,
    )
