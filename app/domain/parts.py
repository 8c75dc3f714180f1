"""The parts of a question that asks for several things at once."""

import re

from app.domain.follow_ups import topic_keys

MOST_PARTS = 4
_FEWEST_KEYS = 2
_SEAM = re.compile(
    r"\s*[;:?!]\s+|\s*,\s+(?:(?:and|but|or|while|whereas|и|а|но|или|тогда как|в то время как)\s+)?"
    r"|\s+(?:and|but|or|while|whereas|compared (?:to|with)|и|а|но|или|тогда как|по сравнению с)\s+",
    re.IGNORECASE,
)


def question_parts(question: str) -> list[str]:
    """Split a question at its commas and conjunctions; nothing where it asks for one thing.

    A part has at least two topic keys; what has fewer belongs to its neighbour. Where there would
    be more than MOST_PARTS, the shortest neighbours stay together.
    """
    seams = [match.span() for match in _SEAM.finditer(question)]
    starts = [0, *(end for _, end in seams)]
    ends = [*(start for start, _ in seams), len(question)]
    parts: list[tuple[int, int]] = []
    for start, end in zip(starts, ends, strict=True):
        if parts and min(_keys(question, parts[-1]), _keys(question, (start, end))) < _FEWEST_KEYS:
            parts[-1] = parts[-1][0], end
        else:
            parts.append((start, end))
    while len(parts) > MOST_PARTS:
        shortest = min(range(1, len(parts)), key=lambda n: parts[n][1] - parts[n - 1][0])
        parts[shortest - 1 : shortest + 1] = [(parts[shortest - 1][0], parts[shortest][1])]
    return [question[start:end].strip(" ?!.") for start, end in parts] if len(parts) > 1 else []


def _keys(question: str, span: tuple[int, int]) -> int:
    return len(set(topic_keys(question[slice(*span)])))
