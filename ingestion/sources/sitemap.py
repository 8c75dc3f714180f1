"""The pages of a site, by its sitemap (sitemaps.org, protocol 0.9)."""

import asyncio
import gzip
import io
from pathlib import Path, PurePosixPath

from lxml import etree
from yarl import URL

from app.domain.errors import SourceRefused, SourceUnavailable
from app.domain.sources import Listing, Skipped, SourceFile
from ingestion.sources.http import GuardedClient, Headers, Received
from ingestion.sources.reading import (
    Absent,
    Fetched,
    Limits,
    Outcome,
    Receiver,
    TooLarge,
    opened,
    too_large,
)

_MOST_SITEMAP_BYTES = 50 * 1024**2
_MOST_SITEMAPS = 1000
_MOST_PAGES = 200_000
_PIECE_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"


class SitemapReader:
    """Reads the pages that a sitemap, or an index of sitemaps, names."""

    def __init__(self, url: str, client: GuardedClient, limits: Limits) -> None:
        self._url = URL(url)
        self._client = client
        self._limits = limits

    async def list_files(self) -> Listing:
        """Return all pages by their addresses; only fetching one tells whether it changed."""
        files: dict[str, SourceFile] = {}
        skipped: list[Skipped] = []
        waiting, seen = [(self._url, 0)], {self._url}
        while waiting:
            sitemap, depth = waiting.pop()
            pages, further = await self._read(sitemap)
            for page in pages:
                if not self._client.allows(page):
                    skipped.append(Skipped(str(page), "on a host that is not allowed"))
                else:
                    files.setdefault(str(page), SourceFile(str(page), str(page)))
            for one in further:
                if depth > 0:
                    skipped.append(Skipped(str(one), "an index of sitemaps within another"))
                elif one not in seen:
                    seen.add(one)
                    waiting.append((one, depth + 1))
            if len(files) > _MOST_PAGES or len(seen) > _MOST_SITEMAPS:
                raise SourceRefused(
                    f"more than {_MOST_PAGES} pages or {_MOST_SITEMAPS} sitemaps: divide the source"
                )
        return Listing(tuple(files.values()), tuple(skipped))

    async def fetch(self, file: SourceFile, mark: str | None, target: Path, /) -> Outcome:
        """Get a page, unless the server says that it is the same as at an earlier mark."""
        try:
            async with self._client.get(URL(file.uri), _conditions(mark)) as response:
                match response.status:
                    case 200:
                        return await self._receive(file, response, target)
                    case 304:
                        return Absent.SAME
                    case 404 | 410:
                        return Absent.GONE
                    case status:
                        return Skipped(file.key, f"the server answers {status}")
        except SourceRefused as error:
            return Skipped(file.key, error.message)

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()

    async def _receive(
        self, file: SourceFile, response: Received, target: Path
    ) -> Fetched | Skipped:
        mark = _mark(response)
        listed = SourceFile(file.key, file.uri, mark)
        with opened(target) as written:
            receiver = Receiver(written, self._limits.most_bytes, self._limits.cancelled)
            try:
                async for piece in response.body.iter_chunked(_PIECE_BYTES):
                    receiver.take(piece)
            except TooLarge:
                return too_large(listed, self._limits.most_bytes)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        filename = _filename(response.url, kind)
        return Fetched(target, receiver.sha256, receiver.size_bytes, filename, mark)

    async def _read(self, sitemap: URL) -> tuple[list[URL], list[URL]]:
        """The pages and the further sitemaps that a sitemap names."""
        async with self._client.get(sitemap, {}) as response:
            if response.status != 200:
                raise SourceUnavailable(
                    f"the sitemap {str(sitemap)!r} cannot be read: the server answers "
                    f"{response.status}"
                )
            raw = io.BytesIO()
            receiver = Receiver(raw, _MOST_SITEMAP_BYTES, self._limits.cancelled)
            try:
                async for piece in response.body.iter_chunked(_PIECE_BYTES):
                    receiver.take(piece)
            except TooLarge as error:
                raise _unreadable(sitemap, "it is larger than 50 MiB") from error
        return await asyncio.to_thread(_parse, sitemap, raw.getvalue())


def _parse(sitemap: URL, raw: bytes) -> tuple[list[URL], list[URL]]:
    """Read the XML without entities, without a DTD and without any other file."""
    if raw.startswith(_GZIP):
        raw = _unzipped(sitemap, raw)
    found: dict[str, list[URL]] = {"url": [], "sitemap": []}
    name = ""
    try:
        for _, element in etree.iterparse(
            io.BytesIO(raw),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        ):
            name = etree.QName(element).localname
            if name in found:
                url = _address(sitemap, element.findtext("{*}loc"))
                found[name] += [] if url is None else [url]
                element.clear()
    except etree.XMLSyntaxError as error:
        raise _unreadable(sitemap, str(error)) from error
    if name not in ("urlset", "sitemapindex"):
        raise _unreadable(sitemap, f"its root is <{name}>")
    return found["url"], found["sitemap"]


def _unzipped(sitemap: URL, raw: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            unzipped = stream.read(_MOST_SITEMAP_BYTES + 1)
    except (OSError, EOFError) as error:
        raise _unreadable(sitemap, f"a damaged gzip file: {error}") from error
    if len(unzipped) > _MOST_SITEMAP_BYTES:
        raise _unreadable(sitemap, "it is larger than 50 MiB")
    return unzipped


def _unreadable(sitemap: URL, reason: str) -> SourceUnavailable:
    return SourceUnavailable(f"the sitemap {str(sitemap)!r} cannot be read: {reason}")


def _address(sitemap: URL, text: str | None) -> URL | None:
    if text is None or not text.strip():
        return None
    try:
        return sitemap.join(URL(text.strip())).with_fragment(None)
    except ValueError as error:
        raise _unreadable(sitemap, f"{text.strip()[:200]!r} is no address") from error


def _conditions(mark: str | None) -> Headers:
    """The headers that ask for a page only if it changed."""
    etag, _, modified = (mark or "").partition("\n")
    wanted = {"If-None-Match": etag, "If-Modified-Since": modified}
    return {name: value for name, value in wanted.items() if value}


def _mark(response: Received) -> str | None:
    etag = response.headers.get("ETag", "").strip()
    modified = response.headers.get("Last-Modified", "").strip()
    return f"{etag}\n{modified}" if etag or modified else None


def _filename(url: URL, kind: str) -> str:
    name = PurePosixPath(url.path).name or "index"
    if kind in ("text/html", "application/xhtml+xml") and not PurePosixPath(name).suffix:
        return f"{name}.html"
    return name
