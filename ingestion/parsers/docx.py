"""Word: paragraphs, lists with their numbers, tables and notes, in document order.

The XML is walked once. python-docx looks each cell up in its whole table, which took 57 CPU seconds
for a file of 185 KB.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lxml import etree

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.docx_numbering import Numbering, W
from ingestion.parsers.ooxml import Package, open_package

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_HEADING_NAME = re.compile(r"(?:heading|заголовок)\s*([1-9])$", re.IGNORECASE)
_TITLE_NAMES = {"title", "название", "заголовок"}
_LONGEST_HEADING = 300
_WIDEST_SPAN = 200
_REPEATED_CHARS = 200
_UNSEEN_HALF_POINTS = 2
# Deleted text, the second copy of a drawing, field codes, removed halves of moves.
_SKIPPED = {
    f"{W}{name}"
    for name in ("del", "moveFrom", "instrText", "delText", "pPr", "rPr", "sectPr", "tblPr")
} | {f"{_MC}Fallback"}
_CHARACTERS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
_NOTES = {f"{W}footnoteReference": "footnote", f"{W}endnoteReference": "endnote"}


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a DOCX file; the title is that of its core properties."""
    with open_package(file) as package:
        part = package.main_part()
        root = package.xml(part)
        body = None if root is None else root.find(f"{W}body")
        if body is None:
            raise UnreadableDocument("the file is damaged: it has no document body")
        related = dict(package.relations(part).values())
        builder = TextBuilder(limits)
        walk = _Walk(
            builder,
            _read_styles(_part(package, related, "styles")),
            Numbering.read(_part(package, related, "numbering")),
        )
        walk.blocks(body)
        for kind in ("footnote", "endnote"):
            walk.notes(_part(package, related, f"{kind}s"), kind)
        return builder.build(package.title(), empty="the document holds no text, only images")


def _part(package: Package, related: dict[str, str], kind: str) -> "etree._Element | None":
    return package.xml(related[kind]) if kind in related else None


@dataclass(frozen=True)
class _Style:
    """What a paragraph takes from its style: its level as a heading and its list."""

    level: int = 0
    number: str | None = None
    depth: int = 0
    code: bool = False


def _read_styles(root: "etree._Element | None") -> dict[str, _Style]:
    nodes = {
        node.get(f"{W}styleId", ""): node
        for node in ([] if root is None else root.iter(f"{W}style"))
    }
    return {name: _read_style(name, nodes) for name in nodes}


def _read_style(name: str, nodes: "dict[str, etree._Element]") -> _Style:
    """Read a style; what it leaves open comes from the one that it is based on."""
    level = number = depth = None
    code = False
    for _ in range(20):
        node = nodes.get(name)
        if node is None:
            break
        shown = _attribute(node, "name") or name
        named = _HEADING_NAME.match(shown)
        if level is None and named:
            level = int(named[1])
        elif level is None and shown.lower() in _TITLE_NAMES:
            level = 1
        code = code or "code" in shown.lower() or "preformatted" in shown.lower()
        outline = _attribute(node, "pPr/outlineLvl")
        if level is None and outline is not None and outline.isdigit():
            level = int(outline) + 1 if int(outline) < 9 else 0
        number = number or _attribute(node, "pPr/numPr/numId")
        depth = depth or _attribute(node, "pPr/numPr/ilvl")
        name = _attribute(node, "basedOn") or ""
    return _Style(level or 0, number, int(depth) if depth and depth.isdigit() else 0, code)


def _attribute(node: "etree._Element", steps: str) -> str | None:
    found = node.find("/".join(f"{W}{step}" for step in steps.split("/")))
    return None if found is None else found.get(f"{W}val")


@dataclass
class _Walk:
    """One pass over the body."""

    builder: TextBuilder
    styles: dict[str, _Style]
    numbering: Numbering
    noted: dict[tuple[str, str], int] = field(default_factory=dict)

    def blocks(self, parent: "etree._Element") -> None:
        """Add the paragraphs and tables under an element."""
        for node in parent:
            if node.tag == f"{W}p":
                self.paragraph(node)
            elif node.tag == f"{W}tbl":
                self.table(node)
            elif node.tag not in _SKIPPED:
                self.blocks(node)  # content controls, tracked insertions, custom XML

    def paragraph(self, node: "etree._Element") -> None:
        """Add a paragraph, then the text boxes that hang on it."""
        boxes: list[etree._Element] = []
        text = "".join(self.characters(node, boxes)).strip()
        style = self.styles.get(_attribute(node, "pPr/pStyle") or "", _Style())
        label, depth = self.label(node, style) if text else (None, 0)
        outline = _attribute(node, "pPr/outlineLvl")
        level = style.level
        if outline is not None and outline.isdigit():
            level = int(outline) + 1 if int(outline) < 9 else 0
        numbered = f"{label} {text}" if label and label != "•" else text
        if level and len(text) <= _LONGEST_HEADING:
            self.builder.add(BlockKind.HEADING, numbered, level)
        elif label:
            mark = "-" if label == "•" else label
            self.builder.add(BlockKind.LIST_ITEM, f"{'  ' * depth}{mark} {text}")
        else:
            self.builder.add(BlockKind.CODE if style.code else BlockKind.PARAGRAPH, text)
        for box in boxes:
            self.blocks(box)

    def label(self, node: "etree._Element", style: _Style) -> tuple[str | None, int]:
        """Return the paragraph's list label and its depth in the list."""
        number = _attribute(node, "pPr/numPr/numId") or style.number
        depth = _attribute(node, "pPr/numPr/ilvl")
        level = int(depth) if depth and depth.isdigit() else style.depth
        if not number or number == "0":
            return None, 0
        return self.numbering.label(number, level), level

    def characters(self, node: "etree._Element", boxes: "list[etree._Element]") -> Iterator[str]:
        """Yield a paragraph's text; text boxes are put aside."""
        for child in node:
            if child.tag in {f"{W}t", f"{_M}t"}:
                yield child.text or ""
            elif child.tag in _CHARACTERS:
                yield _CHARACTERS[child.tag]
            elif child.tag in _NOTES:
                note = (_NOTES[child.tag], child.get(f"{W}id", ""))
                yield f"[{self.noted.setdefault(note, len(self.noted) + 1)}]"
            elif child.tag == f"{W}txbxContent":
                boxes.append(child)
            elif child.tag == f"{W}r" and _is_unseen(child):
                if any(text.strip() for text in child.itertext(f"{W}t")):
                    self.builder.flag("hidden_text_left_out")
            elif child.tag not in _SKIPPED:
                yield from self.characters(child, boxes)

    def table(self, node: "etree._Element") -> None:
        """Add a table; one of a single cell is a frame around paragraphs."""
        rows = list(_children(node, "tr"))
        if len(rows) == 1:
            cells = list(_children(rows[0], "tc"))
            if len(cells) == 1:
                self.blocks(cells[0])
                return
        above: list[str] = []
        table = []
        for row in rows:
            above = list(self.cells(row, above))
            table.append(above)
        self.builder.add_table(table)

    def cells(self, row: "etree._Element", above: list[str]) -> Iterator[str]:
        """Yield a row's cells; one that is merged with the cell above repeats its text."""
        column = 0
        for cell in _children(row, "tc"):
            span = _attribute(cell, "tcPr/gridSpan") or "1"
            width = min(int(span), _WIDEST_SPAN) if span.isdigit() else 1
            merge = cell.find(f"{W}tcPr/{W}vMerge")
            continued = merge is not None and merge.get(f"{W}val") != "restart"
            if continued and column < len(above):
                text = above[column] if len(above[column]) <= _REPEATED_CHARS else ""
            else:
                text = self.flat(cell)
            yield text
            yield from [""] * (width - 1)
            column += width

    def flat(self, cell: "etree._Element") -> str:
        """Return all text of a cell, nested tables too, on one line."""
        lines = []
        for node in cell.iter(f"{W}p"):
            if any(parent.tag == f"{_MC}Fallback" for parent in node.iterancestors()):
                continue
            text = "".join(self.characters(node, [])).strip()
            style = self.styles.get(_attribute(node, "pPr/pStyle") or "", _Style())
            label, _ = self.label(node, style) if text else (None, 0)
            lines.append(f"{'-' if label == '•' else label} {text}" if label else text)
        return " ".join(filter(None, lines))

    def notes(self, root: "etree._Element | None", kind: str) -> None:
        """Add the notes that the text refers to."""
        for note in [] if root is None else root.iter(f"{W}{kind}"):
            number = self.noted.get((kind, note.get(f"{W}id", "")))
            if number is not None:
                self.builder.add(BlockKind.PARAGRAPH, f"[{number}] {self.flat(note)}")


def _is_unseen(run: "etree._Element") -> bool:
    """Whether a run is hidden, of no size, or white where nothing can be behind it but paper."""
    looks = run.find(f"{W}rPr")
    if looks is None:
        return False
    if _is_on(looks.find(f"{W}vanish")):
        return True
    size = _attribute(looks, "sz")
    if size is not None and size.isdigit() and int(size) <= _UNSEEN_HALF_POINTS:
        return True
    if (_attribute(looks, "color") or "").upper() != "FFFFFF":
        return False
    backed = {f"{W}tbl", f"{W}txbxContent"}
    shaded = looks.find(f"{W}shd") is not None or looks.find(f"{W}highlight") is not None
    return not shaded and not any(
        above.tag in backed or above.find(f"{W}pPr/{W}shd") is not None
        for above in run.iterancestors()
    )


def _is_on(switch: "etree._Element | None") -> bool:
    return switch is not None and switch.get(f"{W}val", "true") not in {"0", "false", "off"}


def _children(node: "etree._Element", name: str) -> "Iterator[etree._Element]":
    """Yield the rows or cells of a table, through content controls."""
    for child in node:
        if child.tag == f"{W}{name}":
            yield child
        elif child.tag in {f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}customXml"}:
            yield from _children(child, name)
