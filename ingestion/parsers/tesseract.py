"""Tesseract and Leptonica, called in this process: the system's own libraries and language data.

The system keeps them patched, finds its language data, and an installation without OCR carries
none of it. Signatures are those of `tesseract/capi.h` (4 and 5) and `leptonica/allheaders.h`.
"""

import atexit
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from app.domain.errors import DocumentTooComplex, UnreadableDocument

LANGUAGES = "rus+eng"
INSTALL_HINT = "install tesseract-ocr and tesseract-ocr-rus"
_TESSERACT_NAMES = ("libtesseract.so.5", "libtesseract.so.4", "libtesseract.5.dylib")
_LEPTONICA_NAMES = ("liblept.so.5", "libleptonica.so.6", "libleptonica.6.dylib")
_MOST_PIXELS = 80_000_000
_USUAL_DPI = 300
_SILENT = 6
_PAGE_AUTO = 3
_ORIENTATION_ONLY = 0
_WORD_LEVEL = "5"
_LEAST_CONFIDENCE = 15.0


class OcrUnavailable(Exception):
    """The libraries or the language data are not installed."""


class OutOfTime(Exception):
    """The deadline passed before the page was read."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its box in pixels from the top left corner and a confidence up to 100."""

    text: str
    left: int
    top: int
    right: int
    bottom: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A Leptonica image; `close` gives its memory back."""

    pointer: int
    width: int
    height: int

    def close(self) -> None:
        _leptonica().pixDestroy(byref(c_void_p(self.pointer)))


def check_available() -> str:
    """Return the version of Tesseract.

    Raises:
        OcrUnavailable: Text in images cannot be recognised; the message says what to install.
    """
    _tesseract().TessBaseAPIDelete(_start(LANGUAGES, _PAGE_AUTO))
    version: bytes = _tesseract().TessVersion()
    return version.decode()


def read_pictures(data: bytes) -> Iterator[Picture]:
    """Decode an image file, a TIFF page by page; the caller closes each picture.

    Raises:
        OcrUnavailable: Leptonica is not installed.
        UnreadableDocument: The image is damaged.
        DocumentTooComplex: It has more pixels than a parser's memory holds.
    """
    library = _leptonica()
    if data[:4] in {b"II*\0", b"MM\0*"}:
        offset = c_size_t(0)
        while True:
            yield _picture(library.pixReadMemFromMultipageTiff(data, len(data), byref(offset)))
            if not offset.value:
                return
    _check_size(data)
    yield _picture(library.pixReadMem(data, len(data)))


def _check_size(data: bytes) -> None:
    """Refuse an image by its header, before its pixels take memory."""
    ints = [c_int(0) for _ in range(6)]
    if _leptonica().pixReadHeaderMem(data, len(data), *map(byref, ints)):
        return  # Leptonica knows no headers of this kind; reading it will tell
    width, height = ints[1].value, ints[2].value
    if width * height > _MOST_PIXELS:
        raise DocumentTooComplex(
            f"the image has {width} x {height} pixels, more than {_MOST_PIXELS}: save it smaller"
        )


def _picture(pointer: int | None) -> Picture:
    if not pointer:
        raise UnreadableDocument("the image is damaged or of a kind that cannot be read")
    library = _leptonica()
    return Picture(pointer, library.pixGetWidth(pointer), library.pixGetHeight(pointer))


def turned(picture: Picture, quarters: int) -> Picture:
    """Return a picture turned clockwise by quarters; the one given is closed."""
    if not quarters % 4:
        return picture
    made = _picture(_leptonica().pixRotateOrth(picture.pointer, quarters % 4))
    picture.close()
    return made


def scaled(picture: Picture, factor: float) -> Picture:
    """Return an enlarged picture; the one given is closed."""
    made = _picture(_leptonica().pixScale(picture.pointer, factor, factor))
    picture.close()
    return made


def grey_picture(pixels: bytes, width: int, height: int, stride: int) -> Picture:
    """Return a picture of grey values, one byte each, rows `stride` bytes apart."""
    library = _leptonica()
    pointer = library.pixCreate(width, height, 8)
    if not pointer:
        raise MemoryError
    words_per_row = library.pixGetWpl(pointer)
    row_bytes = 4 * words_per_row
    target = library.pixGetData(pointer)
    for row in range(height):
        line = pixels[row * stride : row * stride + width]
        ctypes.memmove(target + row * row_bytes, line.ljust(row_bytes, b"\xff"), row_bytes)
    library.pixEndianByteSwap(pointer)
    return Picture(pointer, width, height)


def recognise(picture: Picture, timeout_s: float) -> list[list[Word]]:
    """Return the words of each line, line by line in reading order.

    Raises:
        OcrUnavailable: There is nothing to read it with.
        OutOfTime: It took longer than `timeout_s`.
    """
    library = _tesseract()
    engine = _engine()
    library.TessBaseAPISetImage2(engine, picture.pointer)
    library.TessBaseAPISetSourceResolution(engine, _USUAL_DPI)
    with _deadline(timeout_s) as monitor:
        try:
            if library.TessBaseAPIRecognize(engine, monitor):
                raise OutOfTime
            return list(_lines(engine))
        finally:
            library.TessBaseAPIClear(engine)


def quarters_to_turn(picture: Picture) -> int:
    """Return by how many quarters a picture has to be turned clockwise to stand upright."""
    library = _tesseract()
    engine = _start("osd", _ORIENTATION_ONLY)
    degrees, script = c_int(0), c_char_p()
    sure, script_sure = ctypes.c_float(0), ctypes.c_float(0)
    library.TessBaseAPISetImage2(engine, picture.pointer)
    library.TessBaseAPISetSourceResolution(engine, _USUAL_DPI)
    found = library.TessBaseAPIDetectOrientationScript(
        engine, byref(degrees), byref(sure), byref(script), byref(script_sure)
    )
    library.TessBaseAPIDelete(engine)
    return -degrees.value // 90 % 4 if found else 0


@contextmanager
def _deadline(timeout_s: float) -> Iterator[int]:
    library = _tesseract()
    monitor = library.TessMonitorCreate()
    library.TessMonitorSetDeadlineMSecs(monitor, max(1, int(timeout_s * 1000)))
    try:
        yield monitor
    finally:
        library.TessMonitorDelete(monitor)


def _lines(engine: int) -> Iterator[list[Word]]:
    library = _tesseract()
    pointer = library.TessBaseAPIGetTsvText(engine, 0)
    if not pointer:
        return
    table = ctypes.string_at(pointer).decode("utf-8", errors="replace")
    library.TessDeleteText(pointer)
    rows = (line.split("\t", 11) for line in table.split("\n"))
    words = (row for row in rows if len(row) == 12 and row[0] == _WORD_LEVEL)
    for _, line in groupby(words, key=lambda row: row[1:5]):
        words_of_line = (_word(row) for row in line)
        kept = [w for w in words_of_line if w.text and w.confidence >= _LEAST_CONFIDENCE]
        if kept:
            yield kept


def _word(row: list[str]) -> Word:
    left, top, width, height = map(int, row[6:10])
    return Word(row[11].strip(), left, top, left + width, top + height, float(row[10]))


@cache
def _engine() -> int:
    engine = _start(LANGUAGES, _PAGE_AUTO)
    atexit.register(_tesseract().TessBaseAPIDelete, engine)
    return engine


def _start(languages: str, mode: int) -> int:
    """Load language data from TESSDATA_PREFIX or where the library's packager put it."""
    library = _tesseract()
    engine: int = library.TessBaseAPICreate()
    if library.TessBaseAPIInit3(engine, None, languages.encode()):
        library.TessBaseAPIDelete(engine)
        raise OcrUnavailable(f"Tesseract's data for {languages} is missing: {INSTALL_HINT}")
    library.TessBaseAPISetPageSegMode(engine, mode)
    return engine


@cache
def _tesseract() -> ctypes.CDLL:
    # Read once, when OpenMP loads: recognition stays on one thread, and the sandbox allows no more.
    os.putenv("OMP_THREAD_LIMIT", "1")
    _leptonica()
    library = _load(_TESSERACT_NAMES)
    handle, text = c_void_p, c_char_p
    _declare(library, "TessVersion", text)
    _declare(library, "TessBaseAPICreate", handle)
    _declare(library, "TessBaseAPIDelete", None, handle)
    _declare(library, "TessBaseAPIInit3", c_int, handle, text, text)
    _declare(library, "TessBaseAPISetPageSegMode", None, handle, c_int)
    _declare(library, "TessBaseAPISetImage2", None, handle, c_void_p)
    _declare(library, "TessBaseAPISetSourceResolution", None, handle, c_int)
    _declare(library, "TessBaseAPIRecognize", c_int, handle, c_void_p)
    _declare(library, "TessBaseAPIGetTsvText", c_void_p, handle, c_int)
    _declare(library, "TessBaseAPIClear", None, handle)
    _declare(library, "TessDeleteText", None, c_void_p)
    _declare(library, "TessMonitorCreate", c_void_p)
    _declare(library, "TessMonitorDelete", None, c_void_p)
    _declare(library, "TessMonitorSetDeadlineMSecs", None, c_void_p, c_int)
    _declare(
        library, "TessBaseAPIDetectOrientationScript", c_int, handle, POINTER(c_int),
        POINTER(ctypes.c_float), POINTER(c_char_p), POINTER(ctypes.c_float),
    )  # fmt: skip
    return library


@cache
def _leptonica() -> ctypes.CDLL:
    library = _load(_LEPTONICA_NAMES)
    image, size, number = c_void_p, c_size_t, POINTER(c_int)
    _declare(library, "setMsgSeverity", c_int, c_int)
    _declare(library, "pixReadMem", image, c_char_p, size)
    _declare(library, "pixReadMemFromMultipageTiff", image, c_char_p, size, POINTER(size))
    _declare(library, "pixReadHeaderMem", c_int, c_char_p, size, *[number] * 6)
    _declare(library, "pixCreate", image, c_int, c_int, c_int)
    _declare(library, "pixGetWpl", c_int, image)
    _declare(library, "pixGetData", c_void_p, image)
    _declare(library, "pixEndianByteSwap", c_int, image)
    _declare(library, "pixGetWidth", c_int, image)
    _declare(library, "pixGetHeight", c_int, image)
    _declare(library, "pixRotateOrth", image, image, c_int)
    _declare(library, "pixScale", image, image, ctypes.c_float, ctypes.c_float)
    _declare(library, "pixDestroy", None, POINTER(image))
    library.setMsgSeverity(_SILENT)
    return library


def _load(names: tuple[str, ...]) -> ctypes.CDLL:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OcrUnavailable(f"Tesseract is missing: {INSTALL_HINT}")


def _declare(library: ctypes.CDLL, name: str, result: object, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
