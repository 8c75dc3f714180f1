"""Jobs."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.api import schemas
from app.api.dependencies import Cursor, Ingester, Limit, Wired
from app.api.streams import event_stream, sse
from app.db.base import now
from app.db.repositories import jobs as job_rows
from app.domain.documents import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LOOK_INTERVAL_S = 0.3


@router.get("")
async def list_jobs(
    services: Wired,
    caller: Ingester,
    state: JobState | None = None,
    parent: Annotated[str | None, Query(description="Only this job's children.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.Page[schemas.JobView]:
    """Jobs that the caller started or whose documents the caller may see, newest first."""
    async with services.database.transaction() as session:
        rows = await job_rows.list_jobs(
            session, caller, limit + 1, state=state, parent_id=parent, before=cursor
        )
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.JobView.of(row, now()) for row in page],
        next_cursor=page[-1].job_id if len(rows) > limit else None,
    )


@router.post("", status_code=201)
async def add_batch(services: Wired, caller: Ingester, new: schemas.NewBatch) -> schemas.JobView:
    """Make a batch: upload documents with its id as `batch`, and it sums them up."""
    async with services.database.transaction() as session:
        batch = await job_rows.add_batch(session, caller.user_id, new.files)
        return schemas.JobView.of(batch, now())


@router.post("/{job_id}/close")
async def close_batch(services: Wired, caller: Ingester, job_id: str) -> schemas.JobView:
    """Say that no more files come for a batch, so that it ends with those that it has."""
    async with services.database.transaction() as session:
        batch = await job_rows.get_batch(session, caller, job_id, lock=True)
        batch.options = {**batch.options, "closed": True}  # the worker sums it up
        return schemas.JobView.of(batch, now())


@router.get("/{job_id}")
async def get_job(services: Wired, caller: Ingester, job_id: str) -> schemas.JobView:
    """One job."""
    async with services.database.transaction() as session:
        return schemas.JobView.of(await job_rows.get_job(session, caller, job_id), now())


@router.post("/{job_id}/cancel")
async def cancel_job(services: Wired, caller: Ingester, job_id: str) -> schemas.JobView:
    """Cancel: a queued job at once, a running one within seconds; with it all its children."""
    return schemas.JobView.of(await services.documents.cancel_job(caller, job_id), now())


@router.post("/{job_id}/retry", status_code=202)
async def retry_job(services: Wired, caller: Ingester, job_id: str) -> schemas.JobView:
    """Do a failed or cancelled job's work again, as a new job."""
    return schemas.JobView.of(await services.documents.retry_job(caller, job_id), now())


@router.get("/{job_id}/events")
async def job_events(services: Wired, caller: Ingester, job_id: str) -> StreamingResponse:
    """Server-sent events: `progress` at each change, `finished` at the end."""
    first = await get_job(services, caller, job_id)

    async def events() -> AsyncGenerator[bytes, None]:
        view, last = first, None
        while view.state in job_rows.OPEN:
            if view != last:
                yield sse("progress", view.model_dump(mode="json"))
                last = view
            await asyncio.sleep(_LOOK_INTERVAL_S)
            view = await get_job(services, caller, job_id)
        yield sse("finished", view.model_dump(mode="json"))

    return event_stream(events())
