"""Reading text: search keys for BM25, the language, and where sentences begin and end."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache

from app.domain.words import LONGEST_KEY, as_latin, lower, word_keys

# Generations store it: raise it whenever `index_keys` answers differently, be it through this file
# or words.py or through new releases of the two libraries: every lexical index is then built anew.
TEXT_FINGERPRINT = "keys-3:pymorphy3-2.4.417150:snowball-3"

# Keys that say nothing about what a text is about.
FUNCTION_KEYS = frozenset(
    "в и на с к о у не по за из от до для при или что как это быть а но же бы ли то во со "
    "the a an of to in on at for by with and or is are be was were it this that from as not "
    "да нет yes no".split()
)
# Keys of questions that want something which they do not say themselves.
QUESTION_KEYS = frozenset(
    "кто что где когда куда откуда сколько какой каков который как почему зачем чей насколько "
    "who what where when which how whi whose whom".split()
)

_CACHED_TOKENS = 100_000

_BEGINNING, _BEGINNING_WEIGHT = 5, 0.2  # letters
_CUT = "…"

_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\u0300\u0301]")
_MARK = re.compile("[®™©℠]")  # NFKC would glue their letters to the word before
_DASH = re.compile("[\u2010-\u2015\u2212]")

_TOKEN = re.compile(
    r"""(?:№\s*(?=\w)|(?:\#|\b[Nn]o?\.?\s)\s*(?=\d))?           # the sign of a number
    (?: (?=\d)(?: \d{1,3}(?:\ \d{3})+(?:,\d+)?(?![-./]?\w)    # 1 500 000,50
                | \d{1,3}(?:,\d{3})+(?:\.\d+)?(?![-,./]?\w) )  # 1,500,000.50
      | \w+(?: (?: [-/@+&'’]                                   # words, codes, dates, addresses
                 | (?<![а-яёА-ЯЁ])\.                           # but «п.3.2» is two things
                 | (?<=\d)[,:](?=\d) )\w+ )*
        (?:\+\+|\#(?!\w))?                                    # C++, C#
    )""",
    re.VERBOSE,
)
_NUMBERED = re.compile(r"(?:№|\#|[Nn]o?\.?\s)\s*")
_GROUPED = re.compile(r"\d{1,3}(?:\ \d{3}|,\d{3})+(?:[.,]\d+)?")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_LONG_NUMBER = re.compile(r"\d(?:[ ()-]{0,3}\d){8,19}(?![\w./-]?\d)")  # of a phone, an account
_DATE = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4}|\d{2})")
_DOTTED = re.compile(r"\d+(?:\.\d+)+")
_IDENTIFIER = re.compile(r"[\d_@+#]|[a-z]\.[a-z]")
_PARTS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[-./:,]\d+)*")
_HUMP = re.compile(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])|(?<=[A-Z])(?=[A-Z][a-z]{3})")
_JOINT = re.compile(r"(?<=\d)[-_](?=[^\W\d_])|(?<=[^\W\d_])[-_](?=\d)")
_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_MONTHS = {
    name: month
    for names in (
        "янв фев мар апр мая июн июл авг сен окт ноя дек",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for month, name in enumerate(names.split(), start=1)
}


def normalise(text: str) -> str:
    """Return the text as tokens are cut from it: NFKC but for №, plain dashes, no stress marks."""
    visible = _DASH.sub("-", _MARK.sub(" ", _INVISIBLE.sub("", text)))
    return "№".join(unicodedata.normalize("NFKC", part) for part in visible.split("№"))


def search_keys(text: str) -> list[str]:
    """Return the key stream of a text or a question, in order and with repetitions.

    Russian words become lemmas, English ones stems; numbers, dates and identifiers stay whole and
    come in parts as well («44-ФЗ» is `44фз`, `44`, `фз`). Nothing is a stop word: a list of 45 lost
    1 to 2 points of recall@1 on b24docs_ru and handbook_sourcegraph_en, and IT and ПО are words.
    """
    plain = normalise(text)
    tokens = _TOKEN.findall(plain)
    keys: list[str] = []
    for place, token in enumerate(tokens):
        keys += _token_keys(token)
        if len(token) == 4 and token.isdecimal():
            keys += _spelt_date(tokens[max(0, place - 2) : place], token)
    for match in _LONG_NUMBER.finditer(plain):
        keys += _long_number(match[0])
    return keys


def phrase_keys(text: str) -> list[str]:
    """Return the keys of a text's tokens alone, one after the other, to look for phrases in.

    `search_keys` adds dates and long numbers that are spelt over several tokens.
    """
    return [key for token in _TOKEN.findall(normalise(text)) for key in _token_keys(token)]


def index_keys(text: str) -> list[str]:
    """Return the keys under which the lexical index holds a text: its own, and how they begin."""
    keys = search_keys(text)
    return keys + [key[:_BEGINNING] + _CUT for key in keys if _has_beginning(key)]


def with_beginnings(weights: Mapping[str, float]) -> dict[str, float]:
    """Add, at a fifth of its weight, how each key of a question begins.

    «отпускать» and «отпускной» have lemmas of their own and begin like «отпуск». On xquad_ru,
    danetqa_ru and the hard variants of b24docs_ru and handbook_sourcegraph_en this gained 0.006 to
    0.017 nDCG@10 of the lexical leg and 0.004 to 0.007 of hybrid search (up to 400 questions each,
    tried by hand).
    """
    both = dict(weights)
    for key, weight in weights.items():
        if _has_beginning(key):
            cut = key[:_BEGINNING] + _CUT
            both[cut] = max(both.get(cut, 0.0), _BEGINNING_WEIGHT * weight)
    return both


def _has_beginning(key: str) -> bool:
    return len(key) >= _BEGINNING and key.isalpha()


@lru_cache(_CACHED_TOKENS)
def _token_keys(token: str) -> tuple[str, ...]:
    if token.isalpha():
        return (*word_keys(token), *_hump_keys(token))
    sign = _NUMBERED.match(token)
    keys = tuple(_compound_keys(token[sign.end() :] if sign else token))
    numbered = sign and keys and re.search(r"\d", keys[0])
    return (f"№{keys[0]}", *keys) if numbered else keys


def _hump_keys(word: str) -> Iterator[str]:
    """Yield the keys of the words inside getUserName."""
    if not (word.istitle() or word.islower() or word.isupper()):
        humps = _HUMP.split(word)
        if len(humps) > 1:
            for hump in humps:
                yield from word_keys(hump)


def _compound_keys(token: str) -> Iterator[str]:
    """Yield the keys of what is more than letters: the whole first, then its parts."""
    if _GROUPED.fullmatch(token) or _DECIMAL.fullmatch(token):
        yield re.sub(r" |,(?=\d{3}\b)", "", token).replace(",", ".")[:LONGEST_KEY]
        return
    token_lower = lower(token)
    parts = _PARTS.findall(token)
    if _IDENTIFIER.search(token_lower) and parts != [token]:
        yield as_latin(_JOINT.sub("", token_lower))[:LONGEST_KEY]
    for part in parts:
        if part[0].isdecimal():
            yield from _number_keys(part)
        else:
            yield from word_keys(part)
            yield from _hump_keys(part)


def _number_keys(number: str) -> Iterator[str]:
    """Yield the date that it is, or 34.11-2012 and its 34.11; then each of its numbers."""
    numbers = re.findall(r"\d+", number)
    if len(numbers) > 1:
        dates = []
        if found := _DATE.fullmatch(number):
            dates = list(_date_keys(*map(int, found.groups())))
            yield from dates
        if not dates or len(numbers[-1]) < 4:  # 10.12.24 may be a version too
            yield number[:LONGEST_KEY]
            yield from _beginnings(number)
    for single in numbers:
        yield single[:LONGEST_KEY]


def _beginnings(number: str) -> Iterator[str]:
    """Yield 2.13 for 2.13.0, 34.11 for 34.11-2012."""
    if dotted := _DOTTED.match(number):
        levels = dotted[0].split(".")
        for depth in range(2, len(levels) + (dotted[0] != number)):
            yield ".".join(levels[:depth])[:LONGEST_KEY]


def _spelt_date(before: list[str], year: str) -> Iterator[str]:
    """Yield the key of «15 сентября 2026» and of September 15th, 2026."""
    for day, month in (before, before[::-1]) if len(before) == 2 else ():
        number = _MONTHS.get(lower(month)[:3])
        if number and (found := _DAY.fullmatch(day)):
            yield from _date_keys(int(found[1]), number, int(year))


def _date_keys(day: int, month: int, year: int) -> Iterator[str]:
    if month > 12:  # the American order
        day, month = month, day
    if day <= 31 and month <= 12:
        yield f"{year if year > 99 else 2000 + year}-{month:02}-{day:02}"


def _long_number(spelling: str) -> Iterator[str]:
    """Yield one key for +7 (495) 123-45-67 and 84951234567, for 40702 810 4 and 407028104."""
    digits = re.sub(r"\D", "", spelling)
    if len(digits) == 11 and digits[0] in "78":
        yield digits[1:]
    elif digits != spelling and not _GROUPED.fullmatch(spelling):
        yield digits


_SAMPLE_CHARS = 20_000


def guess_language(text: str) -> str | None:
    """Return `ru`, `en`, or None where the text holds neither alphabet.

    Russian texts are full of Latin names, English ones hold hardly a Cyrillic letter: so a share of
    30 % makes it Russian. Of a long text its beginning, middle and end are looked at.
    """
    if len(text) > 3 * _SAMPLE_CHARS:
        middle = len(text) // 2
        parts = (text[:_SAMPLE_CHARS], text[middle : middle + _SAMPLE_CHARS], text[-_SAMPLE_CHARS:])
        text = "".join(parts)
    cyrillic = len(re.findall("[а-яёА-ЯЁ]", text))
    latin = len(re.findall("[a-zA-Z]", text))
    if not cyrillic + latin:
        return None
    return "ru" if cyrillic >= 0.3 * (cyrillic + latin) else "en"


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_ABBREVIATIONS = _words(  # never the last word of a sentence
    "абз акад бул вкл гл гр гос доц зам им инж исп кв кол корп напр обл пер пл подп пом пп пр прил",
    "просп проф разд рис см ср ст стр табл тел тов ул утв уч чл эл",
    "approx cf ch dept dr e.g eq esp est fig figs gen i.e messrs mr mrs ms pp prof rev sec sr st",
    "u.k u.s viz vol vs",
)
_BEFORE_NUMBER = _words("no nos nr art p n")  # abbreviations only there
_MAY_END = _words(  # the last word if a capital follows
    "г гг в вв руб коп тыс млн млрд мин сек час др проч т.д т.п т.е т.к т.н т.ч н.э",
    "etc inc ltd co corp jr al a.m p.m",
)
_STOP = re.compile(r"[.!?…]+[\"'»”’)\]]*(?:\s?\[\d+\])*(?!\S)")
_LAST_WORD = re.compile(r"(?:[^\W\d_]\.\s?)*[^\W_]+$")
_FOLLOWER = re.compile(r"[\s\"'«“‘(\[—–-]*(.?)")
_INITIAL = re.compile(r"(?:^|[\W\d_])[^\W\d_]$")
_LONGEST_ROW = 2000  # characters of a table row
_LINE_END = re.compile(
    r"""^[^\S\n]*[\#|].*\n  # a heading or a table row ends
      | \n(?=[^\S\n]*(?:\n|[\#|]|[-*•–—]\s|\d{1,3}[.)]\s|[^\W\d_]\)\s))  # it or a list item begins
    """,
    re.MULTILINE | re.VERBOSE,
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return `(start, end)` of each sentence, in order, without the white space around it.

    A blank line, a list item, a heading and a table row end a sentence too; numbers are never cut.
    """
    spans = []
    start = 0
    for end in [*_ends(text), len(text)]:
        piece = text[start:end]
        if kept := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(kept)))
        start = end
    return spans


def _ends(text: str) -> list[int]:
    """Return the offsets after which a sentence is over, ascending."""
    lines = [match.end() for match in _LINE_END.finditer(text)]
    stops = [match.end() for match in _STOP.finditer(text) if _is_end(text, match)]
    return sorted({*lines, *stops})


def _is_end(text: str, stop: re.Match[str]) -> bool:
    """Whether the full stop (or the like) ends a sentence."""
    follower = _FOLLOWER.match(text, stop.end())
    after = follower[1] if follower else ""
    before = text[max(0, stop.start() - _LONGEST_ROW) : stop.start()]
    line = before.rpartition("\n")[2].strip()
    if after.islower() or line.startswith("|"):
        return False
    if stop[0][0] != "." or stop[0].startswith(".."):
        return True
    if line.isdigit() and len(line) <= 3:  # the number of a list item
        return False
    found = _LAST_WORD.search(before[-40:])
    if not found:
        return True
    word = re.sub(r"\s", "", found[0]).lower()
    if word in _MAY_END:
        # «в 2020 г. Москва» may end there, «г. Москва» does not.
        return after.isupper() and (word not in {"г", "в"} or before[:-1].rstrip()[-1:].isdigit())
    if word in _BEFORE_NUMBER:
        return not after.isdigit()
    return word not in _ABBREVIATIONS and not _INITIAL.search(before)
