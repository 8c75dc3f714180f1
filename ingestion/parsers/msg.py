"""Outlook messages: the properties of an OLE container, read as [MS-OXMSG] lays them out."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from olefile import STGTY_STREAM, OleFileIO
from olefile.olefile import OleFileError

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import UnreadableDocument
from ingestion.parsers.attachments import Attachment, add_attachments
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode
from ingestion.parsers.rtf_compression import decompress_rtf
from ingestion.parsers.text import add_plain_text

# Property ids of [MS-OXPROPS].
_SUBJECT = "0037"
_SENT = 0x0039
_DELIVERED = 0x0E06
_SENDER_NAME = "0C1A"
_SENDER_ADDRESSES = ("5D01", "0C1F")
_TO = "0E04"
_CC = "0E03"
_BODY = "1000"
_HTML = "1013"
_RTF = "1009"
_CODEPAGES = (0x3FFD, 0x3FDE)
_FILE_NAMES = ("3707", "3704", "3001")
_DATA = "37010102"
_INNER = "3701000D"
_UTF8 = 65001
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_TOP_HEADER = 32
_INNER_HEADER = 24


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a message; its subject is the title."""
    try:
        with OleFileIO(file) as ole:
            if not ole.exists("__properties_version1.0"):
                raise UnreadableDocument("the container holds no Outlook message")
            return _Message(ole, ()).parse(limits)
    except (OleFileError, OSError, OverflowError, ValueError, struct.error) as error:
        raise UnreadableDocument(f"the message is damaged: {error}") from error


@dataclass(frozen=True)
class _Message:
    """A message in a storage of the container; the outermost one has the path ()."""

    ole: OleFileIO
    path: tuple[str, ...]

    def parse(self, limits: TextLimits) -> ParsedDocument:
        """Read the envelope, the body and the attachments."""
        builder = TextBuilder(limits)
        envelope = {
            "From": self.sender(),
            "To": self.text(_TO),
            "Cc": self.text(_CC),
            "Date": self.date(),
            "Subject": self.text(_SUBJECT),
        }
        lines = [f"{name}: {value}" for name, value in envelope.items() if value]
        builder.add(BlockKind.PARAGRAPH, "\n".join(lines))
        body = self.text(_BODY)
        html = self.html()
        if body.strip():
            add_plain_text(builder, body)
        elif html.strip():
            from ingestion.parsers.html import add_html

            add_html(builder, html)
        else:
            self.add_rtf(builder)
        add_attachments(builder, self.attachments(), limits)
        return builder.build(self.text(_SUBJECT) or None)

    def sender(self) -> str:
        name = self.text(_SENDER_NAME)
        addresses = (self.text(one) for one in _SENDER_ADDRESSES)
        address = next((one for one in addresses if "@" in one), "")
        return f"{name} <{address}>" if name and address and name != address else name or address

    def date(self) -> str:
        """Return when the message was sent, else delivered, in ISO 8601 (UTC)."""
        properties = self.properties()
        ticks = properties.get(_SENT) or properties.get(_DELIVERED)
        if not ticks:
            return ""
        try:
            return (_EPOCH + timedelta(microseconds=ticks // 10)).isoformat(" ", "seconds")
        except OverflowError:
            return ""

    def html(self) -> str:
        data = self.stream(f"__substg1.0_{_HTML}0102")
        if data is None:
            return self.text(_HTML)
        return decode(data, self.encoding())

    def add_rtf(self, builder: TextBuilder) -> None:
        """Add the body of a message that has it as compressed RTF alone ([MS-OXRTFCP])."""
        data = self.stream(f"__substg1.0_{_RTF}0102")
        if data:
            from ingestion.parsers.rtf import add_rtf

            add_rtf(builder, decompress_rtf(data))

    def attachments(self) -> list[Attachment]:
        """Return what is attached; messages in the message among them."""
        storages = {
            entry[len(self.path)]
            for entry in self.ole.listdir(streams=True, storages=True)
            if tuple(entry[: len(self.path)]) == self.path and len(entry) > len(self.path)
        }
        return [self.attachment(name) for name in sorted(storages) if name.startswith("__attach_")]

    def attachment(self, storage: str) -> Attachment:
        inner = _Message(self.ole, (*self.path, storage))
        name = next((text for key in _FILE_NAMES if (text := inner.text(key))), storage)
        data = inner.stream(f"__substg1.0_{_DATA}")
        if data is not None:
            return Attachment(name, data)
        message = _Message(self.ole, (*inner.path, f"__substg1.0_{_INNER}"))
        if message.stream("__properties_version1.0") is not None:
            return Attachment(message.text(_SUBJECT) or name, read=message.parse)
        return Attachment(name, read=_refuse)

    def text(self, name: str) -> str:
        """Return a property of text, "" if the message does not have it."""
        wide = self.stream(f"__substg1.0_{name}001F")
        if wide is not None:
            return wide.decode("utf-16-le", errors="replace").rstrip("\0")
        narrow = self.stream(f"__substg1.0_{name}001E")
        return "" if narrow is None else decode(narrow.rstrip(b"\0"), self.encoding())

    def encoding(self) -> str | None:
        """Name the encoding of what is not UTF-16."""
        properties = self.properties()
        codepage = next((properties[key] for key in _CODEPAGES if properties.get(key)), None)
        return None if codepage in {None, _UTF8} else f"cp{codepage}"

    def properties(self) -> dict[int, int]:
        """Return the properties of fixed length, as numbers."""
        data = self.stream("__properties_version1.0") or b""
        entries = data[_INNER_HEADER if self.path else _TOP_HEADER :]
        whole = len(entries) // 16 * 16
        return {tag >> 16: value for tag, _, value in struct.iter_unpack("<IIQ", entries[:whole])}

    def stream(self, name: str) -> bytes | None:
        """Return a stream's bytes, None where there is none."""
        path = [*self.path, name]
        if not self.ole.exists(path) or self.ole.get_type(path) != STGTY_STREAM:
            return None
        with self.ole.openstream(path) as stream:
            data: bytes = stream.read()
            return data


def _refuse(_: TextLimits) -> ParsedDocument:
    raise UnreadableDocument("it is a link, or an object of another program")
