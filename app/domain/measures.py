"""The words for numbers, multiples, units, months and weekdays, in Russian and English."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from app.domain.words import word_keys

_Value = TypeVar("_Value")
_EITHER = re.compile(r"(\d{1,3})[,.](\d{3})")  # thousands to some, a decimal fraction to others
_ROMAN = re.compile(r"(?=[IVXL]{2,}$)(X{0,3}(?:XL|L)?X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_ONES = {"I": 1, "V": 5, "X": 10, "L": 50}


@dataclass(frozen=True, slots=True)
class Unit:
    """A dimension in which quantities compare, and how many of its base units this one has."""

    dimension: str
    factor: Decimal = Decimal(1)


def _keyed(*lines: str) -> dict[str, str]:
    """Map the keys of each line's words, after the first one, to that first one."""
    return {
        key: line.split()[0]
        for line in lines
        for word in line.split()[1:]
        for key in (word, *word_keys(word))
    }


def _valued(words: str) -> dict[str, Decimal]:
    """Read `value:word,word` pairs."""
    return {
        key: Decimal(value)
        for pair in words.split()
        for value, _, spellings in [pair.partition(":")]
        for word in spellings.split(",")
        for key in (word, *word_keys(word))
    }


# Cardinals, ordinals and collectives.
NUMBER_WORDS = _valued(
    "0:ноль,нуль,нулевой,zero 1:один,первый,one,first 2:два,две,второй,второе,двое,two,second,"
    "twice 3:три,третий,третье,трое,three,third,thrice 4:четыре,четвертый,четверо,four,fourth "
    "5:пять,пятый,пятеро,five,fifth 6:шесть,шестой,шестеро,six,sixth "
    "7:семь,седьмой,семеро,seven,seventh 8:восемь,восьмой,eight,eighth "
    "9:девять,девятый,nine,ninth 10:десять,десятый,ten,tenth 11:одиннадцать,одиннадцатый,eleven,"
    "eleventh 12:двенадцать,двенадцатый,twelve,twelfth,dozen 13:тринадцать,тринадцатый,thirteen,"
    "thirteenth 14:четырнадцать,четырнадцатый,fourteen,fourteenth 15:пятнадцать,пятнадцатый,"
    "fifteen,fifteenth 16:шестнадцать,шестнадцатый,sixteen,sixteenth 17:семнадцать,семнадцатый,"
    "seventeen,seventeenth 18:восемнадцать,восемнадцатый,eighteen,eighteenth 19:девятнадцать,"
    "девятнадцатый,nineteen,nineteenth 20:двадцать,двадцатый,twenty,twentieth "
    "30:тридцать,тридцатый,thirty,thirtieth 40:сорок,сороковой,forty,fortieth "
    "50:пятьдесят,пятидесятый,fifty,fiftieth 60:шестьдесят,шестидесятый,sixty,sixtieth "
    "70:семьдесят,семидесятый,seventy,seventieth 80:восемьдесят,восьмидесятый,eighty,eightieth "
    "90:девяносто,девяностый,ninety,ninetieth 100:сто,сотый 200:двести,двухсотый "
    "300:триста,трехсотый 400:четыреста 500:пятьсот,пятисотый 600:шестьсот 700:семьсот "
    "800:восемьсот 900:девятьсот 1.5:полтора,полторы"
)
MULTIPLES = _valued(
    "100:hundred 1000:тысяча,тысячный,тыс,thousand,k 1000000:миллион,миллионный,млн,million,mln,mn "
    "1000000000:миллиард,млрд,billion,bn 1000000000000:триллион,трлн,trillion"
)
# Words that are numbers only at times: «один из них», “for one”, “a second”.
SOFT_NUMBERS = frozenset(
    ("один", "первый", "второй", "one", "first", "second", *word_keys("one"), *word_keys("second"))
)
PREFIXES = {
    "одно": 1, "двух": 2, "трех": 3, "четырех": 4, "пяти": 5, "шести": 6, "семи": 7, "восьми": 8,
    "девяти": 9, "десяти": 10, "двенадцати": 12, "четырнадцати": 14, "пятнадцати": 15,
    "двадцати": 20, "тридцати": 30, "полутора": 1.5, "полу": 0.5, "пол": 0.5,
}  # fmt: skip

_UNITS = {
    "s": "1:секунда,сек,second,sec 60:минута,мин,minute,min 3600:час,ч,hour,hr,h,часовой "
    "86400:день,сутки,дн,day,дневный,суточный 604800:неделя,нед,week,недельный",
    "month": "1:месяц,мес,month,месячный 3:квартал,quarter 12:год,year,yr,летний,летие,годичный",
    "rub": "1:рубль,руб,₽,р,rub,rur,ruble,rouble 0.01:копейка,коп",
    "usd": "1:доллар,$,usd,dollar 0.01:cent",
    "eur": "1:евро,€,eur,euro",
    "gbp": "1:£,gbp",
    "cny": "1:юань,¥,cny,yuan",
    "kzt": "1:тенге,₸,kzt,tenge",
    "percent": "1:процент,%,percent,pct,процентный",
    "g": "0.001:мг,mg 1:грамм,гр,gram,g 1000:кг,килограмм,kg,kilogram,kilo "
    "1000000:тонна,т,tonne,ton",
    "m": "0.001:мм,миллиметр,mm 0.01:см,сантиметр,cm 1:м,метр,metre,meter 1000:км,километр,km,"
    "kilometre,kilometer",
    "mile": "1:миля,mile,mi",
    "foot": "1:фут,foot,feet,ft",
    "m2": "1:м2,m2,кв 10000:га,гектар,hectare,ha",
    "l": "0.001:мл,миллилитр,ml 1:л,литр,l,litre,liter",
    "byte": "1:байт,byte 1e3:кб,kb,килобайт,kilobyte 1e6:мб,mb,мегабайт,megabyte "
    "1e9:гб,gb,гигабайт,gigabyte 1e12:тб,tb,терабайт,terabyte",
    "degree": "1:градус,°,degree",
    "w": "1:вт,ватт,watt 1e3:квт,киловатт,kw,kilowatt 1e6:мвт,мегаватт,mw,megawatt",
}
UNITS = {
    key: Unit(dimension, factor)
    for dimension, words in _UNITS.items()
    for key, factor in _valued(words).items()
}
CURRENCY_SIGNS = frozenset("$€£₽¥₸")

MONTHS = {
    key: int(month)
    for key, month in _keyed(
        "1 январь янв january jan", "2 февраль фев февр february feb", "3 март мар march mar",
        "4 апрель апр april apr", "5 май мая may", "6 июнь июн june jun", "7 июль июл july jul",
        "8 август авг august aug", "9 сентябрь сен сент september sep sept",
        "10 октябрь окт october oct", "11 ноябрь ноя november nov", "12 декабрь дек december dec",
    ).items()
}  # fmt: skip
WEEKDAYS = {
    key: int(day)
    for key, day in _keyed(
        "1 понедельник monday", "2 вторник tuesday", "3 среда wednesday", "4 четверг thursday",
        "5 пятница friday", "6 суббота saturday", "7 воскресенье sunday",
    ).items()
}  # fmt: skip


def number_word(word: str) -> Decimal | None:
    """The value of a lower-case numeral in any of its forms."""
    found = NUMBER_WORDS.get(word)
    return found if found is not None else _looked_up(NUMBER_WORDS, word)


def multiple(word: str) -> Decimal | None:
    """The value of `thousand`, «млн» and the like."""
    return _looked_up(MULTIPLES, word)


def unit(word: str) -> Unit | None:
    """The unit that a lower-case word or sign names."""
    return _looked_up(UNITS, word)


def month(word: str) -> int | None:
    """The month's number."""
    return _looked_up(MONTHS, word)


def weekday(word: str) -> int | None:
    """The day of the week, Monday being 1."""
    return _looked_up(WEEKDAYS, word)


def prefixed(word: str) -> tuple[Decimal, Unit] | None:
    """Read «трёхдневный», «двухнедельного», «полгода» and the like."""
    for prefix, value in PREFIXES.items():
        rest = word.removeprefix(prefix)
        if rest != word and len(rest) >= 3 and (found := unit(rest)):
            return Decimal(str(value)), found
    return None


def digits(spelling: str) -> frozenset[Decimal]:
    """The readings of a number in digits: two of «1,500»."""
    if either := _EITHER.fullmatch(spelling):
        return frozenset((Decimal(either[1] + either[2]), Decimal(f"{either[1]}.{either[2]}")))
    if re.fullmatch(r"\d{1,3}(?:([,.])\d{3}){2,}(?:[.,]\d+)?", spelling):
        separator = re.search(r"[,.]", spelling)
        assert separator
        spelling = spelling.replace(separator[0], "")
    grouped = re.sub(r" |,(?=\d{3}(?:\.|$))", "", spelling)
    return frozenset((Decimal(grouped.replace(",", ".")),))


def looks_like_year(spelling: str, word: str) -> bool:
    """Whether a number before «год», “year” is a year itself and no count of years."""
    return bool(re.match(r"(?:1\d|2[01])\d\d(?!\d)", spelling)) and word != "лет"


def extends(group: Decimal, value: Decimal) -> bool:
    """Whether a numeral may follow: twenty eight, but not eight twenty."""
    if value == 0 or value != int(value):
        return False
    size = 10 ** len(str(int(value)))
    return group % size == 0 and not (10 <= group % 100 < 20)


def is_roman(word: str) -> bool:
    """Whether a word of two or more capitals is a Roman numeral below 90."""
    return _ROMAN.fullmatch(word) is not None


def roman(letters: str) -> int:
    """The value of a Roman numeral."""
    values: Sequence[int] = [_ROMAN_ONES[letter] for letter in letters]
    return sum(
        -value if value < after else value
        for value, after in zip(values, [*values[1:], 0], strict=True)
    )


def _looked_up(table: dict[str, _Value], word: str) -> _Value | None:
    if word in table:
        return table[word]
    keys = word_keys(word) if word.isalpha() else ()
    return table.get(keys[0]) if len(keys) == 1 else None
