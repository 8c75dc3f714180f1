"""Text in images: what Tesseract sees becomes lines on a page, within the parser's time."""

import resource
from collections.abc import Iterator
from statistics import mean, median
from time import process_time

from ingestion.parsers import pulse
from ingestion.parsers.lines import Cell, Line
from ingestion.parsers.tesseract import (
    OutOfTime,
    Picture,
    Word,
    quarters_to_turn,
    recognise,
    scaled,
    turned,
)

_TIME_SHARE = 0.7
_UNLIMITED_S = 600.0
_LEAST_S = 1.0
_SMALL_SIDE = 2500
_WANTED_SIDE = 3000
_MOST_ENLARGED = 3.0
_UNSURE = 65.0
_FEW_WORDS = 5
_CELL_GAP = 1.5
_LARGE = 1.4
_MARGIN_SHARE = 0.1


def time_left_s() -> float:
    """Return how many seconds recognition may still take.

    It ends well before the CPU limit of this process, so that what has been read is kept; on a busy
    machine the clock counts too.
    """
    limit = resource.getrlimit(resource.RLIMIT_CPU)[0]
    if limit == resource.RLIM_INFINITY:
        return _UNLIMITED_S
    return min(_TIME_SHARE * limit - process_time(), limit - pulse.elapsed_s())


def read_lines(picture: Picture, points_per_pixel: float, body_size: float) -> list[Line]:
    """Return the lines of a picture; it is closed.

    Args:
        picture: A page or an image; one that lies on its side is turned.
        points_per_pixel: What the lines' distances are multiplied by.
        body_size: The type size that the usual line is given; larger lines are headings.

    Raises:
        OcrUnavailable: There is nothing to read it with.
        OutOfTime: The parser's time does not suffice.
    """
    longest = max(picture.width, picture.height)
    if longest < _SMALL_SIDE:
        factor = min(_MOST_ENLARGED, _WANTED_SIDE / longest)
        picture, points_per_pixel = scaled(picture, factor), points_per_pixel / factor
    try:
        lines = _recognise(picture)
        if _is_unsure(lines):
            quarters = quarters_to_turn(picture)
            picture = turned(picture, quarters)
            again = _recognise(picture) if quarters else []
            lines = again if _sureness(again) > _sureness(lines) else lines
        return _place(lines, picture, points_per_pixel, body_size)
    finally:
        picture.close()


def _recognise(picture: Picture) -> list[list[Word]]:
    left_s = time_left_s()
    if left_s < _LEAST_S:
        raise OutOfTime
    return recognise(picture, left_s)


def _sureness(lines: list[list[Word]]) -> float:
    return mean([word.confidence for line in lines for word in line] or [0.0])


def _is_unsure(lines: list[list[Word]]) -> bool:
    return sum(map(len, lines)) < _FEW_WORDS or _sureness(lines) < _UNSURE


def _place(
    lines: list[list[Word]], picture: Picture, points: float, body_size: float
) -> list[Line]:
    heights = [_height(line) for line in lines]
    usual = median(heights) if heights else 1.0
    placed = []
    for line, height in zip(lines, heights, strict=True):
        ratio = height / usual if height > _LARGE * usual else 1.0
        top = min(word.top for word in line)
        bottom = max(word.bottom for word in line)
        cells = tuple(_cells(line, usual, points))
        placed.append(
            Line(
                "\t".join(cell.text for cell in cells),
                body_size * round(ratio * 2) / 2,
                False,
                line[0].left * points,
                line[-1].right * points,
                (picture.height - bottom) * points,
                (picture.height - top) * points,
                top > picture.height * (1 - _MARGIN_SHARE)
                or bottom < picture.height * _MARGIN_SHARE,
                cells if len(cells) > 1 else (),
            )
        )
    return placed


def _height(line: list[Word]) -> float:
    return float(median(word.bottom - word.top for word in line))


def _cells(line: list[Word], height: float, points: float) -> Iterator[Cell]:
    """Join words; a gap that is wide enough to part two cells begins a new one."""
    held = [line[0]]
    for word in line[1:]:
        if word.left - held[-1].right > _CELL_GAP * height:
            yield _cell(held, points)
            held = []
        held.append(word)
    yield _cell(held, points)


def _cell(words: list[Word], points: float) -> Cell:
    text = " ".join(word.text for word in words)
    return Cell(words[0].left * points, words[-1].right * points, text)
