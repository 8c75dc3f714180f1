"""One word: which script it is in, and the key that all of its forms share."""

import re
import unicodedata
from functools import lru_cache
from typing import Any

LONGEST_KEY = 64

_CACHED_WORDS = 100_000

# Letters that look alike in at least one case, so that keyboards and scanners mix them up.
_TO_CYRILLIC = str.maketrans("abcehkmoptxyë", "авсенкмортхуе")
_TO_LATIN = str.maketrans("авсенкмортхуіѕј", "abcehkmoptxyisj")
_LIKE_CYRILLIC, _LIKE_LATIN = (frozenset(map(chr, table)) for table in (_TO_CYRILLIC, _TO_LATIN))

_ONE_LETTER_FOR_TWO = str.maketrans("ёѐѝ’`", "ееи''")
_A_CYRILLIC = re.compile("[а-яђ-џ]")
_A_LATIN = re.compile("[a-zß-ɏ]")
_RUNS = re.compile("[а-яђ-џ]+|[^а-яђ-џ]+")


def lower(word: str) -> str:
    """Return the word in lower case, with е for ё and one kind of apostrophe."""
    return word.lower().translate(_ONE_LETTER_FOR_TWO)


@lru_cache(_CACHED_WORDS)
def word_keys(word: str) -> tuple[str, ...]:
    """Return the keys of a word of letters: one, or one per script where scripts are mixed.

    Russian words become lemmas, English ones stems, other Latin ones lose their accents. A word of
    one or two letters stays as it is: the dictionary takes «т» for «так» and «аб» for a name.
    """
    return tuple(
        _lemma(run) if is_cyrillic(run) else _stem(_plain_latin(run))
        for run in _RUNS.findall(one_script(lower(word)[:LONGEST_KEY]))
    )


def one_script(word: str) -> str:
    """Return a lower-case word with its look-alikes folded into the script of the other letters."""
    latin = set(_A_LATIN.findall(word))
    if not latin or not is_cyrillic(word):
        return word
    if latin <= _LIKE_CYRILLIC:
        return word.translate(_TO_CYRILLIC)
    if _LIKE_LATIN.issuperset(_A_CYRILLIC.findall(word)):
        return word.translate(_TO_LATIN)
    return word


def is_cyrillic(word: str) -> bool:
    """Whether a lower-case word has a Cyrillic letter."""
    return _A_CYRILLIC.search(word) is not None


def is_latin(word: str) -> bool:
    """Whether a lower-case word has a Latin letter."""
    return _A_LATIN.search(word) is not None


def as_latin(text: str) -> str:
    """Return lower-case text with Latin letters for the Cyrillic ones that look like them."""
    return text.translate(_TO_LATIN)


def as_cyrillic(text: str) -> str:
    """Return lower-case text with Cyrillic letters for the Latin ones that look like them."""
    return text.translate(_TO_CYRILLIC)


def in_dictionary(word: str) -> bool:
    """Whether a lower-case word is a form of a Russian word that the dictionary holds."""
    return bool(_morphology().word_is_known(word))


@lru_cache(_CACHED_WORDS)
def proper_name(word: str) -> bool:
    """Whether the dictionary takes a lower-case Russian word for the name of a person or place."""
    if not is_cyrillic(word) or len(word) < 3:
        return False
    tag = _morphology().parse(word)[0].tag
    return any(mark in tag for mark in ("Surn", "Name", "Patr", "Geox", "Orgn"))


def _lemma(word: str) -> str:
    if len(word) <= 2:
        return word
    lemma: str = _morphology().parse(word)[0].normal_form
    return lemma.translate(_ONE_LETTER_FOR_TWO)[:LONGEST_KEY]


def _stem(word: str) -> str:
    """Return the Snowball English stem (Porter 2)."""
    import snowballstemmer

    if not word.isascii():
        return word
    # A stemmer holds the word that it works on; a new one is thread-safe and costs 0.5 µs.
    return str(snowballstemmer.stemmer("english").stemWord(word))


def _plain_latin(word: str) -> str:
    """Return the word without the accents on its Latin letters."""
    if word.isascii() or not _A_LATIN.search(word):
        return word
    letters = unicodedata.normalize("NFD", word)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)) or word


@lru_cache(1)
def _morphology() -> Any:
    """Load the Russian dictionary: 0.3 s and 15 MB, so on first need."""
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
