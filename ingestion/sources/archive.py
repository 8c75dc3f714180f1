"""A ZIP archive as a folder: its members are listed and read one by one, as streams."""

import asyncio
import errno
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from app.domain.errors import DocumentTooComplex, StorageUnavailable, UnreadableDocument
from app.domain.sources import Listing, Skipped, SourceFile
from ingestion.sources.reading import (
    Absent,
    Limits,
    Outcome,
    is_hidden,
    is_storable,
    not_utf8,
    receive,
)

MOST_MEMBERS = 20_000
MOST_BYTES = 4 * 1024**3
MOST_RATIO = 200
_RATIO_FROM_BYTES = 64 * 1024**2
_MOST_DIRECTORY_BYTES = 4 * 1024**2
_END = b"PK\x05\x06"
_ZIP64_LOCATOR, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_END_BYTES, _COMMENT_BYTES = 22, 65535
_ENCRYPTED, _UTF8 = 0x1, 0x800
_OLD_NAMES = "cp866"  # what Russian Windows writes into archives
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


class ArchiveReader:
    """Reads the members of a ZIP archive. Their names are names only: nothing is unpacked by them.

    Args:
        path: The archive; only read.
        uri: What to put before a member's name to get its address.
        limits: Of sizes; and whether to stop.
    """

    def __init__(self, path: Path, uri: str, limits: Limits) -> None:
        self._path = path
        self._uri = uri
        self._limits = limits
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._archive: zipfile.ZipFile | None = None

    async def list_files(self) -> Listing:
        """Return all members.

        Raises:
            UnreadableDocument: The archive is damaged.
            DocumentTooComplex: It has too many members or unpacks to too much.
        """
        return await asyncio.to_thread(self._list)

    async def fetch(self, file: SourceFile, _mark: str | None, target: Path, /) -> Outcome:
        """Unpack a member."""
        return await asyncio.to_thread(self._fetch, file, target)

    async def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()

    def _list(self) -> Listing:
        try:
            with self._path.open("rb") as file:
                _check_directory(file)
            self._archive = zipfile.ZipFile(self._path, metadata_encoding=_OLD_NAMES)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            _raise_if_storage(error)
            raise UnreadableDocument(f"the ZIP archive is damaged: {error}") from error
        # `ZipInfo.is_dir` fails for a name that damage has left empty.
        members = [one for one in self._archive.infolist() if not one.filename.endswith("/")]
        _check_sizes(members, self._path.stat().st_size)
        files: dict[str, SourceFile] = {}
        skipped: list[Skipped] = []
        for member in members:
            key, left_out = _name(member), _reason(member)
            if not is_storable(key):
                skipped.append(not_utf8(key))
            elif left_out is not None:
                skipped.append(Skipped(key, left_out))
            elif key in files:
                skipped.append(Skipped(key, "a second member of this name"))
            else:
                mark = f"{member.CRC:08x}-{member.file_size}"
                self._members[key] = member
                files[key] = SourceFile(key, f"{self._uri}!/{key}", mark, member.file_size)
        return Listing(tuple(files.values()), tuple(skipped))

    def _fetch(self, file: SourceFile, target: Path) -> Outcome:
        assert self._archive is not None
        member = self._members.get(file.key)
        if member is None:
            return Absent.GONE
        name = PurePosixPath(file.key.replace("\\", "/")).name or file.key
        try:
            with self._archive.open(member) as stream:
                return receive(stream, file, name, target, self._limits)  # type: ignore[arg-type]
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
            _raise_if_storage(error)
            return Skipped(file.key, f"damaged: {error}", file.mark)
        except RuntimeError as error:  # what zipfile says of encryption and of unknown methods
            return Skipped(file.key, f"cannot be unpacked: {error}", file.mark)


def _raise_if_storage(error: Exception) -> None:
    """Raise StorageUnavailable where not the archive is at fault but where it lies."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise StorageUnavailable(f"the store of files: {error.strerror}") from error


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory that is absurdly long before an object is built for each entry."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise UnreadableDocument("the ZIP archive has no directory: it is cut off or damaged")
    entries, directory_bytes = struct.unpack_from("<HL", tail, end + 10)
    is_zip64 = tail[max(0, end - _ZIP64_LOCATOR_BYTES) :].startswith(_ZIP64_LOCATOR)
    if is_zip64 or entries == 0xFFFF or directory_bytes > _MOST_DIRECTORY_BYTES:
        raise _too_many()


def _check_sizes(members: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    if len(members) > MOST_MEMBERS:
        raise _too_many()
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise DocumentTooComplex(
            f"the ZIP archive unpacks to {total} bytes, more than {MOST_BYTES}: divide it"
        )
    if total > _RATIO_FROM_BYTES and total > MOST_RATIO * archive_bytes:
        raise DocumentTooComplex(
            f"the ZIP archive unpacks to {total // archive_bytes} times its size, which only "
            "archives made to do harm do"
        )


def _too_many() -> DocumentTooComplex:
    return DocumentTooComplex(f"the ZIP archive has more than {MOST_MEMBERS} members: divide it")


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without saying so."""
    if member.flag_bits & _UTF8:
        return member.filename
    try:
        return member.filename.encode(_OLD_NAMES).decode()
    except UnicodeError:
        return member.filename


def _reason(member: zipfile.ZipInfo) -> str | None:
    """Why a member is not read."""
    if any(is_hidden(part) for part in PurePosixPath(member.filename).parts if part != ".."):
        return "hidden"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted: unpack it with its password and add the files"
    if member.compress_type not in _METHODS:
        return f"compressed by method {member.compress_type}, which is not read"
    return None
