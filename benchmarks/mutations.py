"""One digit, date, name or negation of a sentence altered, so that it is no longer true."""

import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from app.domain.text import guess_language

_RUSSIAN_MONTHS = (
    "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split()
)
_ENGLISH_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_YEAR = re.compile(r"(?<![\w.,-])(1\d{3}|20\d\d)(?![\w%])(?!,\d)")
_NUMERIC_DATE = re.compile(r"\b(\d\d)\.(\d\d)\.(\d{4})\b")
_NAME = re.compile(r"(?<=[а-яёa-z,] )(?:[А-ЯЁ][а-яё]{2,}|[A-Z][a-z]{2,})\b")
_AUXILIARY = re.compile(
    r"\b(?:is|are|was|were|can|will|would|must|should|may)\b(?! not|n't|not)(?=[ ]\w)"
)
_DENIED = re.compile(r"\b(is|are|was|were|can|will|would|must|should|may|do|does|did)( not|n't)\b")
_RUSSIAN_DENIAL = re.compile(r"\b[Нн]е (?!только|лишь|менее|более|столько)(?=[а-яё])")
_NO_NAMES = frozenset((*_ENGLISH_MONTHS, "The", "This", "That", "These", "Monday", "Friday"))
_VERBS = frozenset(("VERB", "PRTS", "ADJS"))

Mutation = Callable[[str, random.Random, Sequence[str]], str | None]
"""Alters a sentence, given names of other texts; None where it has nothing of the kind."""


def alter_digit(sentence: str, chance: random.Random, _names: Sequence[str]) -> str | None:
    """Put another digit in the place of one."""
    places = [match.start() for match in re.finditer(r"\d", sentence)]
    if not places:
        return None
    place = chance.choice(places)
    digit = chance.choice([digit for digit in "0123456789" if digit != sentence[place]])
    return sentence[:place] + digit + sentence[place + 1 :]


def alter_date(sentence: str, chance: random.Random, _names: Sequence[str]) -> str | None:
    """Name another month or year."""
    altered = []
    for months in (_RUSSIAN_MONTHS, _ENGLISH_MONTHS):
        for match in re.finditer(rf"\b(?:{'|'.join(months)})\b(?= \d|,|\.)", sentence):
            month = chance.choice([month for month in months if month != match[0]])
            altered.append(sentence[: match.start()] + month + sentence[match.end() :])
    for match in _YEAR.finditer(sentence):
        year = str(int(match[0]) + chance.choice((-20, -3, -1, 1, 2, 10)))
        altered.append(sentence[: match.start()] + year + sentence[match.end() :])
    for match in _NUMERIC_DATE.finditer(sentence):
        date = f"{match[1]}.{int(match[2]) % 12 + 1:02}.{match[3]}"
        altered.append(sentence[: match.start()] + date + sentence[match.end() :])
    return chance.choice(altered) if altered else None


def names_in(sentence: str) -> list[str]:
    """Capitalised words in mid-sentence."""
    return [name for name in _NAME.findall(sentence) if name not in _NO_NAMES]


def alter_name(sentence: str, chance: random.Random, names: Sequence[str]) -> str | None:
    """Put a name of another text in the place of one."""
    found = [match for match in _NAME.finditer(sentence) if match[0] not in _NO_NAMES]
    if not found:
        return None
    match = chance.choice(found)
    others = [n for n in names if guess_language(n) == guess_language(match[0])]
    strange = [n for n in others if n[:4].lower() not in sentence.lower()]
    if not strange:
        return None
    return sentence[: match.start()] + chance.choice(strange) + sentence[match.end() :]


def alter_negation(sentence: str, chance: random.Random, _names: Sequence[str]) -> str | None:
    """Take a negation out, or put one in where there is none."""
    if guess_language(sentence) == "ru":
        if match := _RUSSIAN_DENIAL.search(sentence):
            return sentence[: match.start()] + sentence[match.end() :]
        verbs = [m.start() for m in re.finditer(r"(?<!\S)[а-яё]{4,}\b", sentence) if _is_verb(m[0])]
        if not verbs:
            return None
        place = chance.choice(verbs)
        return f"{sentence[:place]}не {sentence[place:]}"
    if match := _DENIED.search(sentence):
        return sentence[: match.start(2)] + sentence[match.end(2) :]
    places = [match.end() for match in _AUXILIARY.finditer(sentence)]
    if not places:
        return None
    place = chance.choice(places)
    return f"{sentence[:place]} not{sentence[place:]}"


MUTATIONS: dict[str, Mutation] = {
    "digit": alter_digit,
    "date": alter_date,
    "name": alter_name,
    "negation": alter_negation,
}


def _is_verb(word: str) -> bool:
    return _morphology().parse(word)[0].tag.POS in _VERBS


@lru_cache(1)
def _morphology() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
