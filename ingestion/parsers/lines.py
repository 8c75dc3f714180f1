"""Lines as they stand on pages become headings, paragraphs and list items."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median

from app.domain.documents import BlockKind
from ingestion.parsers.builder import TextBuilder

_HYPHENS = "-\u2010\xad\ufffe\x02"
_SOFT_HYPHENS = "\xad\ufffe\x02"
_JOINED = re.compile("\\b(\\w+)[\xad\ufffe\x02](\\w+)")
_ITEM = re.compile(r"(?:[•▪◦‣⁃●○■□–—*\uf0b7\uf0a7-]|\d{1,3}(?:\.\d{1,3})*[.)]|[a-zа-я]\))\s+\S")
_DIVIDED = re.compile("[\ufffe\x02]")
_COMPOUND = re.compile(r"\b\w+-\w+")
_LONGEST_HEADING = 200
_REPEATED_SHARE = 0.6
_MANY_PAGES = 4
_RARE_SHARE = 0.3
_SAME_SIZE = 1.2
_LEAST_ROWS = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of a line that wide gaps set apart."""

    left: float
    right: float
    text: str


@dataclass(slots=True)
class Line:
    """A line as it was drawn; distances are points, from the bottom left corner.

    A line of several `cells` has a tab between them in its text; it is a row of a table if its
    neighbours are.
    """

    text: str
    size: float
    bold: bool
    left: float
    right: float
    bottom: float
    top: float
    at_margin: bool = False
    cells: tuple[Cell, ...] = ()


def compose(builder: TextBuilder, pages: list[list[Line]]) -> None:
    """Add the lines of all pages, running headers once; headings are lines in larger type."""
    _drop_furniture(pages)
    _Composer(builder, pages).compose()


def _drop_furniture(pages: list[list[Line]]) -> None:
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


def _furniture_key(line: Line) -> str:
    return re.sub(r"\d+", "0", " ".join(line.text.split()))


class _Composer:
    """Makes blocks of lines."""

    def __init__(self, builder: TextBuilder, pages: list[list[Line]]) -> None:
        self.builder = builder
        self.pages = pages
        lines = [line for page in pages for line in page]
        self.body = commonest_size(lines)
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
                group: list[Line] = []
                tables = dict(_tables(column))
                rows_left = 0
                for place, line in enumerate(column):
                    if place in tables:
                        self._add(group, right, number)
                        group, rows_left = [], len(tables[place])
                        rows = ([self._mend(cell) for cell in row] for row in tables[place])
                        self.builder.add_table(rows, number)
                    if rows_left:
                        rows_left -= 1
                        continue
                    if group and self._parts(group[-1], line, right, usual_gap):
                        self._add(group, right, number)
                        group = []
                    group.append(line)
                self._add(group, right, number)

    def _is_large(self, line: Line) -> bool:
        return line.size > 1.15 * self.body and _is_title_like(line.text)

    def _level(self, lines: list[Line], text: str) -> int:
        """Return the depth of a heading, 0 for other text."""
        if not _is_title_like(text):
            return 0
        if self._is_large(lines[0]):
            return min(self.levels[round(lines[0].size)], 6)
        same = abs(lines[0].size - self.body) < _SAME_SIZE
        bold = self.bold_is_rare and all(line.bold for line in lines)
        sentence = text[-1] in ".,;:!?" or len(text) > _LONGEST_HEADING // 2
        return min(len(self.levels) + 1, 6) if bold and same and not sentence else 0

    def _parts(self, above: Line, line: Line, right: float, usual_gap: float) -> bool:
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

    def _add(self, lines: list[Line], right: float, page: int) -> None:
        if not lines:
            return
        text = _JOINED.sub(self._rejoin, self._flow(lines, right))
        level = self._level(lines, text)
        if level:
            self.builder.add(BlockKind.HEADING, " ".join(text.split()), level, page)
        else:
            kind = BlockKind.LIST_ITEM if _ITEM.match(text) else BlockKind.PARAGRAPH
            self.builder.add(kind, text, page=page)

    def _flow(self, lines: list[Line], right: float) -> str:
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

    def _mend(self, cell: str) -> str:
        """Give a cell back the hyphens that PDFium marked as those of divided words."""
        return _DIVIDED.sub("-", _JOINED.sub(self._rejoin, cell))

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


def _tables(lines: list[Line]) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the first line's place and the rows of each table: neighbours of several cells."""
    several = [False, *(len(line.cells) > 1 for line in lines), False]
    # A lone label between two rows is a row too.
    in_table = [
        here or (before and after)
        for before, here, after in zip(several, several[1:], several[2:], strict=False)
    ]
    start = 0
    for is_row, group in groupby(zip(in_table, lines, strict=True), itemgetter(0)):
        run = [line for _, line in group]
        if is_row and len(run) >= _LEAST_ROWS:
            rows = _rows(run)
            if rows:
                yield start, rows
        start += len(run)


def _rows(lines: list[Line]) -> list[list[str]]:
    """Sort cells into columns: spans that no cell bridges. [] if that mixes cells of one line."""
    columns: list[tuple[float, float]] = []
    for left, right in sorted((cell.left, cell.right) for line in lines for cell in line.cells):
        if columns and left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    rows = []
    for line in lines:
        row = [""] * len(columns)
        for cell in line.cells or (Cell(line.left, line.right, line.text),):
            place = next((n for n, (_, right) in enumerate(columns) if cell.left < right), -1)
            if row[place]:
                return []
            row[place] = cell.text
        rows.append(row)
    return rows


def _columns(page: list[Line]) -> Iterator[list[Line]]:
    """Part a page's lines where the drawing jumps up again, as it does to a new column."""
    held: list[Line] = []
    for line in page:
        if held and line.bottom > held[-1].top:
            yield held
            held = []
        held.append(line)
    if held:
        yield held


def commonest_size(lines: list[Line]) -> float:
    """Return the type size in which most characters are set."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _usual_gap(lines: list[Line]) -> float:
    """Return the white space between two lines of a column."""
    gaps = [above.bottom - line.top for above, line in pairwise(lines)]
    return max(0.0, median(gaps)) if gaps else 0.0


def _right_edge(lines: list[Line]) -> float:
    """Return where the full lines of a column end."""
    ends = sorted(line.right for line in lines)
    return median(ends[len(ends) // 2 :])
