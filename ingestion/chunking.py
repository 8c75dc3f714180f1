"""Cuts a parsed document into chunks along its structure.

Sections first: a section that fits the budget is one chunk, small sections under the same heading
share one, and only what is still too big is cut: between blocks, then tables between rows and
paragraphs between sentences. Neighbours are joined when a question is asked, so chunks do not
overlap: every visible character of the text is in exactly one of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from semantic_text_splitter import TextSplitter

from app.domain.documents import Block, BlockKind, ChunkDraft, ParsedDocument, index_text

CountTokens = Callable[[str], int]

# A heading path or a table header may take at most this share of a chunk; what is longer is cut.
_CONTEXT_SHARE = 3
# Two top-level sections share a chunk only if each is at most this share of it.
_TINY_SHARE = 4
_WINDOW_CHARS = 20_000


def chunk(
    parsed: ParsedDocument, count_tokens: CountTokens, budget_tokens: int
) -> list[ChunkDraft]:
    """Cut a document.

    Args:
        parsed: Its blocks are in order and cover all visible text.
        count_tokens: The embedder's own count.
        budget_tokens: Most tokens of a chunk's `index_text` without the document's title. Only a
            single character that alone has more tokens than this passes it.

    Returns:
        Chunks in order, none of them empty.
    """
    cutter = _Cutter(parsed.text, count_tokens, budget_tokens)
    pieces = cutter.cut_document(_outline(parsed, cutter))
    return list(_drafts(parsed, [part for piece in pieces for part in cutter.fit(piece)]))


@dataclass(frozen=True, slots=True)
class _Unit:
    """A span that stays whole while it fits: a block, or blocks that belong together."""

    blocks: tuple[Block, ...]
    start: int
    end: int
    tokens: int
    context: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk in the making. `whole` if it holds all of a section, or all before its first part."""

    units: tuple[_Unit, ...]
    path: tuple[str, ...]
    tokens: int
    whole: bool = False


@dataclass(slots=True)
class _Section:
    """A heading with what stands under it; `path` names the headings above it."""

    path: tuple[str, ...]
    title: str | None
    level: int
    units: list[_Unit] = field(default_factory=list)
    children: list["_Section"] = field(default_factory=list)

    @property
    def inner_path(self) -> tuple[str, ...]:
        """The headings above what stands under this section's heading."""
        return self.path if self.title is None else (*self.path, self.title)

    def all_units(self) -> Iterator[_Unit]:
        yield from self.units
        for section in self.children:
            yield from section.all_units()


def _outline(parsed: ParsedDocument, cutter: "_Cutter") -> _Section:
    """Build the tree of sections, whose root has no heading."""
    root = _Section((), None, 0)
    open_sections = [root]
    for blocks in _together(parsed):
        unit = cutter.unit(blocks)
        first = blocks[0]
        if first.kind is BlockKind.HEADING:
            while len(open_sections) > 1 and open_sections[-1].level >= first.level:
                open_sections.pop()
            above = open_sections[-1]
            title = " ".join(parsed.text[first.char_start : first.char_end].split())
            section = _Section(above.inner_path, title, first.level)
            above.children.append(section)
            open_sections.append(section)
        open_sections[-1].units.append(unit)
    return root


def _together(parsed: ParsedDocument) -> Iterator[tuple[Block, ...]]:
    """Group blocks: the items of a list with the line that announces it, a table with its own."""
    group: list[Block] = []
    for block in parsed.blocks:
        if group and not _belongs(parsed.text, group[-1], block):
            yield tuple(group)
            group = []
        group.append(block)
    if group:
        yield tuple(group)


def _belongs(text: str, before: Block, block: Block) -> bool:
    if block.kind is BlockKind.LIST_ITEM and before.kind is BlockKind.LIST_ITEM:
        return True
    announced = block.kind in {BlockKind.LIST_ITEM, BlockKind.TABLE, BlockKind.CODE}
    colon = text[before.char_start : before.char_end].endswith(":")
    return announced and before.kind is BlockKind.PARAGRAPH and colon


class _Cutter:
    """Knows the text, the budget and the price of things."""

    def __init__(self, text: str, count_tokens: CountTokens, budget_tokens: int) -> None:
        self.text = text
        self.count = count_tokens
        self.budget = budget_tokens
        self.price_of_path = cache(lambda path: count_tokens(index_text("", path, "", "")))

    def unit(self, blocks: tuple[Block, ...]) -> _Unit:
        start, end = blocks[0].char_start, blocks[-1].char_end
        return _Unit(blocks, start, end, self.count(self.text[start:end]))

    def clip(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Drop the outermost headings until the path leaves room for text."""
        while path and self.price_of_path(path) > self.budget // _CONTEXT_SHARE:
            path = path[1:]
        return path

    def cut_document(self, root: _Section) -> list[_Piece]:
        """Cut the root: its sections share a chunk only if all of them are tiny."""
        pieces = self._cut_blocks(root)
        for section in root.children:
            pieces += self._cut(section)
        return self._join(pieces, self.budget // _TINY_SHARE)

    def _cut(self, section: _Section) -> list[_Piece]:
        path = self.clip(section.path)
        units = tuple(section.all_units())
        whole = _Piece(units, path, _sum(units) + self.price_of_path(path), whole=True)
        if whole.tokens <= self.budget:
            return [whole]
        pieces = self._cut_blocks(section)
        for part in section.children:
            pieces += self._cut(part)
        return self._join(pieces, self.budget)

    def _cut_blocks(self, section: _Section) -> list[_Piece]:
        """Cut what stands directly under a heading; the heading stays with the first of it."""
        outer, inner = self.clip(section.path), self.clip(section.inner_path)
        room = self.budget - self.price_of_path(inner)
        pieces: list[_Piece] = []
        held: list[_Unit] = []
        for unit in self._with_heading(section):
            # What is too big for one chunk is cut so that its first part joins a short beginning.
            beginning = _sum(held) if _sum(held) <= room // _CONTEXT_SHARE else 0
            parts = [unit] if unit.tokens <= room else self.split(unit, room - beginning)
            for part in parts:
                sealed = part.context or (held and held[-1].context)
                if held and (sealed or _sum(held) + part.tokens > room):
                    pieces.append(self._piece(held, inner if pieces else outer))
                    held = []
                held.append(part)
        if held:
            pieces.append(self._piece(held, inner if pieces else outer))
        return [replace(pieces[0], whole=True)] if len(pieces) == 1 else pieces

    def _with_heading(self, section: _Section) -> list[_Unit]:
        """Return the section's units, its heading fused with the next one."""
        if section.title is None or len(section.units) < 2:
            return section.units
        first, second, *others = section.units
        return [self.unit(first.blocks + second.blocks), *others]

    def _piece(self, units: Sequence[_Unit], path: tuple[str, ...]) -> _Piece:
        return _Piece(tuple(units), path, _sum(units) + self.price_of_path(path))

    def _join(self, pieces: list[_Piece], small: int) -> list[_Piece]:
        """Join neighbouring whole sections of at most `small` tokens while the budget lasts."""
        joined: list[_Piece] = []
        for piece in pieces:
            last = joined[-1] if joined else None
            if last and last.whole and piece.whole and max(last.tokens, piece.tokens) <= small:
                together = self._piece(last.units + piece.units, last.path)
                if together.tokens <= small:
                    joined[-1] = replace(together, whole=True)
                    continue
            joined.append(piece)
        return joined

    def split(self, unit: _Unit, room: int) -> list[_Unit]:
        """Cut a unit into parts of at most `room` tokens, at its gentlest seams."""
        if unit.tokens + self._context_price(unit) <= room:
            return [unit]
        if len(unit.blocks) > 1 and unit.blocks[0].kind is BlockKind.HEADING:
            return self._split_headed(unit, room)
        if len(unit.blocks) > 1:
            return self._split_blocks(unit, room)
        if unit.blocks[0].kind is BlockKind.TABLE and not unit.context:
            return self._split_rows(unit, room)
        return self._split_text(unit, room - self._context_price(unit))

    def _split_headed(self, unit: _Unit, room: int) -> list[_Unit]:
        """Cut what stands under a heading so that its first part goes with the heading."""
        lead = self.unit(unit.blocks[:1])
        parts = self.split(self.unit(unit.blocks[1:]), max(room // 2, room - lead.tokens))
        fused = replace(
            parts[0],
            blocks=lead.blocks + parts[0].blocks,
            start=lead.start,
            tokens=self.count(self.text[lead.start : parts[0].end]),
        )
        if fused.tokens > room:
            return [*self.split(lead, room), *parts]
        return [fused, *parts[1:]]

    def _split_blocks(self, unit: _Unit, room: int) -> list[_Unit]:
        """Pack the unit's blocks; those that are too big alone are cut."""
        parts: list[_Unit] = []
        held: _Unit | None = None
        for block in unit.blocks:
            grown = self.unit((*held.blocks, block) if held else (block,))
            if held and grown.tokens > room:
                parts += self.split(held, room)
                grown = self.unit((block,))
            held = grown
        return parts + self.split(held, room) if held else parts

    def _split_rows(self, unit: _Unit, room: int) -> list[_Unit]:
        """Cut a table between rows; all parts but the first repeat its header."""
        rows = list(_lines(self.text, unit.start, unit.end))
        if len(rows) < 3:
            return self._split_text(unit, room)
        header = self.text[unit.start : rows[1][1]]
        own = price = self.count(header)
        if price > room // _CONTEXT_SHARE:
            header, price = "", 0
        parts: list[_Unit] = []
        start, end, tokens = unit.start, rows[1][1], own
        for row_start, row_end in rows[2:]:
            cost = self.count(self.text[row_start:row_end])
            if tokens + cost > room:
                parts += self._rows(unit, start, end, header if parts else "", room)
                start, tokens = row_start, price
            end = row_end
            tokens += cost
        return parts + self._rows(unit, start, end, header if parts else "", room)

    def _rows(self, table: _Unit, start: int, end: int, context: str, room: int) -> list[_Unit]:
        """Return some rows as a unit; a single row that is too big is cut like text."""
        tokens = self.count(self.text[start:end])
        rows = _Unit(table.blocks, start, end, tokens, context)
        left = room - self._context_price(rows)
        return [rows] if tokens <= left else self._split_text(rows, left)

    def _split_text(self, unit: _Unit, room: int) -> list[_Unit]:
        """Cut at sentences, else words, else characters."""
        splitter = TextSplitter.from_callback(self.count, max(1, room))
        return [
            replace(
                unit,
                start=start + offset,
                end=start + offset + len(part),
                tokens=self.count(part),
            )
            for start, end in _windows(self.text, unit.start, unit.end)
            for offset, part in splitter.chunk_indices(self.text[start:end])
            if part.strip()
        ]

    def _context_price(self, unit: _Unit) -> int:
        return self.count(unit.context) if unit.context else 0

    def price(self, piece: _Piece) -> int:
        """Count a piece as the embedder will."""
        first, last = piece.units[0], piece.units[-1]
        text = self.text[first.start : last.end]
        return self.count(index_text("", piece.path, first.context, text))

    def fit(self, piece: _Piece) -> list[_Piece]:
        """Return the piece, or smaller ones where the sum of its units' tokens was too low."""
        tokens = self.price(piece)
        if tokens <= self.budget:
            return [replace(piece, tokens=tokens)]
        if len(piece.units) > 1:
            middle = len(piece.units) // 2
            halves = (piece.units[:middle], piece.units[middle:])
            return [part for half in halves for part in self.fit(replace(piece, units=half))]
        (unit,) = piece.units
        room = unit.tokens - (tokens - self.budget)
        parts = self._split_text(unit, min(room, unit.tokens - 1)) if room > 0 else [unit]
        if len(parts) > 1:
            return [p for part in parts for p in self.fit(replace(piece, units=(part,)))]
        if unit.context:
            return self.fit(replace(piece, units=(replace(unit, context=""),)))
        if piece.path:
            return self.fit(replace(piece, path=piece.path[1:]))
        return [replace(piece, tokens=tokens)]


def _sum(units: Sequence[_Unit]) -> int:
    return sum(unit.tokens for unit in units)


def _windows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Part a span so that the splitter, whose work grows with the square of it, stays quick."""
    while end - start > _WINDOW_CHARS:
        seams = (text.rfind(seam, start, start + _WINDOW_CHARS) for seam in ("\n", ". ", " "))
        stop = next((seam + 1 for seam in seams if seam > start), start + _WINDOW_CHARS)
        yield start, stop
        start = stop
    yield start, end


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets of each line between two offsets."""
    while start < end:
        at = text.find("\n", start, end)
        stop = end if at < 0 else at
        yield start, stop
        start = stop + 1


def _drafts(parsed: ParsedDocument, pieces: Sequence[_Piece]) -> Iterator[ChunkDraft]:
    for ordinal, piece in enumerate(pieces):
        start, end = piece.units[0].start, piece.units[-1].end
        text = parsed.text[start:end]
        start += len(text) - len(text.lstrip())
        end -= len(text) - len(text.rstrip())
        blocks = (b for unit in piece.units for b in unit.blocks)
        pages = {b.page for b in blocks if b.char_start < end and b.char_end > start}
        yield ChunkDraft(
            ordinal=ordinal,
            char_start=start,
            char_end=end,
            text=parsed.text[start:end],
            context=piece.units[0].context,
            heading_path=piece.path,
            pages=tuple(sorted(page for page in pages if page is not None)),
            tokens=piece.tokens,
        )
