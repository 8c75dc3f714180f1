"""The server around the application: open files, vanished clients, and an end that drains."""

import asyncio
import resource
import socket
from time import monotonic

import uvicorn

from app.main import create_app
from app.services.admission import WAITING_PER_PLACE
from app.settings import HttpSettings
from app.telemetry import get_logger
from app.wiring import Services

DRAIN_LIMIT_S = 25.0
"""How long answers in the making may take to end, once the process was asked to."""

FLUSH_LIMIT_S = 5
"""How long the connections may then take; docker-compose.yml's grace period is above both."""

_VANISHED_AFTER_MS = 30_000
_OTHER_FILES = 256

log = get_logger(__name__)


class Server(uvicorn.Server):
    """Goes on serving while answers in the making come to their end, but begins no new one."""

    def __init__(self, services: Services) -> None:
        self._admission = services.answering.admission
        super().__init__(
            uvicorn.Config(
                create_app(services),
                host=services.settings.http.host,
                port=services.settings.http.port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=FLUSH_LIMIT_S,
                timeout_keep_alive=75,  # above what clients and proxies keep: they close first
                server_header=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; a client that takes nothing and says nothing for 30 s has left."""
        await super().startup(sockets)
        for listener in (one for server in self.servers for one in server.sockets):
            # A copy, as uvloop hands out none that can be changed. Connections inherit the option.
            with socket.fromfd(listener.fileno(), listener.family, listener.type) as same:
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_AFTER_MS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, at most DRAIN_LIMIT_S or until a second Ctrl-C; then end as uvicorn does."""
        self._admission.close()
        log.info("app.stopping", answers=self._admission.running)
        deadline = monotonic() + DRAIN_LIMIT_S
        # `force_exit` is set by a signal, so that waiting for an event would not see it.
        while (  # noqa: ASYNC110
            self._admission.running and monotonic() < deadline and not self.force_exit
        ):
            await asyncio.sleep(0.1)
        if self._admission.running:
            log.warning("app.answers_ended", answers=self._admission.running)
        self._admission.stop()
        await super().shutdown(sockets)


def allow_open_files(settings: HttpSettings) -> None:
    """Raise this process's limit of open files to what its streams may need, or say it cannot."""
    needed = 2 * settings.max_concurrent_answers  # to the client and to the model server
    needed += WAITING_PER_PLACE * settings.max_concurrent_answers + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if unlimited else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not unlimited and hard < needed:
        log.warning(
            "open_files.too_few",
            limit=hard,
            needed=needed,
            advice="raise `ulimit -n`, or lower OPORA_HTTP__MAX_CONCURRENT_ANSWERS",
        )
