"""Which parser reads which type. Modules are imported when needed: a child reads one file only."""

from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import EmptyDocument, UnreadableDocument
from ingestion.parsers.builder import TextLimits

_MODULES = {
    MediaType.PDF: "pdf",
    MediaType.DOCX: "docx",
    MediaType.PPTX: "pptx",
    MediaType.XLSX: "xlsx",
    MediaType.XLS: "xlsx",
    MediaType.ODS: "xlsx",
    MediaType.ODT: "odf",
    MediaType.ODP: "odf",
    MediaType.RTF: "rtf",
    MediaType.HTML: "html",
    MediaType.MARKDOWN: "markdown",
    MediaType.TEXT: "text",
    MediaType.CSV: "csv",
    MediaType.JSON: "json",
    MediaType.JSONL: "json",
    MediaType.EML: "eml",
    MediaType.MSG: "msg",
    MediaType.PNG: "image",
    MediaType.JPEG: "image",
    MediaType.TIFF: "image",
    MediaType.WEBP: "image",
    MediaType.BMP: "image",
    MediaType.GIF: "image",
}


class Reader(Protocol):
    """A module of this package that reads one family of files."""

    def parse(self, file: BinaryIO, limits: TextLimits) -> ParsedDocument:
        """Read a file from its start."""
        ...


def parse(path: Path, media_type: MediaType, limits: TextLimits) -> ParsedDocument:
    """Return the text and the structure of a file.

    Hostile files are the sandbox's business: call this in a child process.

    Raises:
        EmptyDocument: No letter and no digit.
        EncryptedDocument: The file asks for a password.
        UnreadableDocument: The file is damaged or not of its type.
        DocumentTooComplex: A limit was passed.
    """
    if path.stat().st_size == 0:
        raise EmptyDocument("the file is empty (0 bytes)")
    with path.open("rb") as file:
        return parse_file(file, media_type, limits)


def parse_file(file: BinaryIO, media_type: MediaType, limits: TextLimits) -> ParsedDocument:
    """Read an open file that is not empty, as `parse` does."""
    name = _MODULES.get(media_type)
    if name is None:
        raise UnreadableDocument("a ZIP archive is unpacked, not parsed: upload its files instead")
    reader: Reader = import_module(f"{__package__}.{name}")
    return reader.parse(file, limits)
