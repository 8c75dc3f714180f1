"""A store that fsspec reaches: its files are found folder by folder, and read as streams."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from fsspec import AbstractFileSystem

from app.domain.errors import OporaError, SourceRefused, SourceUnavailable
from app.domain.sources import MOST_FILES, Listing, Skipped, SourceFile
from ingestion.sources.reading import (
    Absent,
    Limits,
    Outcome,
    is_hidden,
    is_storable,
    not_utf8,
    receive,
)

_TAGS = ("ETag", "etag", "hex", "checksum", "content_hash")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "last_write_time", "created")
Failures = tuple[type[BaseException], ...]


class StoreReader:
    """Reads the files below a path of a file system.

    Every folder is listed by itself, for fsspec's own walk leaves out a folder that failed, which
    would look as if its files were gone.

    Args:
        connect: Makes the file system; blocks.
        root: The path of the store in the file system's own words, without a slash at its end.
        url: What to put before a file's name to get its address.
        failures: What the file system's driver raises when the store does not answer.
        redact: Takes secrets out of what a driver says.
        limits: Of sizes; and whether to stop.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractFileSystem],
        root: str,
        url: str,
        failures: Callable[[], Failures],
        redact: Callable[[str], str],
        limits: Limits,
    ) -> None:
        self._connect = connect
        self._root = root
        self._url = url.rstrip("/")
        self._failures = failures
        self._redact = redact
        self._limits = limits
        self._opened: AbstractFileSystem | None = None

    async def list_files(self) -> Listing:
        """Return all files, by their paths below the root."""
        return await asyncio.to_thread(self._list)

    async def fetch(self, file: SourceFile, _mark: str | None, target: Path, /) -> Outcome:
        """Copy a file."""
        return await asyncio.to_thread(self._fetch, file, target)

    async def close(self) -> None:
        """Release the connection."""
        close = getattr(self._opened, "close", None)
        if close is not None:
            await asyncio.to_thread(close)

    def _files(self) -> AbstractFileSystem:
        if self._opened is None:
            self._opened = self._connect()
        return self._opened

    def _list(self) -> Listing:
        files: list[SourceFile] = []
        skipped: list[Skipped] = []
        unlisted: list[str] = []
        folders = [""]
        while folders:
            prefix = folders.pop()
            self._limits.check()
            try:
                with self._named(f"{prefix or 'the root'!r} cannot be listed"):
                    entries = self._files().ls(self._path(prefix.rstrip("/")), detail=True)
            except (FileNotFoundError, PermissionError) as error:
                if not prefix:
                    reason = self._redact(str(error))
                    raise SourceUnavailable(f"{self._url} cannot be listed: {reason}") from error
                unlisted.append(prefix)
                skipped.append(Skipped(prefix, "cannot be looked into"))
                continue
            for entry in entries:
                seen = self._look(entry, prefix)
                if isinstance(seen, str):
                    folders.append(seen)
                elif isinstance(seen, Skipped):
                    skipped.append(seen)
                elif seen is not None:
                    files.append(seen)
            if len(files) + len(skipped) > MOST_FILES:
                raise SourceRefused(f"the source holds more than {MOST_FILES} files: divide it")
        return Listing(tuple(files), tuple(skipped), tuple(unlisted))

    def _look(self, entry: Mapping[str, Any], prefix: str) -> SourceFile | Skipped | str | None:
        """What an entry is: a file, a folder to look into, or nothing that is read."""
        path = str(entry["name"]).rstrip("/")
        above = self._path(prefix.rstrip("/"))
        if path.lstrip("/") == above.lstrip("/"):
            return None  # some stores list a folder within itself
        name = path.lstrip("/").removeprefix(above.lstrip("/")).lstrip("/")
        key = prefix + name
        if not is_storable(key):
            return not_utf8(key)
        if not name or "/" in name or name in (".", ".."):
            return Skipped(key, "its name leads out of its folder")
        if is_hidden(name):
            return Skipped(key, "hidden")
        if entry["type"] == "directory":
            return key + "/"
        if entry["type"] != "file":
            return Skipped(key, f"no plain file but a {entry['type']}")
        size = entry.get("size")
        mark = _mark(entry)
        return SourceFile(
            key, f"{self._url}/{quote(key)}", mark, None if size is None else int(size)
        )

    def _fetch(self, file: SourceFile, target: Path) -> Outcome:
        try:
            with (
                self._named(f"{file.key!r} cannot be read"),
                self._files().open(self._path(file.key), "rb") as stream,
            ):
                return receive(stream, file, PurePosixPath(file.key).name, target, self._limits)
        except FileNotFoundError:
            return Absent.GONE
        except PermissionError:
            return Skipped(file.key, "may not be read")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root or "/"

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turn what the driver raises into Opora's error, without secrets."""
        try:
            yield
        except (FileNotFoundError, PermissionError, OporaError):
            raise
        except self._failures() as error:
            reason = self._redact(str(error)) or type(error).__name__
            raise SourceUnavailable(f"{self._url}: {what}: {reason}") from None


def _mark(entry: Mapping[str, Any]) -> str | None:
    tag = next((entry[name] for name in _TAGS if entry.get(name)), None)
    if tag is not None:
        return str(tag).strip('"')
    time = next((entry[name] for name in _TIMES if entry.get(name)), None)
    if time is None:
        return None
    return f"{time.isoformat() if isinstance(time, datetime) else time}-{entry.get('size')}"
