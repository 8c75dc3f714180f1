"""Reading text: search keys for BM25, the language, and where sentences begin and end."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# Generations store it: raise it whenever `search_keys` answers differently, be it through this file
# or through new releases of the two libraries, and every lexical index is built anew.
TEXT_FINGERPRINT = "keys-1:pymorphy3-2.4.417150:snowball-3"

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

_CACHED_WORDS = 100_000
_LONGEST_KEY = 64

_DROPPED = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff\u0300\u0301"))
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2212"), "-")
_PLAIN = {**_DROPPED, **_HYPHENS, **str.maketrans("ёѐѝ’", "ееи'")}

# Letters that look alike in at least one case, so that keyboards and scanners mix them up.
_LATIN, _CYRILLIC = "abcehkmoptxy", "авсенкмортху"
_TO_CYRILLIC = str.maketrans(_LATIN, _CYRILLIC)
_TO_LATIN = str.maketrans(_CYRILLIC, _LATIN)

_TOKEN = re.compile(
    r"""(?P<numero>№\s*(?=\w))?
    (?P<token>
        \d{1,3}(?:[\ \u00a0\u202f]\d{3})+(?:,\d+)?(?![-./]?\w)   # 1 500 000,50
      | \d{1,3}(?:,\d{3})+(?:\.\d+)?(?![-,./]?\w)            # 1,500,000.50
      | \w+(?:(?:[-–./@+&']|(?<=\d)[,:](?=\d))\w+)*          # words, codes, dates, addresses
    )""",
    re.VERBOSE,
)
_GROUPED = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3}|,\d{3})+(?:[.,]\d+)?")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_DAY_FIRST = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})")
_IDENTIFIER = re.compile(r"[\d_@]|[a-z]\.[a-z]")
_PARTS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+")
_RUNS = re.compile(r"[а-я]+|[^а-я]+")
_INNER_HYPHEN = re.compile(r"(?<=\d)[-–](?=[^\W\d_])|(?<=[^\W\d_])[-–](?=\d)")


def normalise(text: str) -> str:
    """Return the text as keys see it: NFC, lower case, ё as е, without stress marks."""
    return unicodedata.normalize("NFC", text).lower().translate(_PLAIN)


def search_keys(text: str) -> list[str]:
    """Return the key stream of a text or a question, in order and with repetitions.

    Russian words become lemmas, English ones stems; numbers, dates and identifiers stay whole and
    come in parts as well («44-ФЗ» is `44фз`, `44`, `фз`). Nothing is a stop word: a list of 45 lost
    1 to 2 points of recall@1 on b24docs_ru and handbook_sourcegraph_en, and IT and ПО are words.
    """
    keys: list[str] = []
    for match in _TOKEN.finditer(normalise(text)):
        token = match["token"]
        if token.isalpha():
            keys += _word_keys(token)
        else:
            keys += _compound_keys(token, bool(match["numero"]))
    return keys


def _compound_keys(token: str, numbered: bool) -> Iterator[str]:
    """Yield the keys of what is more than letters; `numbered` says that a № stood before it."""
    if _GROUPED.fullmatch(token) or _DECIMAL.fullmatch(token):
        number = re.sub(r"[ \u00a0\u202f]|,(?=\d{3}\b)", "", token).replace(",", ".")
        yield number
        if numbered:
            yield f"№{number}"
        return
    parts = _PARTS.findall(token)
    if _IDENTIFIER.search(token):
        whole = _identifier(token)
        if numbered:
            yield f"№{whole}"
        if parts != [whole]:
            yield whole
    for part in parts:
        if part.isdigit():
            yield part[:_LONGEST_KEY]
        else:
            yield from _word_keys(part)


def _identifier(token: str) -> str:
    """Return one spelling for «44-ФЗ» and «44ФЗ», for 15.09.2026 and 2026-09-15."""
    if date := _DAY_FIRST.fullmatch(token):
        day, month, year = date.groups()
        return f"{year}-{month:0>2}-{day:0>2}"
    return _INNER_HYPHEN.sub("", token).translate(_TO_LATIN)[:_LONGEST_KEY]


@lru_cache(_CACHED_WORDS)
def _word_keys(word: str) -> tuple[str, ...]:
    """Return the keys of a lower-case word: one, or one per script where scripts are mixed."""
    word = word[:_LONGEST_KEY]
    cyrillic = set(re.findall("[а-я]", word))
    latin = set(re.findall("[a-z]", word))
    if cyrillic and latin:
        if latin.issubset(_LATIN):
            word = word.translate(_TO_CYRILLIC)
        elif cyrillic.issubset(_CYRILLIC):
            word = word.translate(_TO_LATIN)
        else:
            return tuple(key for run in _RUNS.findall(word) for key in _word_keys(run))
    if re.search("[а-я]", word):
        lemma: str = _morphology().parse(word)[0].normal_form
        return (normalise(lemma),)
    return (_stem(word),) if word.isascii() else (word,)


@lru_cache(1)
def _morphology() -> Any:
    """Load the Russian dictionary: 0.3 s and 15 MB, so on first need."""
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


def _stem(word: str) -> str:
    """Return the Snowball English stem (Porter 2)."""
    import snowballstemmer

    # A stemmer holds the word that it works on; a new one is thread-safe and costs 0.5 µs.
    return str(snowballstemmer.stemmer("english").stemWord(word))


def guess_language(text: str) -> str | None:
    """Return `ru`, `en`, or None where the text holds neither alphabet.

    Russian texts are full of Latin names, English ones hold hardly a Cyrillic letter: so a share of
    30 % makes it Russian.
    """
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
