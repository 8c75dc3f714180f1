"""Web pages: the main content as blocks, without menus, scripts and what is not shown.

A page that is mostly running text is taken whole. One with many links, as a page of a site has, is
handed to trafilatura, which tells content from furniture, unless it loses too much of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lxml import etree

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import DocumentTooComplex, UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode

_DECLARED = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_HEADING = re.compile(r"h([1-6])$")
_NOT_SHOWN = {"head", "script", "style", "noscript", "template", "svg", "iframe", "object", "audio"}
_NOT_SHOWN |= {"video", "canvas", "select", "button", "textarea", "datalist", "map", "title"}
_FURNITURE = {"nav", "footer", "aside", "menu"}
_FURNITURE_ROLES = {"navigation", "banner", "contentinfo", "complementary", "search", "menu"}
_HIDDEN_STYLE = re.compile(
    r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0(?:\.0*)?\s*(?:;|!|$)"
    r"|font-size\s*:\s*0*(?:\.0*)?(?:px|pt|em|rem|%)?\s*(?:;|!|$)"
    r"|(?:left|top|text-indent)\s*:\s*-\d{4,}px)",
    re.IGNORECASE,
)
_WHITE_STYLE = re.compile(
    r"(?:^|[;\s])color\s*:\s*(?:white|#fff(?:fff)?|rgb\(\s*255\s*,\s*255\s*,\s*255\s*\))\s*(?:;|!|$)",
    re.IGNORECASE,
)
_INLINE = {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn"}
_INLINE |= {"em", "font", "i", "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span"}
_INLINE |= {"strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "img", "nobr"}
_STRUCTURE = {"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "pre", "table", "dl"}
_SPACES = re.compile(r"[ \t\r\n\f]+")
_MANY_LINKS = 0.15
_KEPT_ENOUGH = 0.6
_REPEATED_CHARS = 200
_WIDEST_SPAN = 200
_WIDEST_ROW = 1000


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read an HTML file; the title is that of its head."""
    data = file.read()
    declared = _DECLARED.search(data[:4096])
    text = decode(data, declared[1].decode("ascii", "replace") if declared else None)
    builder = TextBuilder(limits)
    title = add_html(builder, text)
    return builder.build(title, empty="the page holds no text")


def add_html(builder: TextBuilder, text: str) -> str | None:
    """Add a page's content; returns its title."""
    text = _XML_DECLARATION.sub("", text, count=1).replace("\0", "")
    root = _tree(text)
    if root is None:
        return None
    title: str | None = root.findtext(".//title")
    if _drop_hidden(root):
        builder.flag("hidden_text_left_out")
        text = etree.tostring(root, encoding="unicode", method="html")
    content = _main_content(text, root)
    _Walk(builder).read(root if content is None else content)
    return title


def _tree(text: str) -> "etree._Element | None":
    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
        if parser.error_log.filter_types(etree.ErrorTypes.ERR_RESOURCE_LIMIT):
            raise DocumentTooComplex("the page nests its elements too deeply to be read whole")
        return root
    except etree.XMLSyntaxError as error:
        if not text.strip():
            return None
        raise UnreadableDocument(f"the page cannot be read: {error}") from error


def _drop_hidden(root: "etree._Element") -> bool:
    """Drop what the page itself hides from its readers; return whether that held text."""
    styled = next(root.iter("style", "link"), None) is not None
    hidden = [
        element
        for element in root.iterfind(".//body//*")
        if _is_hidden(element) or (not styled and _is_white_on_white(element))
    ]
    found = False
    for element in hidden:
        parent = element.getparent()
        if parent is None:
            continue
        shown = element.tag not in _NOT_SHOWN
        found = found or (shown and any(text.strip() for text in element.itertext()))
        _keep_tail(element, parent)
        parent.remove(element)
    return found


def _keep_tail(element: "etree._Element", parent: "etree._Element") -> None:
    """Hand the text behind an element to what stands before it."""
    before = element.getprevious()
    if before is None:
        parent.text = (parent.text or "") + (element.tail or "")
    else:
        before.tail = (before.tail or "") + (element.tail or "")


def _is_hidden(element: "etree._Element") -> bool:
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    return bool(_HIDDEN_STYLE.search(element.get("style", "")))


def _is_white_on_white(element: "etree._Element") -> bool:
    """Whether an element is white on a page without style sheets where nothing is coloured."""
    if not _WHITE_STYLE.search(element.get("style", "")) and element.get("color") != "white":
        return False
    around = (element, *element.iterancestors())
    return not any("background" in one.get("style", "") or one.get("bgcolor") for one in around)


def _main_content(text: str, root: "etree._Element") -> "etree._Element | None":
    """Return trafilatura's choice for a page of many links, None to take the page whole."""
    shown = _length(_shown_text(root))
    links = sum(_length(_shown_text(link)) for link in root.iter("a"))
    if links < _MANY_LINKS * shown:
        return None
    from trafilatura import extract

    chosen = extract(
        text, output_format="html", include_comments=False, include_tables=True, favor_recall=True
    )
    content = _tree(chosen) if chosen else None
    if content is None or _length(_shown_text(content)) < _KEPT_ENOUGH * (shown - links):
        return None
    return content


def _shown_text(node: "etree._Element") -> str:
    """Return the text that a reader sees, furniture left out."""
    parts = []
    walk = etree.iterwalk(node, events=("start", "end"))
    for event, element in walk:
        if event == "start":
            if _left_out(element):
                walk.skip_subtree()
            else:
                parts.append(element.text or "")
                if element.tag not in _INLINE:
                    parts.append(" ")
        if event == "end" and element is not node:
            parts.append(" " if element.tag not in _INLINE else "")
            parts.append(element.tail or "")
    return "".join(parts)


def _length(text: str) -> int:
    return sum(map(len, text.split()))


def _left_out(element: "etree._Element") -> bool:
    """Whether an element is not shown, or is a menu, header or footer of the site."""
    tag = element.tag
    if not isinstance(tag, str) or tag in _NOT_SHOWN or tag in _FURNITURE:
        return True
    return element.get("role") in _FURNITURE_ROLES


@dataclass
class _Walk:
    """One pass over a tree, without recursion: pages nest as deep as they like."""

    builder: TextBuilder
    kind: BlockKind = BlockKind.PARAGRAPH
    level: int = 0
    held: list[str] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)
    mark: str = ""

    def read(self, root: "etree._Element") -> None:
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            if event == "end":
                self.leave(element)
                self.hold(element.tail if element is not root else None)
            elif _left_out(element):
                walk.skip_subtree()
            elif element.tag == "pre":
                self.flush()
                self.builder.add(BlockKind.CODE, "".join(element.itertext()))
                walk.skip_subtree()
            elif element.tag == "table" and _is_data(element):
                self.flush()
                self.table(element)
                walk.skip_subtree()
            else:
                self.enter(element)
                self.hold(element.text)
        self.flush()

    def enter(self, element: "etree._Element") -> None:
        heading = _HEADING.match(element.tag)
        if element.tag == "br":
            self.held.append("\n")
        elif element.tag not in _INLINE:
            self.flush()
        if heading:
            self.kind, self.level = BlockKind.HEADING, int(heading[1])
        elif element.tag in {"ul", "ol"}:
            start = element.get("start", "1")
            first = int(start) if start.isdigit() else 1
            self.lists.append(first if element.tag == "ol" else 0)
        elif element.tag == "li":
            self.item()

    def item(self) -> None:
        """Begin an item of the innermost list; 0 stands for one without numbers."""
        number = self.lists[-1] if self.lists else 0
        if number:
            self.lists[-1] += 1
        self.mark = "  " * (len(self.lists) - 1) + (f"{number}. " if number else "- ")

    def leave(self, element: "etree._Element") -> None:
        if not isinstance(element.tag, str) or element.tag in _INLINE or element.tag == "br":
            return
        self.flush()
        if element.tag in {"ul", "ol"} and self.lists:
            self.lists.pop()
        if element.tag == "li":
            self.mark = ""
        if _HEADING.match(element.tag):
            self.kind, self.level = BlockKind.PARAGRAPH, 0

    def hold(self, text: str | None) -> None:
        if text:
            self.held.append(_SPACES.sub(" ", text))

    def flush(self) -> None:
        """Add what was held as a block of the kind in which it stands."""
        text = re.sub(" *\n *", "\n", re.sub(" {2,}", " ", "".join(self.held))).strip()
        self.held = []
        if not text:
            return
        if self.kind is BlockKind.PARAGRAPH and self.mark:
            self.builder.add(BlockKind.LIST_ITEM, self.mark + text)
            self.mark = ""
        else:
            self.builder.add(self.kind, text, self.level)

    def table(self, table: "etree._Element") -> None:
        """Add a table of data; cells that span rows are repeated in each."""
        caption = table.find("caption")
        if caption is not None:
            self.builder.add(BlockKind.PARAGRAPH, _flat(caption))
        self.builder.add_table(_rows(table))


def _is_data(table: "etree._Element") -> bool:
    """Whether a table holds data; one that holds headings or lists of its own lays out a page."""
    if table.get("role") in {"presentation", "none"}:
        return False
    if next(table.iterdescendants("h1", "h2", "h3", "h4"), None) is not None:
        return False
    rows = list(table.iter("tr"))
    return len(rows) > 1 and any(len(row) > 1 for row in rows)


def _rows(table: "etree._Element") -> Iterator[list[str]]:
    """Yield the cells of each row, also of tables inside; merged ones are repeated downwards."""
    open_cells: dict[int, tuple[int, str]] = {}
    for row in table.iter("tr"):
        if next(row.iterancestors("table")) is not table:
            continue
        cells: list[str] = []
        for cell in row.iterchildren("td", "th"):
            _fill(cells, open_cells)
            text = _flat(cell)
            width = _span(cell, "colspan")
            height = _span(cell, "rowspan")
            if len(cells) > _WIDEST_ROW:
                width = height = 1
            for column in range(len(cells), len(cells) + width):
                first = column == len(cells)
                if height > 1:
                    short = text if first and len(text) <= _REPEATED_CHARS else ""
                    open_cells[column] = (height - 1, short)
            cells += [text, *[""] * (width - 1)]
        _fill(cells, open_cells)
        yield cells


def _fill(cells: list[str], open_cells: dict[int, tuple[int, str]]) -> None:
    """Put the cells that hang down from above into the row."""
    while len(cells) in open_cells:
        left, text = open_cells.pop(len(cells))
        if left > 1:
            open_cells[len(cells)] = (left - 1, text)
        cells.append(text)


def _span(cell: "etree._Element", name: str) -> int:
    span = cell.get(name, "1")
    return max(1, min(int(span), _WIDEST_SPAN)) if span.isdigit() else 1


def _flat(element: "etree._Element") -> str:
    return " ".join(_shown_text(element).split())
