"""What OpenDocument styles say of a paragraph, and how lists count (ODF 1.3, part 3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from ingestion.parsers.docx_numbering import show_number

STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_HEADING_NAME = re.compile(r"(?:heading|заголовок)[ _]*([1-9])$", re.IGNORECASE)
_TITLE_NAMES = {"title", "название", "заголовок"}
_CODE_NAMES = ("preformatted", "source", "code")
_FORMS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_FORMS |= {"а": "russianLower", "А": "russianUpper"}
_DEEPEST = 20


@dataclass(frozen=True)
class Style:
    """What a paragraph or a span takes from its style and those above it."""

    level: int = 0
    code: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class _Level:
    """How one level of a list is counted and shown; `form` is None for a bullet."""

    form: str | None
    prefix: str
    suffix: str
    start: int
    shown_levels: int


@dataclass
class Styles:
    """All styles of a file, the common ones and those that its editor made by itself."""

    _nodes: "dict[str, etree._Element]" = field(default_factory=dict)
    _lists: dict[str, dict[int, _Level]] = field(default_factory=dict)
    _known: dict[str, Style] = field(default_factory=dict)

    @classmethod
    def read(cls, *roots: "etree._Element | None") -> "Styles":
        """Read the styles under each root; later ones win."""
        styles = cls()
        for root in roots:
            for node in () if root is None else root.iter(f"{STYLE}style"):
                styles._nodes[node.get(f"{STYLE}name", "")] = node
            for node in () if root is None else root.iter(f"{TEXT}list-style"):
                styles._lists[node.get(f"{STYLE}name", "")] = dict(_levels(node))
        return styles

    def of(self, name: str) -> Style:
        """Return a style; what it leaves open comes from its parents."""
        if name not in self._known:
            self._known[name] = self._resolve(name)
        return self._known[name]

    def _resolve(self, name: str) -> Style:
        level, code, hidden = 0, False, False
        for _ in range(_DEEPEST):
            node = self._nodes.get(name)
            shown = name if node is None else node.get(f"{STYLE}display-name", name)
            named = _HEADING_NAME.match(shown.replace("_20_", " "))
            if named and not level:
                level = int(named[1])
            elif shown.lower() in _TITLE_NAMES:
                level = level or 1
            code = code or any(word in shown.lower() for word in _CODE_NAMES)
            if node is None:
                break
            looks = node.find(f"{STYLE}text-properties")
            hidden = hidden or (looks is not None and looks.get(f"{TEXT}display") == "none")
            name = node.get(f"{STYLE}parent-style-name", "")
        return Style(level, code, hidden)

    def start(self, name: str, depth: int) -> int:
        """Return the number of a list's first item."""
        level = self._lists.get(name, {}).get(depth)
        return 1 if level is None else level.start

    def label(self, name: str, counts: list[int]) -> str:
        """Return the label of the item at `counts`, one number for each depth; "-" for a bullet."""
        levels = self._lists.get(name, {})
        level = levels.get(len(counts))
        if level is None or level.form is None:
            return "-"
        first = max(0, len(counts) - level.shown_levels)
        shown = [
            show_number(count, _FORMS.get(levels[depth].form or "", "decimal"))
            for depth, count in enumerate(counts, 1)
            if depth > first and depth in levels and levels[depth].form
        ]
        return f"{level.prefix}{'.'.join(shown)}{level.suffix}".strip()


def _levels(node: "etree._Element") -> Iterator[tuple[int, _Level]]:
    for level in node:
        depth = _integer(level.get(f"{TEXT}level"), 1)
        if level.tag == f"{TEXT}list-level-style-number" and level.get(f"{STYLE}num-format"):
            yield (
                depth,
                _Level(
                    level.get(f"{STYLE}num-format", ""),
                    level.get(f"{STYLE}num-prefix", ""),
                    level.get(f"{STYLE}num-suffix", ""),
                    _integer(level.get(f"{TEXT}start-value"), 1),
                    _integer(level.get(f"{TEXT}display-levels"), 1),
                ),
            )
        else:
            yield depth, _Level(None, "", "", 1, 1)


def _integer(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
