"""The quantities of a text, and which of a claim's its evidence does not hold."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from app.domain.measures import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """A quantity: its value as written, and in base units where it has a unit.

    `values` has two readings where the spelling allows them («1,500»). `is_soft` marks a numeral
    that is often no number («один из них», “the first”). `counted` is the key of the word after it.
    """

    text: str
    values: frozenset[Decimal]
    unit: Unit | None = None
    is_soft: bool = False
    counted: str = ""

    @property
    def measured(self) -> frozenset[Decimal]:
        """The values in the base unit of the dimension."""
        factor = self.unit.factor if self.unit else Decimal(1)
        return frozenset(value * factor for value in self.values)


@dataclass(frozen=True, slots=True)
class Date:
    """A date or a part of one; what is not said is None. `swapped` is the American reading."""

    text: str
    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class Identifier:
    """A code, phone, address or version: its letters and digits without separators."""

    text: str
    key: str


@dataclass(slots=True)
class Quantities:
    """All of them in a text."""

    numbers: list[Number] = field(default_factory=list)
    dates: list[Date] = field(default_factory=list)
    identifiers: list[Identifier] = field(default_factory=list)
    scales: set[Decimal] = field(default_factory=set)
    pairs: set[str] = field(default_factory=set)

    @classmethod
    def joined(cls, parts: Iterable["Quantities"]) -> "Quantities":
        """Those of several texts."""
        whole = cls()
        for part in parts:
            whole.numbers += part.numbers
            whole.dates += part.dates
            whole.identifiers += part.identifiers
            whole.scales |= part.scales
            whole.pairs |= part.pairs
        return whole


def missing_quantities(
    claim: Quantities, evidence: Quantities
) -> Iterator[Number | Date | Identifier]:
    """Yield what a claim states and the evidence does not hold."""
    matches = [
        [o for o in evidence.numbers if _agree(number, o, evidence)] for number in claim.numbers
    ]
    matched = [other for found in matches for other in found]
    has_others = any(not (other.is_soft or other in matched) for other in evidence.numbers)
    softly = any(other.is_soft for other in evidence.numbers)
    things = {other.counted for other in evidence.numbers if other.counted}
    for number, agreeing in zip(claim.numbers, matches, strict=True):
        if not agreeing:
            is_held = _is_known_year(number, evidence) or (number.is_soft and not softly)
        else:
            said = sum(1 for other in claim.numbers if other.values == number.values)
            is_overused = has_others and said > len(agreeing) and not number.is_soft
            counts_others = number.counted in things and not any(
                other.counted in (number.counted, "") for other in agreeing
            )
            is_held = not (is_overused or counts_others)
        if not is_held:
            yield number
    for date in claim.dates:
        if not any(_holds_date(evidence, reading) for reading in _readings(date)):
            yield date
    held = {identifier.key for identifier in evidence.identifiers} | evidence.pairs
    for identifier in claim.identifiers:
        if identifier.key not in held:
            yield identifier


def _agree(number: Number, other: Number, evidence: Quantities) -> bool:
    """Whether a number of the evidence is that of the claim."""
    if number.unit and other.unit:
        same = number.unit.dimension == other.unit.dimension
        return same and not number.measured.isdisjoint(other.measured)
    if number.values & other.values:
        return True
    return not other.unit and any(  # a cell below a header in thousands
        number.values & {value * scale for value in other.values} for scale in evidence.scales
    )


def _is_known_year(number: Number, evidence: Quantities) -> bool:
    return number.unit is None and any(date.year in number.values for date in evidence.dates)


def _readings(date: Date) -> list[Date]:
    if date.swapped:
        return [date, replace(date, month=date.day, day=date.month)]
    return [date]


def _holds_date(evidence: Quantities, date: Date) -> bool:
    others = [reading for other in evidence.dates for reading in _readings(other)]
    years = {other.year for other in others} | {
        int(value)
        for number in evidence.numbers
        if not number.unit
        for value in number.values
        if 1000 <= value < 2200
    }
    return any(
        date.month in (None, other.month)
        and date.day in (None, other.day)
        and date.weekday in (None, other.weekday)
        and (date.year in (None, other.year) or (other.year is None and date.year in years))
        for other in others
    )
