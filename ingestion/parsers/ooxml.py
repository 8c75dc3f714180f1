"""The package that Office and OpenDocument files are: a ZIP archive of XML parts."""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from lxml import etree

from app.domain.errors import DocumentTooComplex, EncryptedDocument, UnreadableDocument

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_UNPACKED_BYTES = 1024**3
MAX_PART_BYTES = 256 * 1024**2
MAX_PARTS = 20_000

_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAMES = (
    (_STRICT + b"officeDocument/", b"http://schemas.openxmlformats.org/officeDocument/2006/"),
    (_STRICT + b"drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
    (_STRICT + b"wordprocessingml/", b"http://schemas.openxmlformats.org/wordprocessingml/2006/"),
    (_STRICT + b"presentationml/", b"http://schemas.openxmlformats.org/presentationml/2006/"),
)
# What zipfile lets through when places and streams in an archive are wrong.
_DAMAGED = (zlib.error, ValueError, OSError)
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


@contextmanager
def open_package(file: BinaryIO) -> Iterator["Package"]:
    """Open an Office file whose directory promises no more than the limits.

    Raises:
        EncryptedDocument: It asks for a password.
        UnreadableDocument: It is damaged.
        DocumentTooComplex: It would unpack to more than the limits (a "zip bomb").
    """
    if file.read(8) == OLE_MAGIC:
        raise EncryptedDocument(
            "the document is protected by a password: save it without one and upload it again"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            _refuse_bombs(archive)
            yield Package(archive)
    except etree.XMLSyntaxError as error:
        if "unknown error" in str(error):  # libxml2's word for an allocation that failed
            raise MemoryError from error
        raise UnreadableDocument(f"the file is damaged: {error}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise UnreadableDocument(f"the file is damaged: {error}") from error
    except RuntimeError as error:  # zipfile's word for a member that asks for a password
        raise EncryptedDocument(f"the file is protected by a password: {error}") from error


def _refuse_bombs(archive: zipfile.ZipFile) -> None:
    """Add up the declared sizes; zipfile reads no byte beyond a member's declared size."""
    members = archive.infolist()
    if len(members) > MAX_PARTS:
        raise DocumentTooComplex(f"the file has {len(members)} parts, more than {MAX_PARTS}")
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise DocumentTooComplex(
            f"the file would unpack to {total} bytes, more than {MAX_UNPACKED_BYTES}"
        )
    for member in members:
        if member.filename.endswith((".xml", ".rels")) and member.file_size > MAX_PART_BYTES:
            raise DocumentTooComplex(
                f"the part {member.filename!r} would unpack to {member.file_size} bytes, more "
                f"than {MAX_PART_BYTES}"
            )


@dataclass(frozen=True)
class Package:
    """Reads the parts of an Office file."""

    archive: zipfile.ZipFile

    def xml(self, part: str) -> "etree._Element | None":
        """Return a part's root element, None where there is no such part.

        Raises:
            UnreadableDocument: The part declares a document type, which Office files never do and
                entity bombs need.
        """
        try:
            data = self.archive.read(part)
        except KeyError:
            return None
        except _DAMAGED as error:
            raise UnreadableDocument(f"the part {part!r} is damaged: {error}") from error
        if _STRICT in data:  # ISO/IEC 29500 Strict says the same in other namespaces
            for strict, transitional in _STRICT_NAMES:
                data = data.replace(strict, transitional)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
        root = etree.fromstring(data, parser)
        if root.getroottree().docinfo.doctype:
            raise UnreadableDocument(f"the part {part!r} declares a document type")
        return root

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return a part's relations inside the file: id to (type's last word, part name)."""
        folder, name = posixpath.split(part)
        root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        found = {}
        for relation in () if root is None else root.iter(_RELATIONS):
            target = relation.get("Target", "")
            if relation.get("TargetMode") != "External" and target:
                kind = relation.get("Type", "").rsplit("/", 1)[-1]
                where = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                found[relation.get("Id", "")] = (kind, where)
        return found

    def main_part(self) -> str:
        """Return the name of the part that the document begins with."""
        for kind, part in self.relations("").values():
            if kind == "officeDocument":
                return part
        raise UnreadableDocument("the file is damaged: it names no main part")

    def title(self) -> str | None:
        """Return the title that the author gave."""
        for part in ("docProps/core.xml", "meta.xml"):
            root = self.xml(part)
            if root is not None:
                title: str | None = root.findtext(f".//{_TITLE}")
                return title
        return None

    def check_sums(self) -> None:
        """Read all XML parts once, for readers that trust the declared sizes less than zipfile."""
        for member in self.archive.infolist():
            if member.filename.endswith((".xml", ".rels")):
                try:
                    with self.archive.open(member) as stream:
                        while stream.read(1024**2):
                            continue
                except _DAMAGED as error:
                    reason = f"the part {member.filename!r} is damaged: {error}"
                    raise UnreadableDocument(reason) from error
