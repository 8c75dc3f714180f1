"""Words written in the other alphabet: Russian ones in Latin letters, English ones in Cyrillic."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

_MOST_CANDIDATES = 32
_MOST_DEVIATIONS = 4

# Each letter group with its transcriptions, the likeliest first. Those into Cyrillic join ISO 9,
# GOST 7.79, ICAO 9303 (passports) and what people type; those into Latin are how English names
# sound to Russian ears.
_INTO_CYRILLIC = {
    "shch": "щ", "sch": "щ ш сч", "sh": "ш щ", "ch": "ч х", "zh": "ж", "kh": "х", "ts": "ц тс",
    "tz": "ц", "ya": "я ья", "ja": "я ья", "ia": "ия я", "yu": "ю ью", "ju": "ю", "iu": "ю",
    "yo": "е ье", "jo": "е", "ye": "е ые ье", "je": "е ье", "ie": "ие ье", "iye": "ие", "iy": "ий",
    "ij": "ий", "yy": "ый", "yj": "ый", "ii": "ии ий", "iya": "ия", "iia": "ия", "ija": "ия",
    "ciya": "ция", "ciia": "ция",
    "a": "а", "b": "б", "c": "ц к с", "d": "д", "e": "е э", "f": "ф", "g": "г", "h": "х г",
    "i": "и й", "j": "й ж дж", "k": "к", "l": "л ль", "m": "м", "n": "н нь", "o": "о", "p": "п",
    "q": "к", "r": "р рь", "s": "с сь", "t": "т ть", "u": "у", "v": "в", "w": "в", "x": "кс х",
    "y": "ы й и", "z": "з", "'": "ь",
}  # fmt: skip
_INTO_LATIN = {
    "дж": "j g dg", "кс": "x xc ks cks", "ай": "i ai y ay", "ей": "a ei ay ey", "ау": "ou au ow",
    "ль": "l ll", "а": "a u", "б": "b bb", "в": "v w", "г": "g", "д": "d dd", "е": "e a",
    "ж": "j g zh", "з": "z s", "и": "i e y ee ea", "й": "y i", "к": "k c ck", "л": "l ll",
    "м": "m mm", "н": "n nn", "о": "o a oa", "п": "p pp", "р": "r rr", "с": "s ce c ss",
    "т": "t th tt", "у": "u oo w", "ф": "f ff ph", "х": "h kh", "ц": "c ts z", "ч": "ch", "ш": "sh",
    "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e a", "ю": "u yu you", "я": "ya ia a",
}  # fmt: skip


def into_cyrillic(word: str) -> Iterator[str]:
    """Yield Russian spellings of a lower-case Latin word, the likeliest first: dogovor, prikaz."""
    yield from _transcriptions(word, _INTO_CYRILLIC)


def into_latin(word: str) -> Iterator[str]:
    """Yield English spellings of a lower-case Russian word, the likeliest first: эксель, скрам.

    They are rough stems as well: a final -s, -e or -y is cut as Porter's stemmer cuts it.
    """
    for spelling in _transcriptions(word, _INTO_LATIN):
        yield spelling
        rough = re.sub(r"(?<=[^aeiou])y$", "i", re.sub(r"(?<!s)s$", "", spelling).removesuffix("e"))
        if rough != spelling:
            yield rough


def _transcriptions(word: str, table: dict[str, str]) -> Iterator[str]:
    longest = max(map(len, table))
    choices: list[list[str]] = []
    place = 0
    while place < len(word):
        sizes = range(min(longest, len(word) - place), 0, -1)
        group = next(
            (word[place : place + n] for n in sizes if word[place : place + n] in table), ""
        )
        choices.append(table[group].split(" ") if group else [word[place]])
        place += len(group) or 1
    by_likelihood = (
        spelling
        for deviations in range(_MOST_DEVIATIONS + 1)
        for spelling in _spellings(choices, deviations)
    )
    return islice(by_likelihood, _MOST_CANDIDATES)


def _spellings(choices: Sequence[Sequence[str]], deviations: int) -> Iterator[str]:
    """Yield the combinations whose choices deviate so much in all from the likeliest ones."""
    if not choices:
        if deviations == 0:
            yield ""
        return
    *before, last = choices
    for distance, choice in enumerate(last[: deviations + 1]):
        for start in _spellings(before, deviations - distance):
            yield start + choice
