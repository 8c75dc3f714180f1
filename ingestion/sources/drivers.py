"""The stores that Opora reaches; a driver is imported when a source needs it."""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec import AbstractFileSystem

from app.domain.errors import SourceRefused, SourceUnavailable
from app.domain.source_options import SourceOptions
from ingestion.sources.addresses import AddressGuard
from ingestion.sources.stores import Failures

_TIMEOUT_S = 30
_FAILURES = {
    "s3": ("botocore.exceptions:BotoCoreError", "botocore.exceptions:ClientError"),
    "sftp": ("paramiko:SSHException",),
    "smb": ("smbprotocol.exceptions:SMBException",),
    "webdav": ("webdav4.client:ClientError", "httpx:HTTPError"),
    "git": ("pygit2:GitError",),
}
_PORTS = {"sftp": 22, "smb": 445, "http": 80, "https": 443}


def protocol_of(url: str) -> str:
    """The driver's name for a store's URL."""
    return urlsplit(url).scheme.replace("webdavs", "webdav")


def failures(protocol: str) -> Callable[[], Failures]:
    """What the driver of a protocol raises when the store does not answer."""

    def load() -> Failures:
        found: list[type[BaseException]] = [OSError, EOFError, ValueError]
        for name in _FAILURES.get(protocol, ()):
            module, _, kind = name.partition(":")
            found.append(getattr(import_module(module), kind))
        return tuple(found)

    return load


def root_of(url: str) -> str:
    """The path of a store in its driver's own words."""
    parts = urlsplit(url)
    path = unquote(parts.path).rstrip("/")
    match parts.scheme:
        case "s3":
            return f"{parts.netloc}{path}"
        case "webdav" | "webdavs" | "git":
            return ""
    return path


def connect(url: str, options: SourceOptions, guard: AddressGuard) -> AbstractFileSystem:
    """Open a store; blocks.

    Raises:
        SourceRefused: Its driver is not installed, or its address is not allowed.
        SourceUnavailable: Its name cannot be resolved.
    """
    protocol = protocol_of(url)
    try:
        kind = fsspec.get_filesystem_class(protocol)
        arguments = _ARGUMENTS[protocol](url, options, guard)
    except ImportError as error:
        raise SourceRefused(
            f"reading {protocol}:// needs a driver that is not installed ({error.name or error}): "
            "install Opora with the extra `stores`"
        ) from error
    opened: AbstractFileSystem = kind(**arguments, skip_instance_cache=True)
    return opened


def _s3(_: str, options: SourceOptions, guard: AddressGuard) -> dict[str, Any]:
    if options.endpoint_url:
        _check(options.endpoint_url, guard)
    return {
        **{name: value for name, value in options.secrets().items() if name != "password"},
        "anon": options.anonymous,
        "endpoint_url": options.endpoint_url,
        "client_kwargs": {"region_name": options.region} if options.region else {},
        "config_kwargs": {
            "connect_timeout": _TIMEOUT_S,
            "read_timeout": _TIMEOUT_S,
            "retries": {"max_attempts": 2},
        },
        "use_listings_cache": False,
    }


def _sftp(url: str, options: SourceOptions, guard: AddressGuard) -> dict[str, Any]:
    import paramiko

    host, port = _check(url, guard)
    known = (options.host_key or "").split()

    def missing_host_key(_policy: Any, _client: Any, _hostname: str, key: Any) -> None:
        if [key.get_name(), key.get_base64()] != known[:2]:
            raise paramiko.SSHException(
                f"the server shows a {key.get_name()} key that is not options.host_key"
            )

    only_this_key = type(
        "OnlyThisKey",
        (paramiko.MissingHostKeyPolicy,),
        {"missing_host_key": missing_host_key},
    )
    secrets = options.secrets()
    return {
        "host": host,
        "port": port,
        "username": options.username,
        "password": secrets.get("password"),
        "pkey": _private_key(secrets["private_key"]) if "private_key" in secrets else None,
        "host_key_policy": only_this_key(),
        "timeout": _TIMEOUT_S,
        "banner_timeout": _TIMEOUT_S,
        "auth_timeout": _TIMEOUT_S,
        "channel_timeout": _TIMEOUT_S,
        "allow_agent": False,
        "look_for_keys": False,
    }


def _private_key(text: str) -> Any:
    import io

    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError):
            continue
    raise SourceRefused("options.private_key is no OpenSSH private key without a passphrase")


def _smb(url: str, options: SourceOptions, guard: AddressGuard) -> dict[str, Any]:
    host, port = _check(url, guard)
    return {
        "host": host,
        "port": port,
        "username": options.username,
        "password": options.secrets().get("password"),
        "timeout": _TIMEOUT_S,
        "share_access": "r",
        "register_session_retries": 0,
    }


def _webdav(url: str, options: SourceOptions, guard: AddressGuard) -> dict[str, Any]:
    base = url.replace("webdav", "http", 1)
    home = _check(base, guard)

    def check(request: Any) -> None:
        """Before each request, those after a redirect too."""
        if _check(str(request.url), guard) != home:
            raise SourceRefused(
                f"the server redirects to {request.url.host!r}, which is not its own"
            )

    password = options.secrets().get("password", "")
    return {
        "base_url": base,
        "auth": (options.username, password) if options.username else None,
        "timeout": _TIMEOUT_S,
        "trust_env": False,
        "event_hooks": {"request": [check]},
    }


def _git(url: str, _options: SourceOptions, _guard: AddressGuard) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"path": unquote(parts.path), "ref": parts.fragment or "HEAD"}


_ARGUMENTS: dict[str, Callable[[str, SourceOptions, AddressGuard], dict[str, Any]]] = {
    "s3": _s3,
    "sftp": _sftp,
    "smb": _smb,
    "webdav": _webdav,
    "git": _git,
}


def _check(url: str, guard: AddressGuard) -> tuple[str, int]:
    """Host and port of a URL, once the addresses of the host have been checked."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise SourceUnavailable(f"{url!r} names no host")
    port = parts.port or _PORTS[parts.scheme]
    guard.check_host(parts.hostname, port)
    return parts.hostname, port
