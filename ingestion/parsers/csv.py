"""Delimited tables as one Markdown table."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from app.domain.documents import ParsedDocument
from app.domain.errors import UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode

_DELIMITERS = (";", ",", "\t", "|")
_SAMPLE_ROWS = 100


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a table whose delimiter is the one that gives the most rows of equal width."""
    text = decode(file.read()).replace("\0", "")
    csv.field_size_limit(limits.max_text_chars)
    builder = TextBuilder(limits)
    try:
        delimiter = max(_DELIMITERS, key=lambda candidate: _regularity(text, candidate))
        builder.add_table(_rows(text, delimiter))
    except csv.Error as error:
        raise UnreadableDocument(f"the table cannot be read: {error}") from error
    return builder.build(empty="the table holds no text")


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _regularity(text: str, delimiter: str) -> tuple[float, int]:
    """Return the share of sample rows that have the commonest width above one, and that width."""
    widths = [len(row) for row in islice(_rows(text, delimiter), _SAMPLE_ROWS) if any(row)]
    several = [width for width in widths if width > 1]
    if not several:
        return 0.0, 1
    common = max(set(several), key=several.count)
    return several.count(common) / len(widths), common
