"""Markdown: its structure becomes blocks, its text stays as it is but for heading marks."""

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from app.domain.documents import BlockKind, ParsedDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_CLOSING_MARKS = re.compile(r"(?:^|(?<=[ \t]))#+$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s+\S")
_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_BREAK = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a Markdown file; `title` of its front matter names it."""
    text = re.sub("\r\n?|\u2028", "\n", decode(file.read()))
    builder = TextBuilder(limits)
    title = None
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :]
        builder.add(BlockKind.PARAGRAPH, front[1])
        named = _TITLE.search(front[1])
        title = named[1].strip("\"'") if named else None
    _Reader(builder).read(text.split("\n"))
    return builder.build(title)


@dataclass
class _Reader:
    """Holds the lines of the block that is being read."""

    builder: TextBuilder
    kind: BlockKind = BlockKind.PARAGRAPH
    held: list[str] = field(default_factory=list)

    def read(self, lines: list[str]) -> None:
        at = 0
        while at < len(lines):
            fence = _FENCE.match(lines[at])
            if fence:
                end = _fence_end(lines, at, fence[1])
                self._flush()
                self.builder.add(BlockKind.CODE, "\n".join(lines[at:end]))
                at = end
            elif self._starts_table(lines, at):
                end = at + 2
                while end < len(lines) and "|" in lines[end] and lines[end].strip():
                    end += 1
                self._flush()
                self.builder.add(BlockKind.TABLE, "\n".join(lines[at:end]))
                at = end
            else:
                self._read_line(lines[at])
                at += 1
        self._flush()

    @staticmethod
    def _starts_table(lines: list[str], at: int) -> bool:
        if "|" not in lines[at] or at + 1 == len(lines):
            return False
        return "|" in lines[at + 1] and _RULE.match(lines[at + 1]) is not None

    def _read_line(self, line: str) -> None:
        heading = _ATX.match(line)
        underline = _SETEXT.match(line)
        if heading:
            self._flush()
            title = _CLOSING_MARKS.sub("", line[heading.end() :].strip())
            self.builder.add(BlockKind.HEADING, title, len(heading[1]))
        elif underline and self.kind is BlockKind.PARAGRAPH and self.held:
            text, self.held = "\n".join(self.held), []
            self.builder.add(BlockKind.HEADING, text, 1 if "=" in underline[1] else 2)
        elif _BREAK.match(line):
            self._flush()
        elif _ITEM.match(line):
            self._flush()
            self.kind = BlockKind.LIST_ITEM
            self.held = [line]
        elif line.strip():
            if self.kind is BlockKind.LIST_ITEM and self.held[-1] == "" and line[0] not in " \t":
                self._flush()
            self.held.append(line)
        elif self.kind is BlockKind.LIST_ITEM:
            self.held.append("")
        else:
            self._flush()

    def _flush(self) -> None:
        self.builder.add(self.kind, _COMMENT.sub("", "\n".join(self.held)))
        self.kind, self.held = BlockKind.PARAGRAPH, []


def _fence_end(lines: list[str], start: int, mark: str) -> int:
    closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    for at in range(start + 1, len(lines)):
        if closing.match(lines[at]):
            return at + 1
    return len(lines)
