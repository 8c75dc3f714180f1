"""PDF: text page by page through PDFium, in the order in which the file draws it.

PDFium gives characters with their places; lines, paragraphs and headings are inferred from these.
"""

import ctypes
import re
from collections.abc import Iterator
from statistics import median
from typing import BinaryIO

import pypdfium2
from pypdfium2 import raw

from app.domain.documents import ParsedDocument
from app.domain.errors import EncryptedDocument, UnreadableDocument
from ingestion.parsers import pulse
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.lines import Cell, Line, commonest_size, compose
from ingestion.parsers.ocr import read_lines
from ingestion.parsers.tesseract import OcrUnavailable, OutOfTime, Picture, grey_picture
from ingestion.parsers.text_quality import is_garbage

_GENERATED_TITLE = re.compile(
    r"microsoft|untitled|\.(?:docx?|xlsx?|pptx?|indd|tex|rtf|odt)\b", re.IGNORECASE
)
_MARGIN_SHARE = 0.1
_CELL_GAP = 1.5
_BOLD_WEIGHT = 600
_FEW_LETTERS = 100
_LARGE_IMAGE_SHARE = 0.4
_OCR_DPI = 300
_OCR_MOST_PIXELS = 25_000_000
_USUAL_SIZE = 10.0
_WHITE = 250
_LEAST_SIZE = 1.0


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a PDF file; headings are lines in larger type."""
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if error.err_code == raw.FPDF_ERR_PASSWORD:
            raise EncryptedDocument(
                "the PDF asks for a password: save it without one and upload it again"
            ) from error
        raise UnreadableDocument(f"the PDF is damaged: {error}") from error
    builder = TextBuilder(limits)
    pages = _read_pages(document, builder)
    missing = _read_images(document, pages, builder)
    if any(pages) and not all(pages):
        builder.flag("pages_without_text")
    compose(builder, pages)
    return builder.build(
        _title(document), len(pages), empty=missing or "no text was found on the pages"
    )


def _title(document: "pypdfium2.PdfDocument") -> str | None:
    title = document.get_metadata_dict().get("Title", "").strip()
    return None if len(title) < 3 or _GENERATED_TITLE.search(title) else title


def _read_images(
    document: "pypdfium2.PdfDocument", pages: list[list[Line]], builder: TextBuilder
) -> str:
    """Recognise in place the pages whose text layer is missing, or not what the page shows.

    Returns:
        Why some of them could not be read, "" if all were.
    """
    waiting = [number for number, lines in enumerate(pages) if _needs_ocr(document, number, lines)]
    sound = [line for number, page in enumerate(pages) if number not in waiting for line in page]
    size = commonest_size(sound) or _USUAL_SIZE
    missing = ""
    for left, number in zip(range(len(waiting), 0, -1), waiting, strict=True):
        pulse.pages(len(pages) - left, len(pages))
        try:
            lines = [] if missing else read_lines(*_picture(document, number), size)
        except OcrUnavailable as error:
            missing = f"the page images hold no text layer and cannot be read: {error}"
        except OutOfTime:
            missing = (
                "the page images hold no text layer, and recognising their text takes too long: "
                "split the document or raise OPORA_INGESTION__PARSER_CPU_S"
            )
        if missing:
            builder.flag("ocr_pages_missing")
        elif _is_better(lines, pages[number]):
            pages[number] = lines
            builder.flag("ocr")
        if is_garbage(_text(pages[number])):
            builder.flag("unreliable_text")
    return missing


def _needs_ocr(document: "pypdfium2.PdfDocument", number: int, lines: list[Line]) -> bool:
    text = _text(lines)
    if is_garbage(text):
        return True
    if _letters(text) >= _FEW_LETTERS:
        return False
    try:
        page = document[number]
        width, height = page.get_size()
        objects = list(page.get_objects(max_depth=3))
        images = [one for one in objects if one.type == raw.FPDF_PAGEOBJ_IMAGE]
        covered = sum(map(_area, images))
        page.close()
    except pypdfium2.PdfiumError:
        return False
    return covered > _LARGE_IMAGE_SHARE * width * height or (not lines and bool(objects))


def _area(image: "pypdfium2.PdfObject") -> float:
    left, bottom, right, top = image.get_bounds()
    return float((right - left) * (top - bottom))


def _picture(document: "pypdfium2.PdfDocument", number: int) -> tuple[Picture, float]:
    """Draw a page in grey; returns it with the points of a pixel."""
    page = document[number]
    width, height = page.get_size()
    largest = (_OCR_MOST_PIXELS / max(1.0, width * height)) ** 0.5
    scale = min(_OCR_DPI / 72, largest)
    bitmap = page.render(scale=scale, grayscale=True)
    picture = grey_picture(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride)
    bitmap.close()
    page.close()
    return picture, 1 / scale


def _is_better(lines: list[Line], layer: list[Line]) -> bool:
    """Whether what was recognised says more than the page's text layer."""
    text, old = _text(lines), _text(layer)
    if is_garbage(old):
        return not is_garbage(text) and _letters(text) > _letters(old) // 2
    return _letters(text) > _letters(old)


def _text(lines: list[Line]) -> str:
    return "\n".join(line.text for line in lines)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _read_pages(document: "pypdfium2.PdfDocument", builder: TextBuilder) -> list[list[Line]]:
    """Return the lines of each page; a damaged page has none and is flagged.

    Raises:
        UnreadableDocument: No page can be loaded.
    """
    pages: list[list[Line]] = []
    damaged = 0
    for number in range(len(document)):
        try:
            pages.append(_read_page(document, number, builder))
        except pypdfium2.PdfiumError:
            damaged += 1
            pages.append([])
        pulse.pages(len(pages), len(document))
    if damaged == len(pages):
        raise UnreadableDocument("the PDF is damaged: none of its pages can be loaded")
    if damaged:
        builder.flag("damaged_pages")
    return pages


def _read_page(document: "pypdfium2.PdfDocument", number: int, builder: TextBuilder) -> list[Line]:
    """Return a page's lines but those that nobody sees."""
    page = document[number]
    text_page = page.get_textpage()
    height = page.get_height() or 1.0
    lines, white = [], []
    for characters in _drawn_lines(text_page):
        line = _measure(text_page, characters)
        line.at_margin = (
            line.bottom > height * (1 - _MARGIN_SHARE) or line.top < height * _MARGIN_SHARE
        )
        lines.append(line)
        if all(_is_white(text_page, index) for index in {characters[0][0], characters[-1][0]}):
            white.append(line)
    unseen = set(map(id, _unseen(page, white)))
    seen = [line for line in lines if id(line) not in unseen and line.size >= _LEAST_SIZE]
    if len(seen) < len(lines):
        builder.flag("hidden_text_left_out")
    text_page.close()
    page.close()
    return seen


def _is_white(text_page: "pypdfium2.PdfTextPage", index: int) -> bool:
    """Whether a character is drawn in white, or in a colour that lets everything through."""
    red, green, blue, alpha = (ctypes.c_uint(0) for _ in range(4))
    known = raw.FPDFText_GetFillColor(
        text_page, index, *map(ctypes.byref, (red, green, blue, alpha))
    )
    return bool(known) and (min(red.value, green.value, blue.value) >= _WHITE or alpha.value == 0)


def _unseen(page: "pypdfium2.PdfPage", white: list[Line]) -> list[Line]:
    """Return those lines in white that stand on white: their places are blank when drawn."""
    if not white:
        return []
    bitmap = page.render(scale=1, grayscale=True)
    pixels, stride = bytes(bitmap.buffer), bitmap.stride
    place = bitmap.get_posconv(page)
    unseen = []
    for line in white:
        corners = (place.to_bitmap(line.left, line.top), place.to_bitmap(line.right, line.bottom))
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(*corners, strict=True))
        columns = slice(max(0, left), min(bitmap.width, right + 1))
        rows = range(max(0, top), min(bitmap.height, bottom + 1))
        strips = (pixels[row * stride : row * stride + bitmap.width][columns] for row in rows)
        if all(min(strip, default=255) >= _WHITE for strip in strips):
            unseen.append(line)
    bitmap.close()
    return unseen


def _drawn_lines(text_page: "pypdfium2.PdfTextPage") -> Iterator[list[tuple[int, str]]]:
    """Yield the characters of each line with their places; the first and last are visible."""
    held: list[tuple[int, str]] = []
    visible = 0
    for index in range(text_page.count_chars() + 1):
        code = raw.FPDFText_GetUnicode(text_page, index)
        if code in (0, 10, 13):
            if visible:
                yield held[:visible]
            held, visible = [], 0
            continue
        char = chr(code) if code < 0x110000 else "\ufffd"
        if held or not char.isspace():
            held.append((index, char))
            visible = visible if char.isspace() else len(held)


def _measure(text_page: "pypdfium2.PdfTextPage", characters: list[tuple[int, str]]) -> Line:
    visible = [index for index, char in characters if not char.isspace()]
    first, middle, last = visible[0], visible[len(visible) // 2], visible[-1]
    left, _, bottom, top = _box(text_page, first)
    _, right, bottom_end, top_end = _box(text_page, last)
    size = median(_size(text_page, index) for index in (first, middle, last))
    cells = tuple(_cells(text_page, characters, size))
    return Line(
        "\t".join(cell.text for cell in cells),
        size,
        all(_is_bold(text_page, index) for index in {first, middle, last}),
        left,
        right,
        min(bottom, bottom_end),
        max(top, top_end),
        cells=cells if len(cells) > 1 else (),
    )


def _cells(
    text_page: "pypdfium2.PdfTextPage", characters: list[tuple[int, str]], size: float
) -> Iterator[Cell]:
    """Part a line where a gap is wide enough to part two cells of a table."""
    start = 0
    for at, (index, char) in enumerate(characters):
        if char == " " and start < at < len(characters) - 1:
            gap = _box(text_page, characters[at + 1][0])[0] - _box(text_page, index - 1)[1]
            if gap > _CELL_GAP * size:
                yield _cell(text_page, characters[start:at])
                start = at + 1
    yield _cell(text_page, characters[start:])


def _cell(text_page: "pypdfium2.PdfTextPage", characters: list[tuple[int, str]]) -> Cell:
    text = _join_surrogates("".join(char for _, char in characters))
    left = _box(text_page, characters[0][0])[0]
    return Cell(left, _box(text_page, characters[-1][0])[1], text)


def _size(text_page: "pypdfium2.PdfTextPage", index: int) -> float:
    """Return the size in which a character is drawn: its font's, enlarged by the page's matrix."""
    size: float = raw.FPDFText_GetFontSize(text_page, index)
    matrix = raw.FS_MATRIX()
    if not raw.FPDFText_GetMatrix(text_page, index, ctypes.byref(matrix)):
        return size
    return size * (float((matrix.c**2 + matrix.d**2) ** 0.5) or 1.0)


def _is_bold(text_page: "pypdfium2.PdfTextPage", index: int) -> bool:
    if raw.FPDFText_GetFontWeight(text_page, index) >= _BOLD_WEIGHT:
        return True
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text_page, index, name, len(name), None)
    return b"bold" in name.value.lower()


def _box(text_page: "pypdfium2.PdfTextPage", index: int) -> tuple[float, float, float, float]:
    """Return left, right, bottom, top of a character's cell."""
    rect = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(text_page, index, ctypes.byref(rect))
    return rect.left, rect.right, rect.bottom, rect.top


def _join_surrogates(text: str) -> str:
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
