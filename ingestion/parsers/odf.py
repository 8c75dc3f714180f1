"""OpenDocument text and presentations: one pass over `content.xml` in document order."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lxml import etree

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import EncryptedDocument, UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.odf_styles import TEXT, Styles
from ingestion.parsers.ooxml import Package, open_package

_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
_MANIFEST = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
_SKIPPED = {
    f"{TEXT}tracked-changes",
    f"{TEXT}note-citation",
    f"{TEXT}ruby-text",
    f"{TEXT}index-title-template",
    f"{_OFFICE}annotation",
    f"{_OFFICE}forms",
    f"{_OFFICE}event-listeners",
}
_FURNITURE = {"date-time", "footer", "header", "page-number", "page"}
_LONGEST_HEADING = 300
_WIDEST_ROW = 1000
_MOST_REPEATED_ROWS = 1000
_REPEATED_CHARS = 200
_MOST_SPACES = 100


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read an ODT or ODP file; slides are pages."""
    with open_package(file) as package:
        _refuse_encrypted(package)
        root = package.xml("content.xml")
        body = None if root is None else root.find(f"{_OFFICE}body")
        if root is None or body is None:
            raise UnreadableDocument("the file is damaged: it has no document body")
        builder = TextBuilder(limits)
        walk = _Walk(builder, Styles.read(package.xml("styles.xml"), root))
        slides = list(body.iterfind(f"{_OFFICE}presentation/{_DRAW}page"))
        for number, slide in enumerate(slides, 1):
            walk.slide(slide, number)
        if not slides:
            walk.blocks(body)
        walk.notes()
        return builder.build(
            package.title(), len(slides) or None, empty="the document holds no text, only images"
        )


def _refuse_encrypted(package: Package) -> None:
    manifest = package.xml("META-INF/manifest.xml")
    entries = () if manifest is None else manifest.iter(f"{_MANIFEST}encryption-data")
    if next(iter(entries), None) is not None:
        raise EncryptedDocument(
            "the document is protected by a password: save it without one and upload it again"
        )


@dataclass
class _Walk:
    """One pass over the body."""

    builder: TextBuilder
    styles: Styles
    page: int | None = None
    footnotes: "list[etree._Element]" = field(default_factory=list)
    continued: dict[str, int] = field(default_factory=dict)

    def slide(self, slide: "etree._Element", number: int) -> None:
        """Add a slide: its title, its shapes, then the speaker's notes."""
        self.page = number
        shapes = [node for node in slide if node.tag != f"{_PRESENTATION}notes"]
        titles = [node for node in shapes if node.get(f"{_PRESENTATION}class") == "title"]
        for title in titles:
            self.builder.add(BlockKind.HEADING, self.flat(title), 1, number)
        for shape in shapes:
            if shape not in titles and shape.get(f"{_PRESENTATION}class") not in _FURNITURE:
                self.blocks(shape)
        for notes in slide.iterfind(f"{_PRESENTATION}notes"):
            for shape in notes:
                if shape.get(f"{_PRESENTATION}class") not in _FURNITURE:
                    self.blocks(shape)

    def blocks(self, parent: "etree._Element") -> None:
        """Add the headings, paragraphs, lists and tables under an element."""
        for node in parent:
            if node.tag in {f"{TEXT}h", f"{TEXT}p"}:
                self.paragraph(node)
            elif node.tag == f"{TEXT}list":
                self.add_list(node, node.get(f"{TEXT}style-name", ""), [])
            elif node.tag == f"{_TABLE}table":
                self.table(node)
            elif isinstance(node.tag, str) and node.tag not in _SKIPPED:
                self.blocks(node)  # sections, indexes, frames, shapes

    def paragraph(self, node: "etree._Element", label: str = "", depth: int = 0) -> None:
        """Add a paragraph, then the frames that hang on it."""
        style = self.styles.of(node.get(f"{TEXT}style-name", ""))
        frames: list[etree._Element] = []
        text = "".join(self.characters(node, frames)).strip()
        level = style.level
        if node.tag == f"{TEXT}h":
            outline = node.get(f"{TEXT}outline-level", "1")
            level = int(outline) if outline.isdecimal() else 1
        if not text:
            level = 0
        if level and len(text) <= _LONGEST_HEADING:
            numbered = f"{label} {text}" if label not in {"", "-"} else text
            self.builder.add(BlockKind.HEADING, numbered, level, self.page)
        elif label and text:
            self.builder.add(BlockKind.LIST_ITEM, f"{'  ' * depth}{label} {text}", page=self.page)
        else:
            kind = BlockKind.CODE if style.code else BlockKind.PARAGRAPH
            self.builder.add(kind, text, page=self.page)
        for frame in frames:
            self.blocks(frame)

    def add_list(self, node: "etree._Element", style: str, outer: "list[int]") -> None:
        """Add a list; `outer` holds the numbers of the items around it."""
        depth = len(outer) + 1
        count = self.styles.start(style, depth) - 1
        if node.get(f"{TEXT}continue-numbering") == "true" or node.get(f"{TEXT}continue-list"):
            count = self.continued.get(style, count)
        for item in node:
            if item.tag == f"{TEXT}list-header":
                self.blocks(item)
                continue
            if item.tag != f"{TEXT}list-item":
                continue
            start = item.get(f"{TEXT}start-value", "")
            count = int(start) if start.isdecimal() else count + 1
            self.item(item, style, [*outer, count])
        if depth == 1:
            self.continued[style] = count

    def item(self, item: "etree._Element", style: str, counts: "list[int]") -> None:
        """Add an item; its first paragraph carries the label."""
        label = self.styles.label(style, counts)
        for node in item:
            if node.tag in {f"{TEXT}p", f"{TEXT}h"}:
                self.paragraph(node, label, len(counts) - 1)
                label = ""
            elif node.tag == f"{TEXT}list":
                inner = node.get(f"{TEXT}style-name", style)
                self.add_list(node, inner, counts)
            else:
                self.blocks(node)

    def characters(self, node: "etree._Element", frames: "list[etree._Element]") -> Iterator[str]:
        """Yield a paragraph's text; frames are put aside."""
        yield node.text or ""
        for child in node:
            if child.tag == f"{TEXT}s":
                count = child.get(f"{TEXT}c", "1")
                yield " " * (min(int(count), _MOST_SPACES) if count.isdecimal() else 1)
            elif child.tag == f"{TEXT}tab":
                yield "\t"
            elif child.tag == f"{TEXT}line-break":
                yield "\n"
            elif child.tag == f"{TEXT}note":
                self.footnotes.append(child)
                yield f"[{len(self.footnotes)}]"
            elif child.tag in {f"{_DRAW}frame", f"{_DRAW}custom-shape", f"{_DRAW}g"}:
                frames.append(child)
            elif self.is_hidden(child):
                self.builder.flag("hidden_text_left_out")
            elif isinstance(child.tag, str) and child.tag not in _SKIPPED:
                yield from self.characters(child, frames)
            yield child.tail or ""

    def is_hidden(self, node: "etree._Element") -> bool:
        if node.tag == f"{TEXT}hidden-text":
            return True
        return (
            node.tag == f"{TEXT}span" and self.styles.of(node.get(f"{TEXT}style-name", "")).hidden
        )

    def table(self, table: "etree._Element") -> None:
        """Add a table; one of a single cell is a frame around paragraphs."""
        rows = list(_rows(table))
        cells = [cell for row in rows for cell in row.iterchildren(f"{_TABLE}table-cell")]
        if len(rows) == 1 and len(cells) == 1:
            self.blocks(cells[0])
            return
        spans: dict[int, tuple[int, str]] = {}
        shown: list[list[str]] = []
        for row in rows:
            line = list(self.cells(row, spans))
            shown += [line] * min(_number(row, "number-rows-repeated"), _MOST_REPEATED_ROWS)
        self.builder.add_table(shown, self.page)

    def cells(self, row: "etree._Element", spans: dict[int, tuple[int, str]]) -> Iterator[str]:
        """Yield a row's cells; one that spans rows is repeated in each."""
        column = 0
        for cell in row:
            covered = cell.tag == f"{_TABLE}covered-table-cell"
            if not covered and cell.tag != f"{_TABLE}table-cell":
                continue
            for _ in range(_number(cell, "number-columns-repeated")):
                if column == _WIDEST_ROW:
                    return
                if covered:
                    left, text = spans.pop(column, (0, ""))
                else:
                    left, text = _number(cell, "number-rows-spanned"), self.flat(cell)
                if left > 1:
                    spans[column] = (left - 1, text if len(text) <= _REPEATED_CHARS else "")
                yield text
                column += 1

    def flat(self, node: "etree._Element") -> str:
        """Return all text under an element on one line."""
        lines = ("".join(self.characters(one, [])) for one in node.iter(f"{TEXT}p", f"{TEXT}h"))
        return " ".join(" ".join(lines).split())

    def notes(self) -> None:
        """Add the notes that the text refers to."""
        for number, note in enumerate(self.footnotes, 1):
            body = note.find(f"{TEXT}note-body")
            if body is not None:
                self.builder.add(BlockKind.PARAGRAPH, f"[{number}] {self.flat(body)}")


def _rows(table: "etree._Element") -> "Iterator[etree._Element]":
    """Yield a table's rows, through its header and its groups."""
    for node in table:
        if node.tag == f"{_TABLE}table-row":
            yield node
        elif node.tag in {
            f"{_TABLE}table-header-rows",
            f"{_TABLE}table-rows",
            f"{_TABLE}table-row-group",
        }:
            yield from _rows(node)


def _number(node: "etree._Element", name: str) -> int:
    text = node.get(f"{_TABLE}{name}", "1")
    return int(text) if text.isdecimal() else 1
