"""Reads files as the worker's child does and shows what was found."""

from dataclasses import dataclass
from pathlib import Path

from app.domain.documents import ParsedDocument
from app.services.media_types import sniff
from ingestion.parsers.registry import parse


@dataclass(frozen=True)
class Limits:
    max_text_chars: int = 100_000
    max_blocks: int = 1000


def read(path: Path, name: str = "", limits: Limits = Limits()) -> ParsedDocument:
    """Parse a file; its blocks must cover all of its text."""
    parsed = parse(path, sniff(path, name or path.name), limits)
    end = 0
    for block in parsed.blocks:
        assert end <= block.char_start < block.char_end
        assert parsed.text[end : block.char_start].strip() == ""
        end = block.char_end
    assert end == len(parsed.text)
    return parsed


def read_text(
    tmp_path: Path, name: str, text: str | bytes, limits: Limits = Limits()
) -> ParsedDocument:
    """Write a file and parse it."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, limits=limits)


def shape(parsed: ParsedDocument) -> list[tuple[str, int, str]]:
    """Return the kind, the level and the text of each block."""
    return [(b.kind, b.level, parsed.text[b.char_start : b.char_end]) for b in parsed.blocks]
