"""An HTTP client for sources: only allowed hosts, only allowed addresses, at every step."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from app.domain.errors import JobCancelled, SourceRefused, SourceUnavailable
from ingestion.sources.addresses import AddressGuard

_MOST_REDIRECTS = 5
_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=30)
_POLL_S = 0.5
_refusals: ContextVar[list[SourceRefused]] = ContextVar("refusals")
_REDIRECTS = (301, 302, 303, 307, 308)
Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """The head of a response, and its body yet to be read."""

    url: URL
    status: int
    headers: CIMultiDictProxy[str]
    body: aiohttp.StreamReader


class GuardedClient:
    """Gets pages of allowed hosts.

    A host's address is checked on the socket that is about to connect, after the name was resolved,
    for the first request and for every redirect.
    """

    def __init__(
        self,
        home: URL,
        allowed_hosts: Iterable[str],
        guard: AddressGuard,
        credentials: Headers,
        cancelled: threading.Event,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._home = home.origin()
        named = [home, *(URL(f"http://{host}") for host in allowed_hosts)]
        self._allowed = frozenset(place for url in named for place in _places(url))
        self._guard = guard
        self._credentials = credentials
        self._cancelled = cancelled
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver,
                use_dns_cache=False,
                socket_factory=self._open_socket,
                limit_per_host=8,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"User-Agent": "Opora"},
        )

    def allows(self, url: URL) -> bool:
        """Whether an admin allowed the place that an address names."""
        return url.scheme in ("http", "https") and (url.host, url.port) in self._allowed

    @asynccontextmanager
    async def get(self, url: URL, headers: Headers) -> AsyncIterator[Received]:
        """Get an address, following redirects to allowed places.

        Raises:
            SourceRefused: It leads, or is redirected, where no admin allowed it to.
            SourceUnavailable: No answer, or one that is no HTTP, or too slow.
            JobCancelled: Somebody asked the work to stop.
        """
        refusals: list[SourceRefused] = []
        token = _refusals.set(refusals)
        try:
            async with asyncio.timeout(None) as limit:
                watcher = asyncio.create_task(self._watch(limit))
                try:
                    async with self._follow(url, headers) as response:
                        yield Received(
                            response.url, response.status, response.headers, response.content
                        )
                finally:
                    watcher.cancel()
        except (TimeoutError, aiohttp.ClientError, ssl.SSLError) as error:
            if self._cancelled.is_set():
                raise JobCancelled("cancelled while a page was fetched") from error
            if refusals:
                raise refusals[0] from error
            reason = str(error) or type(error).__name__
            raise SourceUnavailable(f"{url.host!r} does not answer: {reason}") from error
        finally:
            _refusals.reset(token)

    async def close(self) -> None:
        """Release connections."""
        await self._session.close()

    @asynccontextmanager
    async def _follow(self, url: URL, headers: Headers) -> AsyncIterator[aiohttp.ClientResponse]:
        for _ in range(_MOST_REDIRECTS + 1):
            if not self.allows(url):
                raise SourceRefused(
                    f"{str(url.with_query(None))!r} is on no allowed host; name it in "
                    "options.allow_hosts if the source may go there"
                )
            own = self._credentials if url.origin() == self._home else {}
            async with self._session.get(
                url, headers=headers | own, allow_redirects=False
            ) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECTS or target is None:
                    yield response
                    return
            following = _joined(url, target)
            if url.scheme == "https" and following.scheme != "https":
                raise SourceRefused(f"{str(url.with_query(None))!r} leads from https to http")
            url = following
        raise SourceRefused(f"more than {_MOST_REDIRECTS} redirects, the last by {url.host!r}")

    def _open_socket(self, info: aiohttp.connector.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        try:
            self._guard.check(str(address[0]), str(address[0]))
        except SourceRefused as error:
            _refusals.get().append(error)
            raise OSError(error.message) from error
        return socket.socket(family, kind, protocol)

    async def _watch(self, limit: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            if self._cancelled.is_set():
                limit.reschedule(asyncio.get_running_loop().time())
                return


def _places(url: URL) -> list[tuple[str | None, int | None]]:
    """Host and port that an admin named; without a port the usual ones are meant."""
    ports = [80, 443] if url.explicit_port is None else [url.explicit_port]
    return [(url.host, port) for port in ports]


def _joined(url: URL, target: str) -> URL:
    try:
        return url.join(URL(target)).with_fragment(None)
    except ValueError as error:
        raise SourceRefused(f"{url.host!r} redirects to what is no address: {error}") from error
