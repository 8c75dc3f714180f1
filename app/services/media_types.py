"""What a file is, decided by its bytes; a name only tells one kind of text from another."""

import json
import re
import struct
import zipfile
import zlib
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
    ".xls": MediaType.XLS,
    ".odt": MediaType.ODT,
    ".ods": MediaType.ODS,
    ".odp": MediaType.ODP,
    ".rtf": MediaType.RTF,
    ".html": MediaType.HTML,
    ".htm": MediaType.HTML,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
    ".csv": MediaType.CSV,
    ".tsv": MediaType.CSV,
    ".json": MediaType.JSON,
    ".jsonl": MediaType.JSONL,
    ".ndjson": MediaType.JSONL,
    ".eml": MediaType.EML,
    ".msg": MediaType.MSG,
    ".txt": MediaType.TEXT,
}
_OFFICE = {MediaType.DOCX, MediaType.PPTX, MediaType.XLSX}
_OPEN_DOCUMENT = {MediaType.ODT, MediaType.ODS, MediaType.ODP}
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
# Streams of an OLE container, in UTF-16 as its directory spells them. Messages come first: their
# attachments may be any of the others.
_OLE = {
    "__substg1.0_": MediaType.MSG,
    "EncryptedPackage": "an encrypted Office document",
    "WordDocument": "old Word .doc",
    "Workbook": MediaType.XLS,
    "PowerPoint Document": "old PowerPoint .ppt",
}
_MAGIC: tuple[tuple[int, bytes, MediaType | str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (0, b"\xff\xd8\xff", MediaType.JPEG),
    (0, b"GIF87a", MediaType.GIF),
    (0, b"GIF89a", MediaType.GIF),
    (0, b"II*\0", MediaType.TIFF),
    (0, b"MM\0*", MediaType.TIFF),
    (0, b"II+\0", MediaType.TIFF),
    (0, b"MM\0+", MediaType.TIFF),
    (8, b"WEBP", MediaType.WEBP),
    (0, b"{\\rtf", MediaType.RTF),
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
    (0, b"%!PS", "a PostScript file"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (4, b"ftyp", "an MP4 or HEIC file"),
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
_JSON_START = re.compile(rb"[\[{]\s*[\"\[{]")
_HEADER = re.compile(rb"([!-9;-~]{1,60}):[ \t]*\S")
_ENVELOPE = {b"from", b"to", b"subject", b"date"}
_TRANSPORT = {b"message-id", b"mime-version", b"received", b"return-path", b"delivered-to"}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def sniff(path: Path, filename: str) -> MediaType:
    """Return a file's type; see `sniff_file`."""
    with path.open("rb") as file:
        return sniff_file(file, filename)


def sniff_file(file: BinaryIO, filename: str) -> MediaType:
    """Return a file's type.

    An encrypted or damaged Office document is taken as the type that its name promises, so that its
    owner finds it in the list of documents with the reason why it cannot be read. An empty file is
    taken by its name alone.

    Args:
        file: The bytes, from the start of the file.
        filename: The name that the sender gave; only its ending is looked at.

    Raises:
        UnsupportedMedia: Opora does not read this type; the message names what was seen.
    """
    named = _BY_ENDING.get(PurePath(filename).suffix.lower())
    head = file.read(_HEAD_BYTES)
    if not head:
        return named or MediaType.TEXT
    if head.startswith(_OLE_MAGIC):
        return _sniff_ole(file, named, filename)
    if head.startswith(_ZIP_MAGIC):
        return _sniff_zip(file, head, named, filename)
    if head.lstrip(b"\xef\xbb\xbf\0\t\r\n ").startswith(b"%PDF-"):
        return MediaType.PDF
    if named is MediaType.PDF and b"%PDF-" in head[:1024]:
        return MediaType.PDF
    seen = _binary_kind(head)
    if isinstance(seen, MediaType):
        return seen
    if seen:
        raise _unsupported(seen, filename)
    return _sniff_text(head, named)


def _unsupported(seen: str, filename: str) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"{PurePath(filename).name!r} is {seen}; Opora reads PDF, DOCX, PPTX, XLSX, XLS, ODT, ODS, "
        "ODP, RTF, HTML, Markdown, text, CSV, JSON, EML, MSG, images and ZIP archives of these"
    )


def _sniff_ole(file: BinaryIO, named: MediaType | None, filename: str) -> MediaType:
    seen = next((seen for stream, seen in _OLE.items() if _holds(file, stream)), None)
    if isinstance(seen, MediaType):
        return seen
    if seen == _OLE["EncryptedPackage"] and named in _OFFICE:
        return named
    if seen is None and named in {MediaType.MSG, MediaType.XLS}:
        return named
    raise _unsupported(seen or "an OLE container", filename)


def _holds(file: BinaryIO, stream: str) -> bool:
    """Whether a stream's name stands anywhere in an OLE container."""
    name = stream.encode("utf-16-le")
    file.seek(0)
    before = b""
    while piece := file.read(1024**2):
        if name in before + piece:
            return True
        before = piece[-len(name) :]
    return False


def _sniff_zip(file: BinaryIO, head: bytes, named: MediaType | None, filename: str) -> MediaType:
    # What the first member of OpenDocument files and EPUB books says (ODF 1.3, part 2, 3.3).
    archive = _open_zip(file)
    if archive is None:
        names, kind = set[str](), head[38:138] if head[30:38] == b"mimetype" else b""
    else:
        names, kind = set(archive.namelist()), _mimetype(archive)
    for member, media_type in _ZIPPED.items():
        if member in names and "[Content_Types].xml" in names:
            return media_type
    for media_type in _OPEN_DOCUMENT:
        if kind.startswith(media_type.encode()):
            return media_type
    if kind.startswith(b"application/epub+zip"):
        raise _unsupported("an EPUB book", filename)
    seen = next((seen for member, seen in _OTHER_ZIPPED.items() if member in names), None)
    if seen:
        raise _unsupported(seen, filename)
    if archive is None and named in _OFFICE | _OPEN_DOCUMENT:
        return named
    if named in _OPEN_DOCUMENT and "content.xml" in names:
        return named
    return MediaType.ZIP


def _open_zip(file: BinaryIO) -> zipfile.ZipFile | None:
    """Open a ZIP archive; None where its directory is damaged or absurdly long.

    The length is looked at first: zipfile would build an object for each of millions of entries.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 65557))
    tail = file.read()
    end = tail.rfind(_ZIP_END)
    if end < 0 or len(tail) < end + 22 or tail[max(0, end - 20) :].startswith(_ZIP64_LOCATOR):
        return None
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        return None
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


def _mimetype(archive: zipfile.ZipFile) -> bytes:
    """Return what the member of that name holds, "" where it is damaged or too long for one."""
    try:
        with archive.open("mimetype") as member:
            return member.read(100)
    except (KeyError, RuntimeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return b""


def _binary_kind(head: bytes) -> MediaType | str | None:
    """Name what is certainly no text."""
    for offset, magic, seen in _MAGIC:
        if head.startswith(magic, offset):
            return seen
    if head.startswith(b"MZ") and b"\0" in head[:256]:
        return "a Windows program"
    if head.startswith(b"BM") and b"\0" in head[:32]:
        return MediaType.BMP
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
    return _sniff_json(head, named) or MediaType.TEXT


def _sniff_json(head: bytes, named: MediaType | None) -> MediaType | None:
    """Tell JSON by its beginning where the name says so too, else only where all of it fits."""
    text = head.lstrip()
    if not text.startswith((b"{", b"[")):
        return None
    if named is MediaType.JSONL:
        return MediaType.JSONL
    lines = [line for line in text.splitlines()[:3] if line.strip()]
    if len(lines) > 1 and text.startswith(b"{") and all(map(_is_json, lines[:2])):
        return MediaType.JSONL
    sure = _JSON_START.match(text) and _is_json(text)
    return MediaType.JSON if sure or named is MediaType.JSON else None


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _is_email(head: bytes, named: MediaType | None) -> bool:
    """Whether a header block opens the file; people write `From:` in notes, machines add more."""
    if named is MediaType.EML:
        return True
    block = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    first = _HEADER.match(block)
    names = {m[1].lower() for line in block.splitlines() if (m := _HEADER.match(line))}
    return bool(first and names & _ENVELOPE and len(names & _TRANSPORT) >= 2)
