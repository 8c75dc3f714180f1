"""The numbers that Word shows before paragraphs; the file holds only rules to count them by."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_CYRILLIC = "абвгдежзиклмнопрстуфхцчшщэюя"  # Word leaves out ё, й, ъ, ы, ь
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_ROMAN = dict(
    zip(
        ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"),
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        strict=True,
    )
)


@dataclass(frozen=True)
class _Level:
    """How one level of a list is counted and shown."""

    form: str
    text: str
    start: int


@dataclass
class Numbering:
    """Counts list paragraphs in document order."""

    _levels: dict[str, dict[int, _Level]] = field(default_factory=dict)
    _shared: dict[str, str] = field(default_factory=dict)
    _restarts: dict[str, dict[int, int]] = field(default_factory=dict)
    _counts: dict[str, dict[int, int]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, root: "etree._Element | None") -> "Numbering":
        """Read `word/numbering.xml`; without it nothing is numbered."""
        numbering = cls()
        if root is None:
            return numbering
        abstract = {
            node.get(f"{W}abstractNumId", ""): dict(_levels(node))
            for node in root.iter(f"{W}abstractNum")
        }
        for node in root.iter(f"{W}num"):
            number = node.get(f"{W}numId", "")
            reference = _value(node, "abstractNumId") or ""
            numbering._shared[number] = reference
            numbering._levels[number] = dict(abstract.get(reference, {}))
            for override in node.iter(f"{W}lvlOverride"):
                start = _integer(_value(override, "startOverride"))
                if start is not None:
                    level = _integer(override.get(f"{W}ilvl")) or 0
                    numbering._restarts.setdefault(number, {})[level] = start
                numbering._levels[number] |= dict(_levels(override))
        return numbering

    def label(self, number: str, level: int) -> str | None:
        """Count a paragraph; return its label, "•" for a bullet, None if it shows none."""
        levels = self._levels.get(number)
        if not levels or level not in levels:
            return None
        counts = self._counts.setdefault(self._shared[number], {})
        if number not in self._seen:
            self._seen.add(number)
            for restarted, start in self._restarts.get(number, {}).items():
                counts[restarted] = start - 1
        rule = levels[level]
        counts[level] = counts.get(level, rule.start - 1) + 1
        for deeper in [other for other in counts if other > level]:
            del counts[deeper]
        if rule.form == "none":
            return None
        if rule.form == "bullet":
            return "•"
        text = rule.text
        for other in range(level + 1):
            if f"%{other + 1}" in text and other in levels:
                value = counts.get(other, levels[other].start)
                text = text.replace(f"%{other + 1}", show_number(value, levels[other].form))
        return text.strip() or None


def _levels(node: "etree._Element") -> Iterator[tuple[int, _Level]]:
    for level in node.iter(f"{W}lvl"):
        start = _integer(_value(level, "start"))
        yield (
            _integer(level.get(f"{W}ilvl")) or 0,
            _Level(
                _value(level, "numFmt") or "decimal",
                _value(level, "lvlText") or "",
                1 if start is None else start,
            ),
        )


def _value(node: "etree._Element", name: str) -> str | None:
    child = node.find(f"{W}{name}")
    return None if child is None else child.get(f"{W}val")


def _integer(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def show_number(value: int, form: str) -> str:
    """Write a number as Word does (ECMA-376, 17.18.59)."""
    if not 0 < value < 10_000:
        return str(value)
    match form:
        case "lowerLetter" | "upperLetter":
            shown = _letters(value, _LATIN)
        case "russianLower" | "russianUpper":
            shown = _letters(value, _CYRILLIC)
        case "lowerRoman" | "upperRoman":
            shown = _roman(value)
        case "decimalZero":
            shown = f"{value:02}"
        case _:
            shown = str(value)
    return shown.upper() if form.startswith("upper") or form.endswith("Upper") else shown


def _letters(value: int, alphabet: str) -> str:
    rounds, place = divmod(value - 1, len(alphabet))
    return alphabet[place] * (rounds + 1)


def _roman(value: int) -> str:
    shown = ""
    for sign, worth in _ROMAN.items():
        times, value = divmod(value, worth)
        shown += sign * times
    return shown
