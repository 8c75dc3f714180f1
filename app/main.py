"""The FastAPI application."""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app import __version__, web
from app.api import errors
from app.api.gate import Gate
from app.api.routes import (
    admin,
    answers,
    assistants,
    documents,
    generations,
    glossary,
    jobs,
    openai,
    operations,
    principals,
    sources,
)
from app.domain.errors import OperatorError, Unavailable
from app.telemetry import get_logger
from app.wiring import Services

log = get_logger(__name__)

ROUTES = (
    documents,
    sources,
    jobs,
    answers,
    assistants,
    openai,
    admin,
    principals,
    generations,
    glossary,
    operations,
)

_WARM_INTERVAL_S = 2
_STATIC = Path(web.__file__).with_name("static")


def _end_when_lost(follower: asyncio.Task[None]) -> None:
    """End the process, to be started anew, rather than serve what stands still."""
    if not follower.cancelled():
        log.critical("follower.lost", follows=follower.get_name(), exc_info=follower.exception())
        signal.raise_signal(signal.SIGTERM)


async def _warm(services: Services) -> None:
    """Prepare the embedder and the model server for the first question."""
    while True:
        try:
            await asyncio.to_thread(services.retrieval.warm)
            await services.answering.warm()
        except Unavailable:
            await asyncio.sleep(_WARM_INTERVAL_S)
        else:
            return


def create_app(services: Services) -> FastAPI:
    """Build the application over wired use cases; its lifespan follows index and glossary."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        temporary = services.settings.data / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(temporary)
        with contextlib.suppress(OperatorError):  # `/readyz` names it; a re-index may be the cure
            await services.index.load()
        await services.glossary.catch_up()
        interval_s = services.settings.retrieval.follow_interval_s
        followers = [
            asyncio.create_task(services.index.follow(interval_s), name="index"),
            asyncio.create_task(services.glossary.follow(interval_s), name="glossary"),
        ]
        for follower in followers:
            follower.add_done_callback(_end_when_lost)
        others = [
            asyncio.create_task(_warm(services)),
            asyncio.create_task(services.retention.keep()),
        ]
        yield
        tasks = (*followers, *others)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await services.close()

    app = FastAPI(
        title="Opora",
        version=__version__,
        description="Grounded, cited answers from a company's own documents.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads scripts from a foreign host
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    app.include_router(web.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.add_middleware(Gate, access=services.access, settings=services.settings.http)
    return app
