"""Reading a question for both search legs: what to embed, and which keys count how much."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from app.domain.layout import Frequency, repair_layout
from app.domain.text import (
    FUNCTION_KEYS,
    QUESTION_KEYS,
    guess_language,
    normalise,
    phrase_keys,
    search_keys,
)
from app.domain.transliteration import into_cyrillic, into_latin
from app.domain.words import (
    as_cyrillic,
    as_latin,
    in_dictionary,
    is_cyrillic,
    is_latin,
    lower,
    word_keys,
)

Expand = Callable[[str], tuple[str, ...]]
"""Texts that mean the same as terms of a text."""

LONGEST_QUESTION = 8000  # characters; what comes after is not searched for

# An added key must not outweigh the word that it stands for; a whole expansion counts as one word.
_RESPELT_WEIGHT = 0.8
_EXPANSION_WEIGHT = 0.8
_COMMON_KEYS = FUNCTION_KEYS | QUESTION_KEYS
_MOST_RESPELT = 16  # words of a question
_RESPELT_LETTERS = range(3, 25)

_WORD = re.compile(r"[^\W\d_]+")
_RUN = re.compile(r"[^\W\d_]+|\d+")
_QUOTED = re.compile('«([^«»]+)»|“([^“”]+)”|„([^„“”]+)[“”]|"([^"]+)"')


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A question as the legs search for it.

    Attributes:
        text: What the dense leg embeds: the question, in the keyboard layout that was meant.
        weights: What the lexical leg searches for. Each key of the question counts as often as it
            stands there; keys of other spellings and of the glossary count less.
        phrases: Key sequences of the quoted pieces of two or more words.
        language: `ru`, `en`, or None where there is no letter of either.
        repaired: Whether a word had been typed in the wrong keyboard layout.
        respelt: Words that no entry holds and that were replaced by a spelling that some do.
        expansions: What the glossary gave.
    """

    text: str
    weights: dict[str, float]
    phrases: tuple[tuple[str, ...], ...]
    language: str | None
    repaired: bool
    respelt: tuple[str, ...]
    expansions: tuple[str, ...]


def read_query(text: str, frequency: Frequency, expand: Expand | None = None) -> SearchQuery:
    """Read a question. Any text is one; where it says nothing, there are no weights.

    Args:
        text: As it was typed; only the first LONGEST_QUESTION characters are read.
        frequency: In how many entries of the index a key stands. A word that an entry holds is
            never changed.
        expand: Gives the texts that mean the same as terms of the question.
    """
    typed = text[:LONGEST_QUESTION]
    question = repair_layout(typed, frequency)
    weights = {key: float(repeats) for key, repeats in Counter(search_keys(question)).items()}
    respelt = tuple(_respell(question, weights, frequency))
    for key in _joined(question):
        if key not in weights and frequency(key):
            weights[key] = _RESPELT_WEIGHT
    expansions = expand(question) if expand else ()
    for keys in map(search_keys, expansions):
        for key in keys:
            weights[key] = max(weights.get(key, 0.0), _EXPANSION_WEIGHT / len(keys))
    return SearchQuery(
        text=question,
        weights=weights,
        phrases=_phrases(question),
        language=guess_language(question),
        repaired=question != typed,
        respelt=respelt,
        expansions=expansions,
    )


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    quoted = ("".join(match.groups("")) for match in _QUOTED.finditer(text))
    phrases = (tuple(phrase_keys(piece)) for piece in quoted if len(_RUN.findall(piece)) > 1)
    return tuple(phrase for phrase in phrases if phrase)


def _respell(text: str, weights: dict[str, float], frequency: Frequency) -> Iterator[str]:
    """Replace, in the weights, keys that no entry holds by other spellings; yield their words."""
    unknown = (
        word
        for word in dict.fromkeys(_WORD.findall(lower(normalise(text))))
        if len(word) in _RESPELT_LETTERS
        and _COMMON_KEYS.isdisjoint(word_keys(word))
        and not any(map(frequency, word_keys(word)))
    )
    for word in islice(unknown, _MOST_RESPELT):
        keys = _in_latin(word) if is_cyrillic(word) else _in_cyrillic(word)
        found = next((key for key in keys if len(key) >= 3 and frequency(key)), None)
        if found is not None:
            weight = max(weights.pop(key, 1.0) for key in word_keys(word))
            weights[found] = max(weights.get(found, 0.0), _RESPELT_WEIGHT * weight)
            yield word


def _in_cyrillic(word: str) -> Iterator[str]:
    """Yield Russian keys that an unknown Latin word may stand for."""
    look_alike = as_cyrillic(word)
    if not is_latin(look_alike):
        yield from word_keys(look_alike)
    if len(word) > 3:
        for place, spelling in enumerate(into_cyrillic(word)):
            if place == 0 or in_dictionary(spelling):
                yield from word_keys(spelling)


def _in_latin(word: str) -> Iterator[str]:
    """Yield English keys that an unknown Russian word may stand for."""
    is_listed = in_dictionary(word)
    bases = word_keys(word) if is_listed else (word, *word_keys(word))
    for base in dict.fromkeys(bases):
        look_alike = as_latin(base)
        if not is_cyrillic(look_alike):
            yield from word_keys(look_alike)
        if len(base) > 3 or not is_listed:
            yield from into_latin(base)


def _joined(text: str) -> Iterator[str]:
    """Yield «44фз» for «44 ФЗ»: the identifiers that a number and a word beside it may make."""
    for before, after in pairwise(_RUN.findall(lower(normalise(text)))):
        if before.isdecimal() != after.isdecimal():
            yield as_latin(before + after)
