"""Plain text: paragraphs, list items, pages at form feeds; headings only where they are sure."""

import re
from typing import BinaryIO

from app.domain.documents import BlockKind, ParsedDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode

_ITEM = re.compile(r"\s*(?:[-*•–—▪◦·]|\d{1,3}[.)]|[a-zа-яё]\))\s+\S")
_UNDERLINE = re.compile(r"(?:={3,}|-{3,}|~{3,})\s*$")
_NAMED = re.compile(
    r"(?:(глава|раздел|часть|приложение|chapter|part|appendix)|статья|article|section)"
    r"\s+(?:№\s*)?(?:\d+|[IVXLC]+|[A-ZА-Я])\b[^\n]*$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,2}(?:\.\d{1,2})*[.)]?\s+")
_LONGEST_HEADING = 120


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a plain text file; a form feed starts a new page."""
    text = decode(file.read())
    sheets = text.rstrip("\f\x1a\0\r\n ").split("\f")
    builder = TextBuilder(limits)
    for number, sheet in enumerate(sheets, 1):
        add_plain_text(builder, sheet, page=number if len(sheets) > 1 else None)
    return builder.build(pages=len(sheets) if len(sheets) > 1 else None)


def add_plain_text(builder: TextBuilder, text: str, page: int | None = None) -> None:
    """Add the paragraphs of a text whose structure is in its blank lines."""
    text = re.sub("\r\n?|[\x85\u2028\u2029]", "\n", text)
    for paragraph in re.split(r"\n[ \t\xa0]*\n", text):
        lines = [line.rstrip() for line in paragraph.split("\n") if line.strip()]
        if not lines:
            continue
        level = _heading_level(lines)
        if level:
            builder.add(BlockKind.HEADING, lines[0], level, page)
            lines = [line for line in lines[1:] if not _UNDERLINE.match(line)]
        _add_lines(builder, lines, page)


def _heading_level(lines: list[str]) -> int:
    """Return 1 or 2 if the first line surely is a heading, else 0."""
    first = lines[0].strip()
    if len(first) > _LONGEST_HEADING or not any(map(str.isalpha, first)):
        return 0
    if len(lines) > 1 and _UNDERLINE.match(lines[1]):
        return 1 if lines[1].startswith("=") else 2
    if first[-1] in ".,;:!?" or (len(lines) > 1 and lines[1].isupper()):
        return 0
    number = _NUMBER.match(first)
    words = first[number.end() :] if number else first
    if words.isupper() and sum(map(str.isalpha, words)) >= 4 and words[0].isalpha():
        return 2 if number else 1
    named = _NAMED.match(first) if len(lines) == 1 else None
    if named is None:
        return 0
    return 1 if named[1] else 2


def _add_lines(builder: TextBuilder, lines: list[str], page: int | None) -> None:
    kind, held = BlockKind.PARAGRAPH, list[str]()
    for line in lines:
        if _ITEM.match(line):
            builder.add(kind, "\n".join(held), page=page)
            kind, held = BlockKind.LIST_ITEM, []
        held.append(line)
    builder.add(kind, "\n".join(held), page=page)
