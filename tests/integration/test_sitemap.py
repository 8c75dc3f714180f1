"""Sites as sources: conditional requests, and no way into the house through them."""

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.domain.documents import JobState
from app.domain.errors import JobCancelled, SourceRefused, SourceUnavailable
from ingestion.sources.addresses import AddressGuard
from ingestion.sources.http import GuardedClient
from tests.integration.house import House
from tests.integration.source_house import SourceHouse, happened

HERE = ["127.0.0.0/8"]
LOOPBACK = [ip_network("127.0.0.0/8")]


class Site:
    """A web server with pages that a test may change."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {
            "/leave": "<html><body><p>Отпуск длится 28 дней.</p></body></html>",
            "/pay": "<html><body><p>Зарплата приходит пятого.</p></body></html>",
        }
        self.listed: list[str] = ["/leave", "/pay"]
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.seen: list[tuple[str, int]] = []
        self.credentials: list[str | None] = []
        self.url = URL()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.credentials.append(request.headers.get("Authorization"))
        response = await self._answer(request)
        self.seen.append((request.path, response.status))
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.path == "/sitemap.xml":
            return web.Response(body=self.sitemap(self.listed), content_type="application/xml")
        if request.path not in self.pages:
            return web.Response(status=404)
        page = self.pages[request.path]
        etag = f'"{hash(page)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(text=page, content_type="text/html", headers={"ETag": etag})

    def sitemap(self, paths: list[str], root: str = "urlset", item: str = "url") -> bytes:
        entries = "".join(
            f"<{item}><loc>{self.url.join(URL(path))}</loc></{item}>" for path in paths
        )
        return f'<{root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{root}>'.encode()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    made.url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield made
    await runner.cleanup()


@pytest.fixture
def sourced(house: House) -> SourceHouse:
    return SourceHouse(house)


async def test_pages_are_asked_for_only_if_they_changed(sourced: SourceHouse, site: Site) -> None:
    source = await sourced.add(
        site.url / "sitemap.xml", "sitemap", allow_networks=HERE, username="anna", password="geheim"
    )
    assert happened(await sourced.sync(source)) == {"added": 2}
    page = str(site.url / "leave")
    document, version = (await sourced.documents(source.source_id))[page]
    assert (document.source_uri, version.media_type) == (page, "text/html")
    assert site.credentials == ["Basic YW5uYTpnZWhlaW0="] * 3

    site.seen.clear()
    jobs = await sourced.jobs()
    assert happened(await sourced.sync(source)) == {"unchanged": 2}
    assert site.seen == [("/sitemap.xml", 200), ("/leave", 304), ("/pay", 304)]
    assert await sourced.jobs() == jobs + 1

    site.pages["/pay"] = "<html><body><p>Зарплата приходит седьмого.</p></body></html>"
    site.listed.remove("/leave")
    assert happened(await sourced.sync(source, dry_run=True)) == {"changed": 1, "removed": 1}
    assert happened(await sourced.sync(source)) == {"changed": 1, "removed": 1}
    assert len(await sourced.house.finds("седьмого")) == 1
    assert await sourced.house.finds("отпуск") == set()


async def test_index_of_sitemaps_is_read_whole_or_deletes_nothing(
    sourced: SourceHouse, site: Site
) -> None:
    async def index(_: web.Request) -> web.StreamResponse:
        return web.Response(body=site.sitemap(["/a.xml", "/b.xml.gz"], "sitemapindex", "sitemap"))

    async def first(_: web.Request) -> web.StreamResponse:
        return web.Response(body=site.sitemap(["/leave", "http://elsewhere.example/x"]))

    async def second(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(site.sitemap(["/pay"])))

    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    site.answers = {"/sitemap.xml": index, "/a.xml": first, "/b.xml.gz": second}
    source = await sourced.add(site.url / "sitemap.xml", "sitemap", allow_networks=HERE)
    assert happened(await sourced.sync(source)) == {"added": 2, "skipped": 1}
    skipped = await sourced.skipped(source.source_id)
    assert skipped == {"http://elsewhere.example/x": "on a host that is not allowed"}

    site.answers["/b.xml.gz"] = broken
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "source_unavailable")
    assert len(await sourced.documents(source.source_id)) == 2


async def test_pages_that_are_gone_are_deleted_but_not_all_at_once(
    sourced: SourceHouse, site: Site
) -> None:
    source = await sourced.add(site.url / "sitemap.xml", "sitemap", allow_networks=HERE)
    await sourced.sync(source)
    kept = dict(site.pages)
    site.pages.clear()
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "removal_unconfirmed")
    assert len(await sourced.documents(source.source_id)) == 2
    site.pages["/pay"] = kept["/pay"]
    assert happened(await sourced.sync(source)) == {"unchanged": 1, "removed": 1}


async def test_page_that_leads_into_the_house_is_named_and_not_read(
    sourced: SourceHouse, site: Site
) -> None:
    port = site.url.port

    def leads_to(target: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": target})

        return answer

    targets = {
        "/name": f"http://localhost:{port}/leave",
        "/other-port": f"http://127.0.0.1:{port - 1 if port else 0}/leave",
        "/other-address": f"http://127.0.0.2:{port}/leave",
        "/metadata": "http://169.254.169.254/latest/meta-data/",
        "/file": "file:///etc/passwd",
        "/here": "/pay",
        "/for-ever": "/for-ever",
        "/broken": "http://[broken",
    }
    site.listed = list(targets)
    site.answers = {path: leads_to(target) for path, target in targets.items()}
    source = await sourced.add(site.url / "sitemap.xml", "sitemap", allow_networks=HERE)
    site.seen.clear()
    assert happened(await sourced.sync(source)) == {"added": 1, "skipped": 7}
    skipped = await sourced.skipped(source.source_id)
    reasons = {URL(key).path: reason for key, reason in skipped.items()}
    assert set(reasons) == set(targets) - {"/here"}
    assert "redirects" in reasons.pop("/for-ever")
    assert "no address" in reasons.pop("/broken")
    assert all("no allowed host" in reason for reason in reasons.values())
    assert "/leave" not in {path for path, _ in site.seen}


async def test_sitemap_in_the_house_needs_leave(sourced: SourceHouse, site: Site) -> None:
    source = await sourced.add(site.url / "sitemap.xml", "sitemap")
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "source_refused")
    assert "allow_networks" in str(job.error_message)
    assert site.seen == []


class Names(AbstractResolver):
    """Says another address each time it is asked."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


def client_of(site: Site, resolver: AbstractResolver, cancelled: threading.Event) -> GuardedClient:
    home = site.url.with_host("wiki.example")
    return GuardedClient(home, [], AddressGuard(LOOPBACK), {}, cancelled, resolver)


async def test_address_is_checked_at_each_connection(site: Site) -> None:
    async def bounce(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/leave", "Connection": "close"})

    site.answers["/bounce"] = bounce
    client = client_of(site, Names("127.0.0.1", "10.0.0.1"), threading.Event())
    try:
        with pytest.raises(SourceRefused, match=r"10\.0\.0\.1"):
            async with client.get(site.url.with_host("wiki.example") / "bounce", {}):
                pass
    finally:
        await client.close()
    assert [path for path, _ in site.seen] == ["/bounce"]


async def test_slow_page_is_let_go_when_the_job_is_cancelled(site: Site) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    site.answers["/never"] = never
    cancelled = threading.Event()
    client = client_of(site, Names("127.0.0.1"), cancelled)
    asyncio.get_running_loop().call_later(0.3, cancelled.set)
    started = monotonic()
    try:
        with pytest.raises(JobCancelled):
            async with client.get(site.url.with_host("wiki.example") / "never", {}):
                pass
    finally:
        await client.close()
    assert monotonic() - started < 20


@pytest.mark.parametrize(
    "body",
    [
        b"<html>no sitemap</html>",
        b"not xml",
        b"\x1f\x8bdamaged",
        b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        b"<urlset><url><loc>http://127.0.0.1/&x;</loc></url></urlset",
    ],
)
async def test_what_is_no_sitemap_is_said_to_be_none(
    sourced: SourceHouse, site: Site, body: bytes
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    site.answers["/sitemap.xml"] = answer
    source = await sourced.add(site.url / "sitemap.xml", "sitemap", allow_networks=HERE)
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "source_unavailable")
    assert "cannot be read" in str(job.error_message)


async def test_entities_reach_no_file(sourced: SourceHouse, site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim")

    async def answer(_: web.Request) -> web.StreamResponse:
        body = (
            f'<!DOCTYPE u [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">'
            '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
            f"<urlset><url><loc>{site.url}/&x;&b;pay</loc></url></urlset>"
        )
        return web.Response(text=body)

    site.answers["/sitemap.xml"] = answer
    source = await sourced.add(site.url / "sitemap.xml", "sitemap", allow_networks=HERE)
    await sourced.ended(await sourced.start(source))
    assert all("geheim" not in path for path, _ in site.seen)


async def test_unreachable_host_is_unavailable(site: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        home = URL(f"http://127.0.0.1:{closed.getsockname()[1]}")
    client = GuardedClient(home, [], AddressGuard(LOOPBACK), {}, threading.Event())
    try:
        with pytest.raises(SourceUnavailable, match="does not answer"):
            async with client.get(home, {}):
                pass
    finally:
        await client.close()
