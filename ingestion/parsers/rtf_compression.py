"""The compression in which Outlook stores RTF bodies ([MS-OXRTFCP])."""

import struct

from app.domain.errors import UnreadableDocument

_HEADER = struct.Struct("<IIII")
_COMPRESSED = 0x75465A4C
_UNCOMPRESSED = 0x414C454D
_WINDOW = 4096
# What both sides take as already written (section 2.1.2.1).
_PRELUDE = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n" + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def decompress_rtf(data: bytes) -> bytes:
    """Return the RTF of a compressed body; one that is cut off gives what is there.

    Raises:
        UnreadableDocument: The header is not that of a compressed body.
    """
    if len(data) < _HEADER.size:
        raise UnreadableDocument("the message's body is cut off")
    _, raw_size, kind, _ = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if kind == _UNCOMPRESSED:
        return bytes(body[:raw_size])
    if kind != _COMPRESSED:
        raise UnreadableDocument("the message's body is compressed in an unknown way")
    return bytes(_unpack(body, raw_size)[len(_PRELUDE) :])


def _unpack(body: memoryview, raw_size: int) -> bytearray:
    """Return the prelude and what follows: a window slides over all that was written."""
    out = bytearray(_PRELUDE)
    most = len(out) + raw_size
    at = 0
    while at < len(body) and len(out) < most:
        control, at = body[at], at + 1
        for bit in range(8):
            if at + (control >> bit & 1) >= len(body):
                return out
            if not control >> bit & 1:
                out.append(body[at])
                at += 1
                continue
            token = body[at] << 8 | body[at + 1]
            at += 2
            place, length = token >> 4, (token & 15) + 2
            end = len(out) % _WINDOW
            if place == end:
                return out
            distance = (end - place) % _WINDOW
            if distance > len(out):
                raise UnreadableDocument("the message's body is damaged")
            for _ in range(length):
                out.append(out[-distance])
    return out
