"""Text typed in the wrong keyboard layout: «ljujdjh» for договор, «ызщтпу» for sponge."""

import re
from collections.abc import Callable, Iterator

from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys
from app.domain.words import in_dictionary, is_cyrillic, is_latin, lower, word_keys

Frequency = Callable[[str], int]
"""Whether an entry of the index holds a key, or how many do: above 0, the key is known."""

# The same keys, unshifted and shifted, on an American and a Russian keyboard.
LATIN_LAYOUT = "`qwertyuiop[]asdfghjkl;'zxcvbnm,./~QWERTYUIOP{}ASDFGHJKL:\"ZXCVBNM<>?@#$^&|"
RUSSIAN_LAYOUT = 'ёйцукенгшщзхъфывапролджэячсмитьбю.ЁЙЦУКЕНГШЩЗХЪФЫВАПРОЛДЖЭЯЧСМИТЬБЮ,"№;:?/'
_TO_RUSSIAN = str.maketrans(LATIN_LAYOUT, RUSSIAN_LAYOUT)
_TO_LATIN = str.maketrans(RUSSIAN_LAYOUT, LATIN_LAYOUT)

_PIECE = re.compile(r"\S+|\s+")
_WORD = re.compile(r"[^\W\d_]+")
_IDENTIFIER = re.compile(r"\d[^\W\d_]|[^\W\d_]\d")
_INNER_MARK = re.compile(r"[^\W\d_][\[\]{};:'\"<>`~][^\W\d_]")
_EDGE = ".,?!:;\"'()[]<>{}&/"
_COMMON_KEYS = FUNCTION_KEYS | QUESTION_KEYS
_TELLING = 3  # letters; shorter words are as good in one layout as in the other
_SURE = 5  # letters; «entity» (утешен) and «inert» (штуке) are the rare accidents


def repair_layout(text: str, frequency: Frequency) -> str:
    """Return the text with the words retyped that only make sense in the other keyboard layout.

    A word is right when the index or the dictionary holds it, wrong when they hold what the same
    keys type in the other layout. A long wrong word that the index holds is retyped by itself; all
    others only where the wrong letters outnumber the right ones, for a short word can be both
    («her», «рук»).

    Args:
        text: As it was typed.
        frequency: What the index holds.
    """
    if all(map(frequency, search_keys(text))):
        return text
    pieces: list[str] = _PIECE.findall(text)
    lowered = [lower(piece) for piece in pieces]
    for script, other in ((is_latin, is_cyrillic), (is_cyrillic, is_latin)):
        places = [n for n, piece in enumerate(lowered) if script(piece) and not other(piece)]
        beside = sum(len(piece) for piece in lowered if other(piece))
        repaired = _repair([pieces[n] for n in places], script is is_latin, beside, frequency)
        for place, piece in zip(places, repaired, strict=True):
            pieces[place] = piece
    return "".join(pieces)


def _repair(pieces: list[str], latin: bool, beside: int, frequency: Frequency) -> list[str]:
    """Repair words that are all of one script; `beside` letters of the question are not."""
    wrong: dict[int, str] = {}
    unclear: list[int] = []
    balance = float(-beside)  # letters of the wrong words less those of the others
    for place, piece in enumerate(pieces):
        letters = sum(map(len, _WORD.findall(piece)))
        if letters < _TELLING and piece.isalpha():
            unclear.append(place)
        elif _is_right(piece, latin, frequency):
            balance -= letters
        elif sense := _sense(piece, latin, frequency):
            balance += letters
            wrong[place] = sense
        else:
            balance -= letters / 2
            unclear.append(place)
    if balance > 0:
        wrong |= {place: _follow(pieces[place], latin, place == 0, frequency) for place in unclear}
    else:
        wrong = {place: sense for place, sense in wrong.items() if _is_sure(sense, frequency)}
    return [wrong.get(place, piece) for place, piece in enumerate(pieces)]


def _follow(piece: str, latin: bool, first: bool, frequency: Frequency) -> str:
    """Return what an unclear word among wrong ones is.

    A Latin one that nobody knows may be a name, a Cyrillic one among English words is none.
    """
    candidates = list(_retyped(piece, latin))
    if not latin or (len(piece) < _TELLING and (first or piece.islower())):
        return candidates[0]
    for candidate in candidates:
        if all(frequency(key) for key in search_keys(candidate)):
            return candidate
    return candidates[0] if _INNER_MARK.search(piece) else piece


def _retyped(piece: str, latin: bool) -> Iterator[str]:
    """Yield what the same keys type in the other layout.

    Seven Russian letters share their keys with punctuation: «ghbrfp,» may end in the letter б or in
    a comma, and comes first with the letter.
    """
    table = _TO_RUSSIAN if latin else _TO_LATIN
    yield piece.translate(table)
    core = piece.rstrip(_EDGE)
    end = piece[len(core) :]
    yield core.translate(table) + end
    bare = core.lstrip(_EDGE)
    yield core[: len(core) - len(bare)] + bare.translate(table) + end


def _is_right(piece: str, latin: bool, frequency: Frequency) -> bool:
    keys = [key for key in search_keys(piece) if len(key) >= _TELLING and not key.isdecimal()]
    if any(key in _COMMON_KEYS or frequency(key) for key in keys):
        return True
    if latin or next(_retyped(piece, latin)).lower() in _COMMON_KEYS:  # «еру» is a form of «ер»
        return False
    return any(in_dictionary(word) for word in _WORD.findall(lower(piece)))


def _sense(piece: str, latin: bool, frequency: Frequency) -> str | None:
    """Return what the piece was meant to be, if that makes sense."""
    for candidate in _retyped(piece, latin):
        words = _WORD.findall(lower(candidate))
        identifiers = [key for key in search_keys(candidate) if _IDENTIFIER.search(key)]
        if any(map(frequency, identifiers)):
            return candidate
        if max(map(len, words), default=0) >= _TELLING and all(
            in_dictionary(word) if latin else _is_known(word, frequency) for word in words
        ):
            return candidate
    return None


def _is_sure(candidate: str, frequency: Frequency) -> bool:
    words = _WORD.findall(candidate)
    return max(map(len, words), default=0) >= _SURE and all(
        _is_known(word, frequency) for word in words
    )


def _is_known(word: str, frequency: Frequency) -> bool:
    return any(key in _COMMON_KEYS or frequency(key) for key in word_keys(word))
