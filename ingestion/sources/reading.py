"""What every reader of a source does: list all, and fetch one file."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.errors import JobCancelled, StorageUnavailable
from app.domain.sources import Listing, Skipped, SourceFile

_PIECE_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file's bytes in a temporary place, with their SHA-256 in hex."""

    path: Path
    sha256: str
    size_bytes: int
    filename: str
    mark: str | None


class Absent(Enum):
    """Why there are no bytes."""

    SAME = "same"
    GONE = "gone"


Outcome = Fetched | Skipped | Absent


class SourceReader(Protocol):
    """Reads one source."""

    async def list_files(self) -> Listing:
        """Return all files, each key once.

        Raises:
            SourceUnavailable: It cannot be reached, or not be listed to its end.
            SourceRefused: It leads where no admin allowed it to.
            JobCancelled: Somebody asked the work to stop.
        """
        ...

    async def fetch(self, file: SourceFile, mark: str | None, target: Path, /) -> Outcome:
        """Copy a file's bytes to `target`, unless it is the same as at an earlier mark or gone."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@contextmanager
def storing() -> Iterator[None]:
    """Tell a disk of Opora's own that takes no more from a source that cannot be read."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"the temporary files: {error.strerror or error}") from error


@contextmanager
def opened(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file to be written; it is whole at the end."""
    with storing():
        file = target.open("wb")
    with file:
        yield file
        with storing():
            file.flush()


class TooLarge(Exception):
    """A file has more bytes than an upload may have."""


class Receiver:
    """Writes a file as its pieces come, hashing and counting them."""

    def __init__(self, target: BinaryIO, most_bytes: int, cancelled: threading.Event) -> None:
        self._target = target
        self._most_bytes = most_bytes
        self._cancelled = cancelled
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what came so far, in hex."""
        return self._digest.hexdigest()

    def take(self, piece: bytes) -> None:
        """Write a piece.

        Raises:
            TooLarge: That is one too many.
            StorageUnavailable: It cannot be written.
            JobCancelled: Somebody asked the work to stop.
        """
        if self._cancelled.is_set():
            raise JobCancelled("cancelled while a file was fetched")
        self.size_bytes += len(piece)
        if self.size_bytes > self._most_bytes:
            raise TooLarge
        self._digest.update(piece)
        with storing():
            self._target.write(piece)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may take, where it puts files, and whether it shall stop."""

    most_bytes: int
    cancelled: threading.Event

    def check(self) -> None:
        """Raise JobCancelled if somebody asked the work to stop."""
        if self.cancelled.is_set():
            raise JobCancelled("cancelled while the source was listed")


def receive(
    stream: BinaryIO, file: SourceFile, filename: str, target: Path, limits: Limits
) -> Fetched | Skipped:
    """Copy a stream to a file; blocks."""
    with opened(target) as written:
        receiver = Receiver(written, limits.most_bytes, limits.cancelled)
        try:
            while piece := stream.read(_PIECE_BYTES):
                receiver.take(piece)
        except TooLarge:
            return too_large(file, limits.most_bytes)
    return Fetched(target, receiver.sha256, receiver.size_bytes, filename, file.mark)


def too_large(file: SourceFile, most_bytes: int) -> Skipped:
    """A file over the limit of uploads."""
    return Skipped(file.key, f"larger than the limit of {most_bytes} bytes", file.mark)


def not_utf8(name: str) -> Skipped:
    """A file whose name no text can hold."""
    shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return Skipped(shown.replace("\0", "\\x00"), "its name is not UTF-8")


def is_storable(name: str) -> bool:
    """Whether a name is text that PostgreSQL holds."""
    return name.isprintable() or not ("\0" in name or _has_surrogates(name))


def _has_surrogates(name: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in name)


def is_hidden(name: str) -> bool:
    """Whether a name in a folder is for machines: hidden, or the lock file of an office program."""
    return name.startswith((".", "~$")) or name in ("Thumbs.db", "desktop.ini", "__MACOSX")
