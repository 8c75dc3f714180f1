"""A folder of this machine, or one that is mounted here."""

import asyncio
import errno
import os
import stat
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from app.domain.errors import SourceRefused, SourceUnavailable
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

_CLOSED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR)


def folder_path(url: str) -> Path:
    """The path that a URL or a plain path names."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)


class FolderReader:
    """Reads the files below a folder; nothing outside it, whatever its links say."""

    def __init__(self, url: str, data: Path, limits: Limits) -> None:
        self._given = folder_path(url)
        self._data = data
        self._limits = limits

    async def list_files(self) -> Listing:
        """Return all files, by their paths below the folder."""
        return await asyncio.to_thread(self._list)

    async def fetch(self, file: SourceFile, _mark: str | None, target: Path, /) -> Outcome:
        """Copy a file."""
        return await asyncio.to_thread(self._fetch, file, target)

    async def close(self) -> None:
        """Nothing is held open."""

    def _root(self) -> Path:
        try:
            root = self._given.resolve(strict=True)
        except OSError as error:
            raise SourceUnavailable(
                f"the folder {str(self._given)!r} cannot be opened: {error.strerror}"
            ) from error
        if not root.is_dir():
            raise SourceUnavailable(f"{str(self._given)!r} is no folder")
        refuse_own_data(root, self._data)
        return root

    def _list(self) -> Listing:
        root = self._root()
        files: list[SourceFile] = []
        skipped: list[Skipped] = []
        unlisted: list[str] = []
        folders = [root]
        while folders:
            folder = folders.pop()
            self._limits.check()
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if folder == root or error.errno not in _CLOSED:
                    raise SourceUnavailable(
                        f"the folder {str(folder)!r} cannot be listed: {error.strerror}"
                    ) from error
                prefix = folder.relative_to(root).as_posix() + "/"
                unlisted.append(prefix)
                skipped.append(Skipped(prefix, f"cannot be looked into: {error.strerror}"))
                continue
            for entry in found:
                try:
                    seen = _look(entry, root)
                except OSError as error:
                    key = Path(entry.path).relative_to(root).as_posix()
                    unlisted.append(key)
                    seen = Skipped(key, f"cannot be looked at: {error.strerror}")
                if isinstance(seen, Path):
                    folders.append(seen)
                elif isinstance(seen, Skipped):
                    skipped.append(seen)
                else:
                    files.append(seen)
            if len(files) > MOST_FILES:
                raise SourceRefused(f"the source holds more than {MOST_FILES} files: divide it")
        return Listing(tuple(files), tuple(skipped), tuple(unlisted))

    def _fetch(self, file: SourceFile, target: Path) -> Outcome:
        root = self._root()
        try:
            path = (root / file.key).resolve(strict=True)
            if not path.is_relative_to(root):
                return Skipped(file.key, "a link that leads out of the folder")
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    return Skipped(file.key, "no file any more")
                if not _opened(handle, path).is_relative_to(root):
                    return Skipped(file.key, "a link that leads out of the folder")
                name = PurePosixPath(file.key).name
                return receive(stream, file, name, target, self._limits)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return Absent.GONE if root.is_dir() else Skipped(file.key, "the folder went away")
            return Skipped(file.key, f"cannot be read: {error.strerror}")


def _look(entry: "os.DirEntry[str]", root: Path) -> SourceFile | Skipped | Path:
    """What an entry is: a file, a folder to look into, or nothing that is read."""
    path = Path(entry.path)
    key = path.relative_to(root).as_posix()
    if not is_storable(key):
        return not_utf8(key)
    if is_hidden(entry.name):
        return Skipped(key, "hidden")
    if entry.is_symlink():
        try:
            real = path.resolve(strict=True)
        except (FileNotFoundError, RuntimeError):
            return Skipped(key, "a link that leads nowhere")
        if not real.is_relative_to(root):
            return Skipped(key, "a link that leads out of the folder")
        if real.is_dir():
            return Skipped(key, "a link to a folder")
    elif entry.is_dir():
        return path
    seen = entry.stat()
    if not stat.S_ISREG(seen.st_mode):
        return Skipped(key, "no plain file")
    mark = f"{seen.st_mtime_ns}-{seen.st_size}"
    return SourceFile(key, path.as_uri(), mark, seen.st_size)


def _opened(handle: int, path: Path) -> Path:
    """What was really opened, should a folder on the way have become a link meanwhile."""
    try:
        return Path(f"/proc/self/fd/{handle}").readlink()
    except FileNotFoundError:  # no Linux
        return path


def refuse_own_data(root: Path, data: Path) -> None:
    """Raise SourceRefused for a folder that holds Opora's data directory or lies in it."""
    if root.is_relative_to(data) or data.is_relative_to(root):
        raise SourceRefused(f"{str(root)!r} holds Opora's own data: choose another folder")
