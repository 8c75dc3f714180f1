"""Read the Markdown-like sources of the binary samples into a list of blocks.

The dialect is deliberately small: `#` headings, paragraphs, `- ` lists, `> ` notes and pipe tables.
Blocks are separated by empty lines; numbers such as "3.2." at the start of a clause are plain text.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """Text beside the page: the speaker notes of a slide."""

    text: str


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Bullets | Note | Table


def read_blocks(path: Path) -> list[Block]:
    """Parse one source file, in order.

    Raises:
        ValueError: The file has no title, or a table row has the wrong number of cells.
    """
    chunks = path.read_text(encoding="utf-8").strip().split("\n\n")
    blocks = [_parse(chunk.strip().splitlines()) for chunk in chunks if chunk.strip()]
    if not blocks or not isinstance(blocks[0], Heading) or blocks[0].level != 1:
        raise ValueError(f"{path} must begin with a '# ' title")
    return blocks


def _parse(lines: list[str]) -> Block:
    first = lines[0]
    if first.startswith("#"):
        marks, _, text = first.partition(" ")
        return Heading(len(marks), text)
    if first.startswith("- "):
        return Bullets(tuple(line.removeprefix("- ") for line in lines))
    if first.startswith("> "):
        return Note(" ".join(line.removeprefix("> ") for line in lines))
    if first.startswith("|"):
        header, _rule, *rows = [_cells(line) for line in lines]
        if any(len(row) != len(header) for row in rows):
            raise ValueError(f"table {header!r} has a row with another number of cells")
        return Table(header, tuple(rows))
    return Paragraph(" ".join(lines))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(
        cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")
    )
