"""Reading the numbers, sums, dates, times and identifiers of a text, however they are written."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.measures import (
    CURRENCY_SIGNS,
    SOFT_NUMBERS,
    Unit,
    digits,
    extends,
    is_roman,
    looks_like_year,
    month,
    multiple,
    number_word,
    prefixed,
    roman,
    unit,
    weekday,
)
from app.domain.quantities import Date, Identifier, Number, Quantities
from app.domain.text import FUNCTION_KEYS, normalise
from app.domain.words import as_latin, lower, word_keys

_TOKEN = re.compile(
    r"""(?<![\w.,])(?: \d{1,3}(?:\ \d{3})+(?:[.,]\d+)?(?![-./]?\w)  # 1 500 000,50
                     | \d{1,3}(?:,\d{3})+(?:\.\d+)?(?![-,./]?\w) )  # 1,500,000.50
      | \w+(?: (?: [-/@+&_'’] | (?<![а-яёА-ЯЁ])\. | (?<=\d)[,:](?=\d) )\w+ )*
      | [%$€£₽¥₸°№§]
    """,
    re.VERBOSE,
)
_PLAIN = re.compile(r"\d+(?:[.,]\d+)?|\d{1,3}(?:[ ,.]\d{3})+(?:[.,]\d+)?")
_SPAN = re.compile(r"(\d+(?:[.,]\d+)?)-(\d+(?:[.,]\d+)?)")
_SUFFIXED = re.compile(r"(\d+(?:[.,]\d+)?)-?([^\W\d_]+)")
_ENDINGS = frozenset("й я е го му м ом х ми ти ая ый ой ых им тью ю st nd rd th s".split())
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_DAY_FIRST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})")
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_CLOCKS = re.compile(rf"({_CLOCK.pattern})-({_CLOCK.pattern})")
_LONG = re.compile(r"(?<![\w.])\+?\d(?:[ ()-]{0,3}\d){8,19}(?![\w./-]?\d)")
_LIST_NUMBER = re.compile(r"^\s*\d{1,3}[.)](?=\s)", re.MULTILINE)
_CODE = re.compile(r"\d|[@_]|[^\W\d_]{3,}\.[a-z]{2,}")
_GROUPED = re.compile(r"\d{1,3}(?: \d{3})+")
_SECTION = frozenset("п пп ст гл разд §  № пункт статья раздел версия section version v".split())
_JOINING = frozenset("до по и или to and or through".split())
_MONTH_AFTER = frozenset("in of by since until till from to before after through mid".split())
_AFTERNOON, _MORNING = frozenset(("pm", "p.m")), frozenset(("am", "a.m"))
_LAWS = frozenset(("фз", "фкз"))
_HOUR = Unit("s", Decimal(3600))


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    word: str
    gap: str  # what stands before it


def read_quantities(text: str) -> Quantities:
    """Read a text; a number inside a date or an identifier is not listed again."""
    return _Reader(normalise(text)).read()


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, text: str) -> None:
        self.found = Quantities()
        text = _LIST_NUMBER.sub(" ", text)
        text = _LONG.sub(self._take_long, text)
        self.tokens: list[_Token] = []
        end = 0
        for match in _TOKEN.finditer(text):
            gap = text[end : match.start()]
            self.tokens.append(_Token(match[0], lower(match[0]), gap))
            end = match.end()

    def read(self) -> Quantities:
        """Read all tokens."""
        self._pair_up()
        at = 0
        while at < len(self.tokens):
            at = self._read_at(at)
        return self.found

    def _take_long(self, match: re.Match[str]) -> str:
        """Take phones and account numbers out."""
        spelling = match[0]
        if _GROUPED.fullmatch(spelling) or _ISO.match(spelling):
            return spelling
        if re.search(r"\b\d{4}-\d{4}\b|\d{4} \d{4} ", spelling) and len(spelling) < 12:
            return spelling  # years
        digits = re.sub(r"\D", "", spelling)
        key = digits[1:] if len(digits) == 11 and digits[0] in "78" else digits
        self.found.identifiers.append(Identifier(spelling, key))
        return " , "

    def _pair_up(self) -> None:
        """Let «44 ФЗ» stand for «44-ФЗ»."""
        for one, two in zip(self.tokens, self.tokens[1:], strict=False):
            if re.search(r"\d", one.text + two.text) and not two.gap.strip(" -"):
                self.found.pairs.add(_identifier_key(one.word + two.word))

    def _read_at(self, at: int) -> int:
        """Read what begins at a token; return where to go on."""
        token = self.tokens[at]
        for read in (self._date, self._clock, self._spans, self._number):
            after = read(at)
            if after:
                return after
        if token.word.isalpha():
            self._lone_word(at)
        elif _CODE.search(token.word):
            self.found.identifiers.append(Identifier(token.text, _identifier_key(token.word)))
        return at + 1

    def _lone_word(self, at: int) -> None:
        token = self.tokens[at]
        if scale := multiple(token.word):
            self.found.scales.add(scale)
        elif measured := prefixed(token.word):
            self.found.numbers.append(Number(token.text, frozenset((measured[0],)), measured[1]))
        elif (day := weekday(token.word)) and (token.word[:4] != "сред" or token.word == "среду"):
            self.found.dates.append(Date(token.text, weekday=day))
        elif found := month(token.word):
            before = self.tokens[at - 1].word if at else ""
            is_clear = token.word not in ("may", "march") and len(token.word) > 3
            if (
                is_clear
                or token.word == "мая"
                or (token.text[0].isupper() and before in _MONTH_AFTER)
            ):
                self.found.dates.append(Date(token.text, month=found))
        elif is_roman(token.text):
            value = frozenset((Decimal(roman(token.text)),))
            self.found.numbers.append(Number(token.text, value))

    def _date(self, at: int) -> int:
        """A date in digits, or with the month's name."""
        token = self.tokens[at]
        if found := _ISO.fullmatch(token.text):
            year, middle, day = map(int, found.groups())
            return self._add_date(at + 1, Date(token.text, year, middle, day))
        if found := _DAY_FIRST.fullmatch(token.text):
            day, middle, year = int(found[1]), int(found[3]), int(found[4])
            if middle > 12:
                day, middle = middle, day
            year = year if year > 99 else 2000 + year
            swapped = found[2] == "/" and day <= 12
            if token.text.count(".") == 2 and len(found[4]) == 2:  # a version too
                self.found.identifiers.append(Identifier(token.text, _identifier_key(token.word)))
            return self._add_date(at + 1, Date(token.text, year, middle, day, swapped=swapped))
        if self._month(at) and at + 1 < len(self.tokens):  # March 5, 2024; март 2024
            named = self._month(at)
            if day := self._day(at + 1, after_month=True):
                year_at, years = at + 2, self._year(at + 2)
                return self._add_date(year_at + bool(years), Date(token.text, years, named, day))
            if years := self._year(at + 1):
                return self._add_date(at + 2, Date(token.text, years, named))
            return 0
        return self._day_then_month(at)

    def _day_then_month(self, at: int) -> int:
        """«5 марта 2024», “the 5th of March”, «с 5 по 10 марта», «5-10 марта», «пятое марта»."""
        days = self._days(at)
        if not days:
            return 0
        after = at + 1
        if len(days) == 1 and self._word(after) in _JOINING and (more := self._days(after + 1)):
            days += more
            after += 2
        if self._word(after) == "of":
            after += 1
        named = self._month(after)
        if not named:
            return 0
        years = self._year(after + 1)
        text = " ".join(token.text for token in self.tokens[at : after + 1 + bool(years)])
        for day in days:
            self.found.dates.append(Date(text, years, named, day))
        return after + 1 + bool(years)

    def _days(self, at: int) -> list[int]:
        if at >= len(self.tokens):
            return []
        token = self.tokens[at]
        if found := _SPAN.fullmatch(token.text):
            pair = [int(part) if part.isdecimal() else 0 for part in found.groups()]
            return pair if all(1 <= day <= 31 for day in pair) else []
        day = self._day(at)
        return [day] if day else []

    def _day(self, at: int, after_month: bool = False) -> int:
        if at >= len(self.tokens) or (after_month and self.tokens[at].gap.strip(" .")):
            return 0
        token = self.tokens[at]
        suffixed = _SUFFIXED.fullmatch(token.word)
        spelt = suffixed[1] if suffixed and suffixed[2] in _ENDINGS else token.word
        if spelt.isdecimal():
            day = int(spelt) if len(spelt) <= 2 else 0
        else:
            day = int(number_word(spelt) or 0) if spelt.isalpha() else 0
        return day if day <= 31 else 0

    def _month(self, at: int) -> int | None:
        return month(self._word(at)) if self._word(at).isalpha() else None

    def _year(self, at: int) -> int | None:
        word = self._word(at)
        plain = word.isdecimal() and len(word) == 4 and self.tokens[at].gap in (" ", ", ", ". ", "")
        return int(word) if plain else None

    def _add_date(self, after: int, date: Date) -> int:
        if (date.month or 1) > 12 or (date.day or 1) > 31:
            return 0
        self.found.dates.append(date)
        return after

    def _clock(self, at: int) -> int:
        """10:30, 9 a.m., 9:00-18:00."""
        token = self.tokens[at]
        if found := _CLOCKS.fullmatch(token.text):
            self._add_clock(token.text, int(found[2]), int(found[3]))
            self._add_clock(token.text, int(found[5]), int(found[6]))
            return at + 1
        clock = _CLOCK.fullmatch(token.text)
        half = self._word(at + 1)
        glued = re.fullmatch(r"(1?\d)(am|pm)", token.word)
        if glued:
            half, hours, minutes = glued[2], int(glued[1]), 0
        elif clock:
            hours, minutes = int(clock[1]), int(clock[2])
        elif token.word.isdecimal() and half in _AFTERNOON | _MORNING and int(token.word) <= 12:
            hours, minutes = int(token.word), 0
        else:
            return 0
        has_half = half in _AFTERNOON | _MORNING
        if has_half:
            hours = hours % 12 + (12 if half in _AFTERNOON else 0)
        self._add_clock(token.text, hours, minutes)
        return at + 1 + (has_half and not glued)

    def _add_clock(self, text: str, hours: int, minutes: int) -> None:
        value = Decimal(hours) + Decimal(minutes) / 60
        self.found.numbers.append(Number(text, frozenset((value,)), _HOUR))

    def _spans(self, at: int) -> int:
        """10-15 дней."""
        token = self.tokens[at]
        found = _SPAN.fullmatch(token.text)
        if not found or Decimal(found[1].replace(",", ".")) >= Decimal(found[2].replace(",", ".")):
            return 0
        self.found.identifiers.append(Identifier(token.text, _identifier_key(token.word)))
        first, second = (digits(part) for part in found.groups())
        scale, after = self._scale(at + 1)
        measured, after = self._unit(after)
        self.found.identifiers.pop()
        self.found.numbers += [
            Number(token.text, first | {v * scale for v in first}, measured),
            Number(token.text, frozenset(v * scale for v in second), measured),
        ]
        return after

    def _number(self, at: int) -> int:
        """A number in digits or words, its multiple and its unit."""
        token = self.tokens[at]
        soft, values, measured, after = False, frozenset[Decimal](), None, at + 1
        if _PLAIN.fullmatch(token.text):
            if self._is_section(at):
                return 0
            if self._word(at + 1) in _LAWS and not self.tokens[at + 1].gap.strip():
                key = _identifier_key(token.word + self._word(at + 1))
                self.found.identifiers.append(Identifier(token.text, key))
                return at + 2
            values = digits(token.text)
            negative = at and token.gap.endswith("-") and not token.gap[:-1].strip(" (")
            if negative and token.gap[:-1]:
                values = frozenset(-value for value in values)
        elif found := _SUFFIXED.fullmatch(token.word.removeprefix("mid-").replace("'", "")):
            values, suffix = digits(found[1]), found[2]
            if suffix in _ENDINGS:
                pass
            elif scale := multiple(suffix):
                values = frozenset(value * scale for value in values)
            elif measured := unit(suffix):
                pass
            else:
                return 0
        else:
            value, after = self._worded(at)
            if value is None:
                return 0
            values = frozenset((value,))
            only = self.tokens[at].word
            soft = after == at + 1 and not {only, *word_keys(only)}.isdisjoint(SOFT_NUMBERS)
        scale, after = self._scale(after)
        if scale != 1:
            values = frozenset(value * scale for value in values)
        if measured is None:
            measured, after = self._unit(after)
        before = self.tokens[at - 1].word if at else ""
        if before in CURRENCY_SIGNS:
            measured = unit(before)
        if (
            measured
            and measured.dimension == "month"
            and looks_like_year(token.word, self._word(after - 1))
        ):
            measured = None
        text = " ".join(t.text for t in self.tokens[at:after])
        is_soft = soft and not measured
        number = Number(text, values, measured, is_soft, self._counted(after, measured))
        self._share_unit(at, number)
        self.found.numbers.append(number)
        return after

    def _counted(self, after: int, measured: Unit | None) -> str:
        """The key of the word that stands after a number, or after a list of numbers."""
        if measured:
            return ""
        word = self._word(after)
        if word in _JOINING and self._word(after + 1)[:1].isdigit():
            return ""
        keys = word_keys(word) if word.isalpha() and not self.tokens[after].gap.strip() else ()
        return keys[0] if keys and keys[0] not in FUNCTION_KEYS else ""

    def _share_unit(self, at: int, number: Number) -> None:
        """Give «от 10 до 15 дней» its days at both ends."""
        joined = at >= 2 and (self.tokens[at - 1].word in _JOINING)
        if not (number.unit and self.found.numbers and (joined or self.tokens[at].gap == " - ")):
            return
        last = self.found.numbers[-1]
        neighbour = self.tokens[at - 2 if joined else at - 1].text
        if last.unit is None and last.text == neighbour:
            self.found.numbers[-1] = replace(last, unit=number.unit, is_soft=False)

    def _is_section(self, at: int) -> bool:
        """Whether a dotted number is one of a section or version: 3.10 is not 3.1 there."""
        before = self.tokens[at - 1].word if at else ""
        return "." in self.tokens[at].text and before in _SECTION

    def _worded(self, at: int) -> tuple[Decimal | None, int]:
        """A number in words: twenty-eight, «сто двадцать пять тысяч»."""
        total, group, after, seen = Decimal(0), Decimal(0), at, False
        while after < len(self.tokens):
            token = self.tokens[after]
            if seen and (token.gap.strip(" -") or "\n" in token.gap):
                break
            if seen and token.word == "and" and self._word_value(after + 1) is not None and group:
                if group % 100:
                    break
                after += 1
                continue
            value = self._word_value(after)
            scale = multiple(token.word) if token.word.isalpha() else None
            if value is not None and (not group or extends(group, value)):
                group += value
            elif scale and seen:
                if scale == 100:
                    group *= scale
                else:
                    total, group = total + group * scale, Decimal(0)
            else:
                break
            seen = True
            after += 1
        return (total + group, after) if seen else (None, at)

    def _word_value(self, at: int) -> Decimal | None:
        word = self._word(at)
        if word.isalpha():
            return number_word(word)
        parts = [number_word(part) if part.isalpha() else None for part in word.split("-")]
        first, second = (*parts, None)[:2] if len(parts) > 1 else (None, None)
        if first is None or first == 1:
            return None
        return first + second if second is not None and extends(first, second) else first

    def _scale(self, at: int) -> tuple[Decimal, int]:
        word = self._word(at)
        if word.isalpha() and not self.tokens[at].gap.strip() and (found := multiple(word)):
            self.found.scales.discard(found)
            return found, at + 1
        return Decimal(1), at

    def _unit(self, at: int) -> tuple[Unit | None, int]:
        """The unit that follows, also after one adjective («календарных дней»)."""
        for ahead in (0, 1):
            word = self._word(at + ahead)
            if (
                not word
                or self.tokens[at + ahead].gap.strip(" .-")
                or number_word(word) is not None
            ):
                break
            if "\n" in self.tokens[at + ahead].gap or not (word.isalpha() or len(word) == 1):
                break
            if found := unit(word):
                if ahead and len(word) < 3:
                    break
                return found, at + ahead + 1
            if len(word) < 4:
                break
        return None, at

    def _word(self, at: int) -> str:
        return self.tokens[at].word if 0 <= at < len(self.tokens) else ""


def _identifier_key(word: str) -> str:
    return as_latin(re.sub(r"[-_ №#]", "", word))
