"""What a file is, decided by its bytes; a name only tells one kind of text from another."""

import mmap
import re
import struct
import zipfile
from pathlib import Path, PurePath
from typing import BinaryIO

from app.domain.documents import MediaType
from app.domain.errors import UnsupportedMedia

_HEAD_BYTES = 65536
_BY_ENDING = {
    ".pdf": MediaType.PDF,
    ".docx": MediaType.DOCX,
    ".docm": MediaType.DOCX,
    ".pptx": MediaType.PPTX,
    ".pptm": MediaType.PPTX,
    ".xlsx": MediaType.XLSX,
    ".xlsm": MediaType.XLSX,
    ".html": MediaType.HTML,
    ".htm": MediaType.HTML,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
    ".csv": MediaType.CSV,
    ".tsv": MediaType.CSV,
    ".eml": MediaType.EML,
    ".txt": MediaType.TEXT,
}
_OFFICE = {MediaType.DOCX, MediaType.PPTX, MediaType.XLSX}
_ZIPPED = {
    "word/document.xml": MediaType.DOCX,
    "ppt/presentation.xml": MediaType.PPTX,
    "xl/workbook.xml": MediaType.XLSX,
}
_OTHER_ZIPPED = {
    "xl/workbook.bin": "an Excel binary workbook .xlsb",
    "AndroidManifest.xml": "an Android package",
    "META-INF/MANIFEST.MF": "a Java archive",
}
_OPEN_DOCUMENT = {
    b"opendocument.text": "an OpenDocument text .odt",
    b"opendocument.spreadsheet": "an OpenDocument spreadsheet .ods",
    b"opendocument.presentation": "an OpenDocument presentation .odp",
    b"epub+zip": "an EPUB book",
}
# Streams of an OLE container, in UTF-16 as its directory spells them.
_OLE = {
    "EncryptedPackage": "an encrypted Office document",
    "WordDocument": "old Word .doc",
    "Workbook": "old Excel .xls",
    "PowerPoint Document": "old PowerPoint .ppt",
    "__substg1.0_": "an Outlook message .msg",
}
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"8BPS", "a Photoshop image"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"\xcf\xfa\xed\xfe", "a macOS program"),
    (0, b"\xce\xfa\xed\xfe", "a macOS program"),
    (0, b"\xca\xfe\xba\xbe", "a Java class or macOS program"),
    (0, b"\0asm", "a WebAssembly module"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (4, b"ftyp", "an MP4 or HEIC file"),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "a WAV recording"),
    (8, b"AVI ", "an AVI video"),
    (0, b"wOF", "a font"),
)
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_END = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_MAX_DIRECTORY_BYTES = 1024**2
_HTML_START = re.compile(
    rb"(?>\s+|<!--.*?-->|<\?xml[^>]*>)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_TAG = re.compile(
    rb"<(?:html|body|div|p|table|ul|ol|h[1-6]|span|br|a)\b[^<>]*>", re.IGNORECASE
)
_HEADER = re.compile(rb"([!-9;-~]{1,60}):[ \t]*\S")
_ENVELOPE = {b"from", b"to", b"subject", b"date"}
_TRANSPORT = {b"message-id", b"mime-version", b"received", b"return-path", b"delivered-to"}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def sniff(path: Path, filename: str) -> MediaType:
    """Return a file's type.

    An encrypted Office document is taken as the type that its name promises, so that its owner
    finds it in the list of documents with the reason why it cannot be read. An empty file is taken
    by its name alone.

    Args:
        path: The bytes.
        filename: The name that the sender gave; only its ending is looked at.

    Raises:
        UnsupportedMedia: Opora does not read this type; the message names what was seen.
    """
    ending = PurePath(filename).suffix.lower()
    named = _BY_ENDING.get(ending)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if not head:
            return named or MediaType.TEXT
        if head.startswith(_OLE_MAGIC):
            return _sniff_ole(file, named, filename)
        if head.startswith(_ZIP_MAGIC):
            return _sniff_zip(file, head, filename)
    if head.lstrip(b"\xef\xbb\xbf\0\t\r\n ").startswith(b"%PDF-"):
        return MediaType.PDF
    if named is MediaType.PDF and b"%PDF-" in head[:1024]:
        return MediaType.PDF
    seen = _binary_kind(head)
    if seen:
        raise _unsupported(seen, filename)
    return _sniff_text(head, named)


def _unsupported(seen: str, filename: str) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"{PurePath(filename).name!r} is {seen}; Opora reads PDF, DOCX, PPTX, XLSX, HTML, "
        "Markdown, text, CSV and EML"
    )


def _sniff_ole(file: BinaryIO, named: MediaType | None, filename: str) -> MediaType:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stream = next((s for s in _OLE if data.find(s.encode("utf-16-le")) >= 0), None)
    if stream == "EncryptedPackage" and named in _OFFICE:
        return named
    raise _unsupported(_OLE[stream] if stream else "an OLE container", filename)


def _sniff_zip(file: BinaryIO, head: bytes, filename: str) -> MediaType:
    names = _zip_members(file)
    for member, media_type in _ZIPPED.items():
        if member in names and "[Content_Types].xml" in names:
            return media_type
    for mark, seen in _OPEN_DOCUMENT.items():
        if mark in head[:128]:
            raise _unsupported(seen, filename)
    known = (seen for member, seen in _OTHER_ZIPPED.items() if member in names)
    raise _unsupported(next(known, "a ZIP archive"), filename)


def _zip_members(file: BinaryIO) -> frozenset[str]:
    """Return the names in a ZIP archive; none where its directory is damaged or absurdly long.

    The length is looked at first: zipfile would build an object for each of millions of entries.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 65557))
    tail = file.read()
    end = tail.rfind(_ZIP_END)
    if end < 0 or len(tail) < end + 22 or tail[max(0, end - 20) :].startswith(_ZIP64_LOCATOR):
        return frozenset()
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        return frozenset()
    try:
        with zipfile.ZipFile(file) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return frozenset()


def _binary_kind(head: bytes) -> str | None:
    """Name what is certainly no text."""
    for offset, magic, seen in _MAGIC:
        if head.startswith(magic, offset):
            return seen
    if head.startswith(b"MZ") and b"\0" in head[:256]:
        return "a Windows program"
    if head.startswith(b"BM") and b"\0" in head[:32]:
        return "a BMP image"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    controls = len(_CONTROL.findall(head.rstrip(b"\0\x1a")))
    if controls > 0.01 * len(head) and not _is_unmarked_utf16(head):
        return "unknown binary data"
    return None


def _is_unmarked_utf16(head: bytes) -> bool:
    """Whether one byte of each pair is that of Latin or Cyrillic letters, as in UTF-16."""
    halves = (head[0::2], head[1::2])
    alphabets = (sum(byte in (0, 4) for byte in half) > 0.9 * len(half) for half in halves)
    return len(head) >= 4 and sum(alphabets) == 1


def _sniff_text(head: bytes, named: MediaType | None) -> MediaType:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", errors="replace").encode()
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML_START.match(head) or (named is MediaType.HTML and _HTML_TAG.search(head)):
        return MediaType.HTML
    if _is_email(head, named):
        return MediaType.EML
    if named in {MediaType.MARKDOWN, MediaType.CSV}:
        return named
    return MediaType.TEXT


def _is_email(head: bytes, named: MediaType | None) -> bool:
    """Whether a header block opens the file; people write `From:` in notes, machines add more."""
    if named is MediaType.EML:
        return True
    block = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    first = _HEADER.match(block)
    names = {m[1].lower() for line in block.splitlines() if (m := _HEADER.match(line))}
    return bool(first and names & _ENVELOPE and len(names & _TRANSPORT) >= 2)
