"""The names in a text: people, places, organisations, products, abbreviations."""

import re
from dataclasses import dataclass
from functools import lru_cache

from app.domain.measures import is_roman, month, weekday
from app.domain.text import FUNCTION_KEYS, normalise
from app.domain.words import in_dictionary, is_cyrillic, lower, proper_name, word_keys

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_OPENING = re.compile(r"(?:^|[.!?…:;]|\n|\|)[\s\"'«“‘(\[*•–—-]*(?:\d+[.)]\s*)?$")
_RUSSIAN_ENDINGS = re.compile(
    "(?:ого|его|ому|ему|ыми|ими|ами|ями|ой|ей|ый|ий|ом|ем|ым|им|ам|ям|ах|ях|ых|их|ую|юю|ая|яя|ою|ею"
    "|ов|ев|а|я|у|ю|е|о|ы|и|ь|й)$"
)
_NO_NAMES = FUNCTION_KEYS | frozenset(
    "well here now today however also yes yeah while when if since because although using then "
    "i i'm i've mr mrs ms dr he she they we you his her their our your its these those there "
    "если когда он она они мы вы г ул им".split()
)


@dataclass(frozen=True, slots=True)
class Name:
    """A word of a name and the keys that its other forms share with it."""

    text: str
    keys: frozenset[str]


def read_names(text: str) -> list[Name]:
    """Read the capitalised words that do not just start a sentence.

    The first word of one counts where it is an abbreviation, the dictionary knows it as a name, or
    another capitalised word follows.
    """
    plain = normalise(text)
    found = list(_WORD.finditer(plain))
    names = []
    for place, match in enumerate(found):
        word = match[0]
        if not word[0].isupper() or len(word) < 2 or lower(word) in _NO_NAMES or is_roman(word):
            continue
        if (
            plain[match.end() : match.end() + 1].isdigit()
            or plain[match.start() - 1 : match.start()].isdigit()
        ):
            continue  # a part of a code
        short = lower(word)
        if month(short) or weekday(short):
            continue
        if _OPENING.search(plain[max(0, match.start() - 12) : match.start()]):
            after = found[place + 1] if place + 1 < len(found) else None
            is_unknown = is_cyrillic(short) and "-" not in short and not in_dictionary(short)
            is_pair = (
                after is not None
                and after[0][0].isupper()
                and plain[match.end() : after.start()] == " "
                and not after[0].isupper()
                and not set(word_keys(short)) & FUNCTION_KEYS
            )
            if not (_is_abbreviation(word) or proper_name(short) or is_pair or is_unknown):
                continue
        names.append(Name(word, name_keys(word)))
    return names


@lru_cache(50_000)
def name_keys(word: str) -> frozenset[str]:
    """The keys of a word: its lemmas or stem, and for a Russian one what no ending changes."""
    short = lower(word)
    bare = re.sub(r"'s?$", "", short)
    keys = set(word_keys(bare))
    if is_cyrillic(bare):
        stem = _RUSSIAN_ENDINGS.sub("", bare)
        if len(stem) >= 3:
            keys.add(stem + "-")
    return frozenset(keys)


def words_of(text: str) -> frozenset[str]:
    """The name keys of every word of a text."""
    plain = normalise(text)
    return frozenset(key for match in _WORD.finditer(plain) for key in name_keys(match[0]))


def _is_abbreviation(word: str) -> bool:
    return len(word) <= 6 and word.isupper()
