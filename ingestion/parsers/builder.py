"""The one way in which a parser's findings become a ParsedDocument, so that offsets are exact."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

from app.domain.documents import Block, BlockKind, ParsedDocument
from app.domain.errors import DocumentTooComplex, EmptyDocument

# Zero-width and bidirectional marks, tags, variation selectors, controls: text that a model reads
# and a person does not see. Tab and line feed stay.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ufffe\uffff\U000e0000-\U000e0fff]"
)
_HARMLESS = frozenset("\xad\ufeff\ufe0f")
_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CELL_BREAK = re.compile(r"\s+")
_READABLE = re.compile(r"[^\W_]")


class TextLimits(Protocol):
    """How much text a document may hold; IngestionSettings is one."""

    @property
    def max_text_chars(self) -> int:
        """Longest parsed text, in characters."""
        ...

    @property
    def max_blocks(self) -> int:
        """Most blocks in one document."""
        ...


class TextBuilder:
    """Collects blocks in order and keeps their offsets.

    Args:
        limits: Passing one of them raises DocumentTooComplex at once.
    """

    def __init__(self, limits: TextLimits) -> None:
        self._limits = limits
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._flags: dict[str, None] = {}

    def add(self, kind: BlockKind, text: str, level: int = 0, page: int | None = None) -> None:
        """Add a block; text without a visible character adds nothing.

        Raises:
            DocumentTooComplex: The document has more text or blocks than allowed.
        """
        text = self._clean(text)
        text = text.rstrip() if kind in _INDENTED else text.strip()
        text = text.lstrip("\n")
        if not text.strip():
            return
        gap = self._gap(kind)
        start = self._length + len(gap)
        self._length = start + len(text)
        self._check_limits()
        self._parts += (gap, text)
        self._blocks.append(Block(kind, start, self._length, level, page))

    def add_table(self, rows: Iterable[Sequence[str]], page: int | None = None) -> None:
        """Add rows as a Markdown table, the first row as its header."""
        self.add(BlockKind.TABLE, markdown_table(rows), page=page)

    def add_inner(self, name: str, inner: ParsedDocument) -> None:
        """Add a document that lies in this one under a heading of its name."""
        self.add(BlockKind.HEADING, name, 1)
        for block in inner.blocks:
            level = min(block.level + 1, _DEEPEST_HEADING) if block.level else 0
            text = inner.text[block.char_start : block.char_end]
            self.add(block.kind, text, level, block.page)
        for flag in inner.flags:
            self.flag(flag)

    def room(self) -> tuple[int, int]:
        """Return how many characters and blocks the limits leave."""
        chars = self._limits.max_text_chars - self._length
        return max(0, chars), max(0, self._limits.max_blocks - len(self._blocks))

    def flag(self, name: str) -> None:
        """Note what a reader of the document should know."""
        self._flags[name] = None

    def build(
        self,
        title: str | None = None,
        pages: int | None = None,
        empty: str = "the file holds no text",
    ) -> ParsedDocument:
        """Return the document; without `title`, a heading among the first blocks names it.

        Raises:
            EmptyDocument: There is no letter or digit; its message is `empty`.
        """
        text = "".join(self._parts)
        if not _READABLE.search(text):
            raise EmptyDocument(empty)
        if "\ufffd" in text:
            self.flag("replaced_characters")
        title = " ".join(self._clean(title or "").split()) or self._first_heading(text)
        return ParsedDocument(text, tuple(self._blocks), title, pages, tuple(self._flags))

    def _clean(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        text = _SURROGATE.sub("\ufffd", _SPACE.sub(" ", _LINE_BREAK.sub("\n", text)))
        found = set(_INVISIBLE.findall(text))
        if found:
            text = _INVISIBLE.sub("", text)
            if found - _HARMLESS:
                self.flag("invisible_characters_removed")
        return unicodedata.normalize("NFC", text)

    def _gap(self, kind: BlockKind) -> str:
        if not self._blocks:
            return ""
        in_list = kind is BlockKind.LIST_ITEM and self._blocks[-1].kind is BlockKind.LIST_ITEM
        return "\n" if in_list else "\n\n"

    def _check_limits(self) -> None:
        if self._length > self._limits.max_text_chars:
            raise DocumentTooComplex(
                f"the text is longer than {self._limits.max_text_chars} characters: split the "
                "document or raise OPORA_INGESTION__MAX_TEXT_CHARS"
            )
        if len(self._blocks) >= self._limits.max_blocks:
            raise DocumentTooComplex(
                f"the document has more than {self._limits.max_blocks} blocks: split it or raise "
                "OPORA_INGESTION__MAX_BLOCKS"
            )

    def _first_heading(self, text: str) -> str | None:
        headings = (b for b in self._blocks[:5] if b.kind is BlockKind.HEADING)
        first = next(headings, None)
        return " ".join(text[first.char_start : first.char_end].split()) if first else None


_DEEPEST_HEADING = 6
_INDENTED = frozenset({BlockKind.CODE, BlockKind.LIST_ITEM})


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table without its empty rows and columns; "" if nothing is left."""
    cells = [[_CELL_BREAK.sub(" ", cell).strip() for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max(map(len, cells), default=0)
    used = [i for i in range(width) if any(i < len(row) and row[i] for row in cells)]
    lines = []
    for row in cells:
        picked = (row[i].replace("|", "\\|") if i < len(row) else "" for i in used)
        lines.append(f"| {' | '.join(picked)} |")
        if len(lines) == 1:
            lines.append("|" + " --- |" * len(used))
    return "\n".join(lines)
