"""Records in lines of a file, each with its place for messages."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from app.domain.errors import EvaluationRefused

T = TypeVar("T")


def records(path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield each line's place and its record.

    Raises:
        EvaluationRefused: The file cannot be read or a line is broken; the message names it.
    """
    decoder = msgspec.json.Decoder(kind)
    for place, line in lines(path):
        try:
            yield place, decoder.decode(line)
        except msgspec.DecodeError as error:
            raise EvaluationRefused(f"{place}: {error}") from None


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line that is not blank, and its place for messages."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                place = f"{path}, line {number}"
                try:
                    text = line.decode().rstrip("\r\n")
                except UnicodeDecodeError:
                    raise EvaluationRefused(f"{place}: not UTF-8") from None
                if text.strip():
                    yield place, text
    except OSError as error:
        raise EvaluationRefused(f"{path}: {error.strerror}") from error


def by_id(rows: Iterable[tuple[str, str, T]]) -> dict[str, T]:
    """Return records by their ids, from triples of place, id and record.

    Raises:
        EvaluationRefused: An id stands twice; the message names the place.
    """
    found: dict[str, T] = {}
    for place, record_id, record in rows:
        if record_id in found:
            raise EvaluationRefused(f"{place}: {record_id!r} stands twice")
        found[record_id] = record
    return found


def check_known(what: str, record_id: str, known: Mapping[str, object], place: str) -> None:
    """Raise EvaluationRefused unless there is such a record."""
    if record_id not in known:
        raise EvaluationRefused(f"{place}: there is no {what} {record_id!r}")
