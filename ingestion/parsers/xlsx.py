"""Excel and ODS: each visible sheet is a heading and the tables that blank rows part it into."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import BinaryIO

from python_calamine import (
    CalamineError,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import EncryptedDocument, UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.ooxml import OLE_MAGIC, open_package

_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
# calamine's bugs arrive as a class that no module exports, above Exception.
_RUST_PANIC = "PanicException"
Cell = str | int | float | bool | time | date | datetime | timedelta


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read an XLSX, XLS or ODS file; hidden sheets are left out and flagged."""
    title = _check(file)
    file.seek(0)
    builder = TextBuilder(limits)
    try:
        with CalamineWorkbook.from_filelike(file) as workbook:
            for sheet in workbook.sheets_metadata:
                if sheet.typ is not SheetTypeEnum.WorkSheet:
                    continue
                if sheet.visible is not SheetVisibleEnum.Visible:
                    builder.flag("hidden_sheets_left_out")
                    continue
                rows = workbook.get_sheet_by_name(sheet.name).to_python()
                _add_sheet(builder, sheet.name, rows)
    except PasswordError as error:
        raise EncryptedDocument("the workbook is protected by a password") from error
    except CalamineError as error:
        raise UnreadableDocument(f"the workbook is damaged: {error}") from error
    except BaseException as error:
        if type(error).__name__ != _RUST_PANIC:
            raise
        raise UnreadableDocument("the workbook is damaged") from error
    return builder.build(title, empty="the sheets hold no text")


def _check(file: BinaryIO) -> str | None:
    """Refuse what calamine would unpack without limit; return the workbook's title."""
    start = file.read(len(OLE_MAGIC))
    file.seek(0)
    if start == OLE_MAGIC and _ENCRYPTED not in file.read():
        return None
    file.seek(0)
    with open_package(file) as package:
        package.check_sums()
        return package.title()


def _add_sheet(builder: TextBuilder, name: str, rows: list[list[Cell]]) -> None:
    shown = ([show(cell) for cell in row] for row in rows)
    tables = [list(group) for filled, group in groupby(shown, any) if filled]
    if tables:
        builder.add(BlockKind.HEADING, name, 1)
    for table in tables:
        for line in _captions(table):
            builder.add(BlockKind.PARAGRAPH, line)
        builder.add_table(table)


def _captions(table: list[list[str]]) -> Iterator[str]:
    """Take the rows of a single cell: those above several columns, or one that stands alone."""
    width = max(sum(map(bool, row)) for row in table)
    while table and (width > 1 or len(table) == 1) and sum(map(bool, table[0])) == 1:
        yield "".join(table.pop(0))


def show(cell: Cell) -> str:
    """Write a cell's value: dates as ISO 8601, numbers without a spurious fraction."""
    match cell:
        case bool():
            return "TRUE" if cell else "FALSE"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
        case datetime():
            midnight = cell.time() == time()
            return cell.date().isoformat() if midnight else cell.isoformat(sep=" ")
        case date() | time():
            return cell.isoformat()
        case _:
            return str(cell)
