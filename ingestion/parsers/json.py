"""JSON and JSON lines: keys become headings and labels, lists of records become tables."""

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import DocumentTooComplex
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode
from ingestion.parsers.text import add_plain_text

Value = None | bool | str | list["Value"] | dict[str, "Value"]

_DEEPEST_HEADING = 6
_LONGEST_CELL = 300
_MOST_COLUMNS = 50
_FILLED_SHARE = 0.5
_NAMES = ("title", "name", "subject", "question", "название", "имя", "id")


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read one JSON value or one on each line; what is neither is kept as plain text."""
    text = decode(file.read())
    builder = TextBuilder(limits)
    title = None
    try:
        value = _read(text)
        if isinstance(value, dict):
            title = next((named for key in _NAMES[:2] if (named := _short(value.get(key)))), None)
        _Walk(builder).add("", value, 0)
    except ValueError:
        builder.flag("plain_text_fallback")
        add_plain_text(builder, text)
    except RecursionError as error:
        raise DocumentTooComplex("the JSON is nested too deeply") from error
    return builder.build(title, empty="the JSON holds no text")


def _read(text: str) -> Value:
    try:
        return _value(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [_value(line) for line in lines]


def _value(text: str) -> Value:
    """Decode a value; numbers stay as they are written."""
    value: Value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    return value


class _Walk:
    """One pass over a value."""

    def __init__(self, builder: TextBuilder) -> None:
        self.builder = builder

    def add(self, key: str, value: Value, level: int) -> None:
        """Add a value under its key; `level` is that of the heading above it."""
        if isinstance(value, dict):
            self.object(key, value, level)
        elif isinstance(value, list):
            self.array(key, value, level)
        else:
            self.lines([(key, value)])

    def object(self, key: str, value: dict[str, Value], level: int) -> None:
        level = self.heading(key, level)
        self.lines((k, v) for k, v in value.items() if not isinstance(v, dict | list))
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                self.add(name, inner, level)

    def array(self, key: str, values: list[Value], level: int) -> None:
        records = [value for value in values if isinstance(value, dict)]
        if not any(isinstance(value, dict | list) for value in values):
            if key:
                self.builder.add(BlockKind.PARAGRAPH, f"{key}:")
            for value in values:
                self.builder.add(BlockKind.LIST_ITEM, f"- {_show(value)}")
        elif len(records) == len(values) and _is_table(records):
            self.heading(key, level)
            columns = list(dict.fromkeys(name for record in records for name in record))
            rows = ([_show(record.get(name)) for name in columns] for record in records)
            self.builder.add_table([columns, *rows])
        elif all(isinstance(value, list) for value in values) and _is_grid(values):
            self.heading(key, level)
            self.builder.add_table(list(_grid(values)))
        else:
            level = self.heading(key, level)
            for number, value in enumerate(values, 1):
                self.add(_name(value) or f"{key} {number}".strip(), value, level)

    def heading(self, key: str, level: int) -> int:
        """Add a key as a heading; return its level."""
        if not key:
            return level
        level = min(level + 1, _DEEPEST_HEADING)
        self.builder.add(BlockKind.HEADING, key, level)
        return level

    def lines(self, pairs: Iterable[tuple[str, Value]]) -> None:
        """Add short values as lines `key: value`, long ones as paragraphs of their own."""
        held: list[str] = []
        for key, value in pairs:
            text = _show(value)
            label = f"{key}: " if key else ""
            if len(text) <= _LONGEST_CELL and "\n" not in text:
                if text:
                    held.append(label + text)
                continue
            self.builder.add(BlockKind.PARAGRAPH, "\n".join(held))
            held = []
            self.builder.add(BlockKind.PARAGRAPH, label)
            add_plain_text(self.builder, text)
        self.builder.add(BlockKind.PARAGRAPH, "\n".join(held))


def _is_table(records: list[dict[str, Value]]) -> bool:
    """Whether records are flat, short and mostly of the same keys."""
    if len(records) < 2:
        return False
    columns = {name for record in records for name in record}
    filled = sum(map(len, records))
    short = all(_is_cell(value) for record in records for value in record.values())
    return short and 0 < len(columns) <= min(_MOST_COLUMNS, filled / len(records) / _FILLED_SHARE)


def _is_grid(rows: list[Value]) -> bool:
    return len(rows) > 1 and all(
        len(row) <= _MOST_COLUMNS and all(map(_is_cell, row))
        for row in rows
        if isinstance(row, list)
    )


def _grid(rows: list[Value]) -> Iterator[list[str]]:
    for row in rows:
        if isinstance(row, list):
            yield [_show(cell) for cell in row]


def _is_cell(value: Value) -> bool:
    if isinstance(value, dict | list):
        return False
    text = _show(value)
    return len(text) <= _LONGEST_CELL and "\n" not in text


def _show(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _name(value: Value) -> str | None:
    """Return what a record calls itself."""
    if not isinstance(value, dict):
        return None
    return next((name for key in _NAMES if (name := _short(value.get(key)))), None)


def _short(value: Value) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_CELL else None
