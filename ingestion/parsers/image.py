"""Images: the text that is recognised in them; a TIFF of several pages keeps its pages."""

import struct
from typing import BinaryIO

from app.domain.documents import ParsedDocument
from app.domain.errors import DocumentTooComplex, EmptyDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.lines import Line, compose
from ingestion.parsers.ocr import read_lines
from ingestion.parsers.tesseract import OcrUnavailable, OutOfTime, read_pictures, turned

_BODY_SIZE = 10.0
_LEAST_SIDE = 20
_MOST_PAGES = 2000
_JPEG_START = b"\xff\xd8"
_ORIENTATION = 0x0112
# The orientations of EXIF that a camera writes, in quarters clockwise.
_QUARTERS = {3: 2, 6: 1, 8: 3}


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read the text in a PNG, JPEG, TIFF, WEBP, BMP or GIF file."""
    data = file.read()
    builder = TextBuilder(limits)
    pages: list[list[Line]] = []
    try:
        quarters = _QUARTERS.get(_exif_orientation(data), 0)
        for picture in read_pictures(data):
            if len(pages) == _MOST_PAGES:
                raise DocumentTooComplex(f"the image has more than {_MOST_PAGES} pages: split it")
            if min(picture.width, picture.height) < _LEAST_SIDE:
                picture.close()
                pages.append([])
            else:
                pages.append(read_lines(turned(picture, quarters), 1.0, _BODY_SIZE))
    except OcrUnavailable as error:
        raise EmptyDocument(f"the text in the image cannot be read: {error}") from error
    except OutOfTime as error:
        if not any(pages):
            raise DocumentTooComplex(
                "recognising the text in the image takes too long: save it smaller or raise "
                "OPORA_INGESTION__PARSER_CPU_S"
            ) from error
        builder.flag("ocr_pages_missing")
    builder.flag("ocr")
    compose(builder, pages)
    return builder.build(
        pages=len(pages) if len(pages) > 1 else None, empty="no text was recognised in the image"
    )


def _exif_orientation(data: bytes) -> int:
    """Return the orientation that a camera wrote into a JPEG file, 1 if it wrote none."""
    at = 2 if data.startswith(_JPEG_START) else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xE1 and segment.startswith(b"Exif\0\0"):
            return _orientation(segment[6:])
        at += 2 + length
    return 1


def _orientation(tiff: bytes) -> int:
    """Look the tag up in the first directory of a TIFF structure."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        if at + 12 > len(tiff):
            break
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION and kind == 3:
            return int(value)
    return 1
