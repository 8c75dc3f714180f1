"""PowerPoint: each slide is a page; its title a heading, then its texts, tables, charts, notes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lxml import etree

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.ooxml import Package, open_package

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"sldNum", "dt", "ftr", "hdr", "sldImg"}


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a PPTX file slide by slide."""
    with open_package(file) as package:
        part = package.main_part()
        root = package.xml(part)
        if root is None:
            raise UnreadableDocument("the file is damaged: it has no presentation part")
        related = package.relations(part)
        builder = TextBuilder(limits)
        slides = [node.get(f"{_R}id", "") for node in root.iter(f"{_P}sldId")]
        for page, slide in enumerate(slides, 1):
            if slide in related:
                _Slide(builder, package, related[slide][1], page).read()
        return builder.build(
            package.title(), len(slides), empty="the slides hold no text, only images"
        )


@dataclass
class _Slide:
    """One slide and what belongs to it."""

    builder: TextBuilder
    package: Package
    part: str
    page: int

    def read(self) -> None:
        root = self.package.xml(self.part)
        if root is None:
            return
        related = self.package.relations(self.part)
        shapes = list(_shapes(root.find(f"{_P}cSld/{_P}spTree")))
        shapes.sort(key=lambda shape: _placeholder(shape) not in _TITLES)
        for shape in shapes:
            self.shape(shape, related)
        for kind, part in related.values():
            if kind == "notesSlide":
                notes = self.package.xml(part)
                for shape in [] if notes is None else _shapes(notes.find(f"{_P}cSld/{_P}spTree")):
                    self.shape(shape, {})

    def shape(self, shape: "etree._Element", related: dict[str, tuple[str, str]]) -> None:
        kind = _placeholder(shape)
        if kind in _FURNITURE:
            return
        if kind in _TITLES:
            title = " ".join(line for line, _, _ in _paragraphs(shape))
            self.builder.add(BlockKind.HEADING, title, 1, self.page)
            return
        for table in shape.iter(f"{_A}tbl"):
            self.table(table)
        for chart in shape.iter(f"{_C}chart"):
            target = related.get(chart.get(f"{_R}id", ""))
            root = self.package.xml(target[1]) if target else None
            if root is not None:
                self.chart(root)
        if shape.tag == f"{_P}sp":
            for line, depth, listed in _paragraphs(shape):
                if listed:
                    self.builder.add(BlockKind.LIST_ITEM, f"{'  ' * depth}- {line}", page=self.page)
                else:
                    self.builder.add(BlockKind.PARAGRAPH, line, page=self.page)

    def table(self, table: "etree._Element") -> None:
        self.builder.add_table(
            (
                [" ".join(line for line, _, _ in _paragraphs(cell)) for cell in row.iter(f"{_A}tc")]
                for row in table.iter(f"{_A}tr")
            ),
            self.page,
        )

    def chart(self, root: "etree._Element") -> None:
        """Add a chart's title, and its numbers as a table: a row for each category."""
        for title in root.iter(f"{_C}title"):
            for line, _, _ in _paragraphs(title):
                self.builder.add(BlockKind.PARAGRAPH, line, page=self.page)
        series = list(root.iter(f"{_C}ser"))
        names = [" ".join(_points(one.find(f"{_C}tx")).values()) for one in series]
        values = [_points(one.find(f"{_C}val")) for one in series]
        categories = next(filter(None, (_points(one.find(f"{_C}cat")) for one in series)), {})
        places = sorted(set(categories).union(*values))
        rows = [
            [categories.get(place, ""), *(one.get(place, "") for one in values)] for place in places
        ]
        if rows:
            self.builder.add_table([["", *names], *rows], self.page)


def _shapes(tree: "etree._Element | None") -> "Iterator[etree._Element]":
    """Yield the shapes of a slide, those of groups too."""
    for node in [] if tree is None else tree:
        if node.tag in {f"{_P}sp", f"{_P}graphicFrame"}:
            yield node
        elif node.tag in {f"{_P}grpSp", f"{_MC}AlternateContent", f"{_MC}Choice"}:
            yield from _shapes(node)


def _placeholder(shape: "etree._Element") -> str | None:
    """Return the role of a placeholder; "obj" where the file leaves it open."""
    node = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return None if node is None else node.get("type", "obj")


def _paragraphs(node: "etree._Element") -> Iterator[tuple[str, int, bool]]:
    """Yield each paragraph's text, its depth, and whether it is an item of a list."""
    body = _placeholder(node) in {"body", "obj"} if node.tag == f"{_P}sp" else False
    paragraphs = list(node.iter(f"{_A}p"))
    for paragraph in paragraphs:
        text = "".join(_characters(paragraph)).strip()
        if not text:
            continue
        form = paragraph.find(f"{_A}pPr")
        depth = form.get("lvl", "0") if form is not None else "0"
        bullet = form is not None and any(
            form.find(f"{_A}{name}") is not None for name in ("buChar", "buAutoNum", "buBlip")
        )
        plain = form is not None and form.find(f"{_A}buNone") is not None
        listed = bullet or (body and not plain and len(paragraphs) > 1)
        yield text, int(depth) if depth.isdigit() else 0, listed


def _characters(paragraph: "etree._Element") -> Iterator[str]:
    for node in paragraph.iter(f"{_A}t", f"{_A}br", f"{_A}tab"):
        if node.tag == f"{_A}t":
            yield node.text or ""
        else:
            yield "\n" if node.tag == f"{_A}br" else "\t"


def _points(node: "etree._Element | None") -> dict[int, str]:
    """Return the cached values of a chart's reference by their place."""
    found: dict[int, str] = {}
    for point in [] if node is None else node.iter(f"{_C}pt"):
        place = point.get("idx", "")
        if place.isdigit():
            found[int(place)] = point.findtext(f"{_C}v") or ""
    return found
