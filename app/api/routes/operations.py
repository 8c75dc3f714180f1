"""Health and metrics."""

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import Wired
from app.db.repositories import jobs as job_rows
from app.domain.documents import JobState
from app.domain.errors import DatabaseUnavailable, OporaError
from app.telemetry import JOBS, REGISTRY

router = APIRouter(tags=["operations"])

_CHECK_TIMEOUT_S = 5


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """The process is alive."""
    return "ok"


@router.get("/readyz")
async def readyz(services: Wired) -> JSONResponse:
    """Whether questions can be answered, each part with its state."""
    database, model_server = await asyncio.gather(
        _state(services.database.check()), _state(services.chat.check())
    )
    if model_server == "ok" and not services.answering.is_warm:
        model_server = "reading its instructions"
    app = "stopping" if services.answering.admission.is_closed else "ok"
    ready = app == database == model_server == "ok" and services.index.is_loaded
    parts = {
        "app": app,
        "database": database,
        "index": services.index.state,
        "model_server": model_server,
    }
    return JSONResponse({"ready": ready, **parts}, 200 if ready else 503)


@router.get("/metrics")
async def metrics(services: Wired) -> Response:
    """Prometheus metrics of this process, with the job counts of all."""
    try:
        async with services.database.transaction() as session:
            counts = await job_rows.count_by_state(session)
        for state in JobState:
            JOBS.labels(state).set(counts.get(state, 0))
    except DatabaseUnavailable:
        JOBS.clear()
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _state(check: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(check, _CHECK_TIMEOUT_S)
    except TimeoutError:
        return "does not answer"
    except OporaError as error:
        return error.message
    return "ok"
