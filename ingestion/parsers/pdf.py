"""PDF: text page by page through PDFium, in the order in which the file draws it.

PDFium gives characters with their places; lines, paragraphs and headings are inferred from these.
"""

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import BinaryIO

import pypdfium2
from pypdfium2 import raw

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import EncryptedDocument, UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits

_HYPHENS = "-\u2010\xad\ufffe\x02"
_SOFT_HYPHENS = "\xad\ufffe\x02"
_JOINED = re.compile("\\b(\\w+)[\xad\ufffe\x02](\\w+)")
_ITEM = re.compile(r"(?:[•▪◦‣⁃●○■□–—*\uf0b7\uf0a7-]|\d{1,3}(?:\.\d{1,3})*[.)]|[a-zа-я]\))\s+\S")
_COMPOUND = re.compile(r"\b\w+-\w+")
_GENERATED_TITLE = re.compile(
    r"microsoft|untitled|\.(?:docx?|xlsx?|pptx?|indd|tex|rtf|odt)\b", re.IGNORECASE
)
_GARBLED = re.compile(r"[A-Za-z][\[\]\\^_`][A-Za-z]")
_GARBLED_SHARE = 0.1
_LONGEST_HEADING = 200
_MARGIN_SHARE = 0.1
_REPEATED_SHARE = 0.6
_MANY_PAGES = 4
_RARE_SHARE = 0.3
_SAME_SIZE = 1.2
_CELL_GAP = 1.5
_BOLD_WEIGHT = 600


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
    if any(pages) and not all(pages):
        builder.flag("pages_without_text")
    if _is_garbled("\n".join(line.text for page in pages for line in page)):
        builder.flag("unreliable_text")
    _drop_furniture(pages)
    _Composer(builder, pages).compose()
    return builder.build(
        _title(document),
        len(pages),
        empty="the PDF holds only images; recognising text in images (OCR) is not part of this "
        "release",
    )


@dataclass(slots=True)
class _Line:
    """A line as it was drawn; distances are points, from the bottom left corner."""

    text: str
    size: float
    bold: bool
    left: float
    right: float
    bottom: float
    top: float
    at_margin: bool = False


def _title(document: "pypdfium2.PdfDocument") -> str | None:
    title = document.get_metadata_dict().get("Title", "").strip()
    return None if len(title) < 3 or _GENERATED_TITLE.search(title) else title


def _is_garbled(text: str) -> bool:
    """Whether a font without a map to Unicode gave letters that are not those on the page."""
    words = text.split()
    return sum(bool(_GARBLED.search(word)) for word in words) > _GARBLED_SHARE * len(words) > 1


def _read_pages(document: "pypdfium2.PdfDocument", builder: TextBuilder) -> list[list[_Line]]:
    """Return the lines of each page; a damaged page has none and is flagged.

    Raises:
        UnreadableDocument: No page can be loaded.
    """
    pages: list[list[_Line]] = []
    damaged = 0
    for number in range(len(document)):
        try:
            pages.append(_read_page(document, number))
        except pypdfium2.PdfiumError:
            damaged += 1
            pages.append([])
    if damaged == len(pages):
        raise UnreadableDocument("the PDF is damaged: none of its pages can be loaded")
    if damaged:
        builder.flag("damaged_pages")
    return pages


def _read_page(document: "pypdfium2.PdfDocument", number: int) -> list[_Line]:
    """Return a page's lines."""
    page = document[number]
    text_page = page.get_textpage()
    height = page.get_height() or 1.0
    lines = [_measure(text_page, characters) for characters in _drawn_lines(text_page)]
    for line in lines:
        line.at_margin = (
            line.bottom > height * (1 - _MARGIN_SHARE) or line.top < height * _MARGIN_SHARE
        )
    text_page.close()
    page.close()
    return lines


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


def _measure(text_page: "pypdfium2.PdfTextPage", characters: list[tuple[int, str]]) -> _Line:
    visible = [index for index, char in characters if not char.isspace()]
    first, middle, last = visible[0], visible[len(visible) // 2], visible[-1]
    left, _, bottom, top = _box(text_page, first)
    _, right, bottom_end, top_end = _box(text_page, last)
    size = median(_size(text_page, index) for index in (first, middle, last))
    return _Line(
        _spaced(text_page, characters, size),
        size,
        all(_is_bold(text_page, index) for index in {first, middle, last}),
        left,
        right,
        min(bottom, bottom_end),
        max(top, top_end),
    )


def _spaced(
    text_page: "pypdfium2.PdfTextPage", characters: list[tuple[int, str]], size: float
) -> str:
    """Return a line's text with a tab for each gap that is wide enough to part two cells."""
    parts = []
    for at, (index, char) in enumerate(characters):
        if char == " " and 0 < at < len(characters) - 1:
            gap = _box(text_page, characters[at + 1][0])[0] - _box(text_page, index - 1)[1]
            char = "\t" if gap > _CELL_GAP * size else char
        parts.append(char)
    return _join_surrogates("".join(parts))


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


def _drop_furniture(pages: list[list[_Line]]) -> None:
    """Drop running headers and footers in place.

    They stand in the margin of most pages and differ by numbers only; the first of each stays.
    """
    share = _REPEATED_SHARE if len(pages) >= _MANY_PAGES else 1.0
    if len(pages) < 2:
        return
    counts = Counter(
        key for page in pages for key in {_furniture_key(line) for line in page if line.at_margin}
    )
    running = {key for key, count in counts.items() if count >= share * len(pages)}
    seen: set[str] = set()
    for page in pages:
        kept = []
        for line in page:
            key = _furniture_key(line)
            if line.at_margin and key in running and key in seen:
                continue
            seen.add(key)
            kept.append(line)
        page[:] = kept


def _furniture_key(line: _Line) -> str:
    return re.sub(r"\d+", "0", " ".join(line.text.split()))


class _Composer:
    """Makes blocks of lines."""

    def __init__(self, builder: TextBuilder, pages: list[list[_Line]]) -> None:
        self.builder = builder
        self.pages = pages
        lines = [line for page in pages for line in page]
        self.body = _commonest_size(lines)
        bold = sum(len(line.text) for line in lines if line.bold)
        self.bold_is_rare = bold < _RARE_SHARE * sum(len(line.text) for line in lines)
        self.compounds = {word for line in lines for word in _COMPOUND.findall(line.text)}
        larger = {round(line.size) for line in lines if self._is_large(line)}
        self.levels = {size: level for level, size in enumerate(sorted(larger, reverse=True), 1)}

    def compose(self) -> None:
        """Add all pages."""
        for number, page in enumerate(self.pages, 1):
            for column in _columns(page):
                right = _right_edge(column)
                usual_gap = _usual_gap(column)
                group: list[_Line] = []
                for line in column:
                    if group and self._parts(group[-1], line, right, usual_gap):
                        self._add(group, right, number)
                        group = []
                    group.append(line)
                self._add(group, right, number)

    def _is_large(self, line: _Line) -> bool:
        return line.size > 1.15 * self.body and _is_title_like(line.text)

    def _level(self, lines: list[_Line], text: str) -> int:
        """Return the depth of a heading, 0 for other text."""
        if not _is_title_like(text):
            return 0
        if self._is_large(lines[0]):
            return min(self.levels[round(lines[0].size)], 6)
        same = abs(lines[0].size - self.body) < _SAME_SIZE
        bold = self.bold_is_rare and all(line.bold for line in lines)
        sentence = text[-1] in ".,;:!?" or len(text) > _LONGEST_HEADING // 2
        return min(len(self.levels) + 1, 6) if bold and same and not sentence else 0

    def _parts(self, above: _Line, line: _Line, right: float, usual_gap: float) -> bool:
        """Whether a new block begins with `line`."""
        if abs(above.size - line.size) > _SAME_SIZE or above.bold != line.bold:
            return True
        if _ITEM.match(line.text):
            return True
        if above.bottom - line.top > usual_gap + 0.5 * line.size:
            return True
        closed = above.text[-1] in ".!?:;"
        indented = line.left > above.left + 0.8 * line.size
        return closed and (indented or above.right < right - 4 * above.size)

    def _add(self, lines: list[_Line], right: float, page: int) -> None:
        text = _JOINED.sub(self._rejoin, self._flow(lines, right))
        level = self._level(lines, text)
        if level:
            self.builder.add(BlockKind.HEADING, " ".join(text.split()), level, page)
        else:
            kind = BlockKind.LIST_ITEM if _ITEM.match(text) else BlockKind.PARAGRAPH
            self.builder.add(kind, text, page=page)

    def _flow(self, lines: list[_Line], right: float) -> str:
        """Join lines: full ones flow on, short ones (of addresses, tables) keep their end."""
        text = lines[0].text
        for above, line in pairwise(lines):
            if text[-1] in _HYPHENS and text[-2:-1].isalpha() and line.text[0].islower():
                text = self._dehyphenate(text, line.text)
            else:
                full = above.right >= right - 8 * above.size
                row = "\t" in above.text or "\t" in line.text
                text += (" " if full and not row else "\n") + line.text
        return text

    def _rejoin(self, word: re.Match[str]) -> str:
        """Mend a word that PDFium itself joined over the end of a line."""
        compound = f"{word[1]}-{word[2]}"
        return compound if compound in self.compounds else word[1] + word[2]

    def _dehyphenate(self, text: str, following: str) -> str:
        """Join a divided word; a hyphen stays where the document writes the word with it."""
        before = re.search(r"\w+$", text[:-1])
        after = re.match(r"\w+", following)
        whole = f"{before[0]}-{after[0]}" if before and after else ""
        if text[-1] not in _SOFT_HYPHENS and whole in self.compounds:
            return text + following
        return text[:-1] + following


def _is_title_like(text: str) -> bool:
    return len(text) <= _LONGEST_HEADING and "\t" not in text and any(map(str.isalpha, text))


def _columns(page: list[_Line]) -> Iterator[list[_Line]]:
    """Part a page's lines where the drawing jumps up again, as it does to a new column."""
    held: list[_Line] = []
    for line in page:
        if held and line.bottom > held[-1].top:
            yield held
            held = []
        held.append(line)
    if held:
        yield held


def _commonest_size(lines: list[_Line]) -> float:
    """Return the type size in which most characters are set."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _usual_gap(lines: list[_Line]) -> float:
    """Return the white space between two lines of a column."""
    gaps = [above.bottom - line.top for above, line in pairwise(lines)]
    return max(0.0, median(gaps)) if gaps else 0.0


def _right_edge(lines: list[_Line]) -> float:
    """Return where the full lines of a column end."""
    ends = sorted(line.right for line in lines)
    return median(ends[len(ends) // 2 :])
