"""Which reader reads which source."""

from collections.abc import Callable
from pathlib import Path

import aiohttp
from yarl import URL

from app.domain.source_options import SourceOptions
from app.domain.sources import SourceKind
from ingestion.sources.addresses import AddressGuard
from ingestion.sources.drivers import connect, failures, protocol_of, root_of
from ingestion.sources.folder import FolderReader, folder_path, refuse_own_data
from ingestion.sources.http import GuardedClient
from ingestion.sources.reading import Limits, SourceReader
from ingestion.sources.sitemap import SitemapReader
from ingestion.sources.stores import StoreReader

_SHORTEST = 4  # of what is taken out of messages: less would garble them


def build_reader(
    kind: SourceKind, url: str, options: SourceOptions, data: Path, limits: Limits
) -> SourceReader:
    """The reader of a source; nothing is connected yet.

    Args:
        kind: Of the source.
        url: Where it is.
        options: With their secrets.
        data: Opora's data directory, which no source may be.
        limits: Of sizes; and whether to stop.

    Raises:
        SourceRefused: It is Opora's own data directory.
    """
    guard = AddressGuard(options.allow_networks)
    if kind is SourceKind.SITEMAP:
        client = GuardedClient(
            URL(url), options.allow_hosts, guard, _credentials(options), limits.cancelled
        )
        return SitemapReader(url, client, limits)
    protocol = protocol_of(url)
    if kind is SourceKind.FOLDER or protocol == "file":
        return FolderReader(url, data, limits)
    if protocol == "git":
        refuse_own_data(folder_path(url.replace("git:", "file:", 1)).resolve(), data)
    return StoreReader(
        lambda: connect(url, options, guard),
        root_of(url),
        url.partition("#")[0],
        failures(protocol),
        _redactor(options),
        limits,
    )


def _credentials(options: SourceOptions) -> dict[str, str]:
    secrets = options.secrets()
    if "token" in secrets:
        return {"Authorization": f"Bearer {secrets['token']}"}
    if options.username is not None:
        return {
            "Authorization": aiohttp.encode_basic_auth(
                options.username, secrets.get("password", ""), "utf-8"
            )
        }
    return {}


def _redactor(options: SourceOptions) -> Callable[[str], str]:
    """Takes the secrets of a source out of a text."""
    secrets = [value for value in options.secrets().values() if len(value) >= _SHORTEST]

    def redact(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return redact
