"""Whether the text layer of a page says what the page shows.

Fonts without a map to Unicode give replacement characters, private ones, `(cid:17)`, letters of a
wrong alphabet, or a cipher: letters that are letters, but not those of any language.
"""

import re
from collections import Counter

_BROKEN = re.compile(r"\(cid:\d+\)|[\ufffd\ue000-\uf8ff\x00-\x08\x0e-\x1f\x80-\x9f]")
_SYMBOL_BULLET = re.compile(r"(?m)^\s*[\uf000-\uf0ff](?=\s|$)")
_PUNCTUATED = re.compile(r"[^\W\d_]_*[\[\]\\^`][\[\]\\^_`]*[^\W\d_]")
_MIXED = re.compile(r"[a-z][а-яё]|[а-яё][a-z]", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{3,}")
_ODD_LETTERS = re.compile("[\xaa-\xff\u0100-\u036f\u1d00-\u1dff]")
_LEAST_CHARS = 16
_LEAST_WORDS = 6
_LEAST_LETTERS = 100
_BROKEN_SHARE = 0.1
_PUNCTUATED_SHARE = 0.1
_MIXED_SHARE = 0.3
_ODD_SHARE = 0.4
# Shares of letters: Russian after Lyashevskaya and Sharoff (2009), English after Norvig (2012).
_RUSSIAN = dict(
    zip(
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
        [
            0.110, 0.085, 0.080, 0.074, 0.067, 0.063, 0.055, 0.047, 0.045, 0.044, 0.035, 0.032,
            0.030, 0.028, 0.026, 0.020, 0.019, 0.017, 0.017, 0.016, 0.016, 0.014, 0.012, 0.010,
            0.009, 0.007, 0.006, 0.005, 0.004, 0.003, 0.003, 0.0004, 0.0004,
        ],
        strict=True,
    )
)  # fmt: skip
_ENGLISH = dict(
    zip(
        "etaoinsrhldcumfpgwybvkxjqz",
        [
            0.125, 0.093, 0.080, 0.076, 0.076, 0.072, 0.065, 0.063, 0.051, 0.041, 0.038, 0.033,
            0.027, 0.025, 0.024, 0.021, 0.019, 0.017, 0.017, 0.015, 0.011, 0.005, 0.002, 0.002,
            0.001, 0.001,
        ],
        strict=True,
    )
)  # fmt: skip
# The mean share of a text's letters is 0.056 in Russian and 0.066 in English; that of a cipher is
# near one by the number of letters, 0.031 and 0.038.
_LEAST_LIKENESS = ((_RUSSIAN, 0.043), (_ENGLISH, 0.050))


def is_garbage(text: str) -> bool:
    """Whether a text of more than a few words cannot be what its page shows."""
    text = _SYMBOL_BULLET.sub("", text)
    visible = len("".join(text.split()))
    if visible < _LEAST_CHARS:
        return False
    if sum(map(len, _BROKEN.findall(text))) > _BROKEN_SHARE * visible:
        return True
    words = _WORD.findall(text)
    odd = sum(bool(_PUNCTUATED.search(word)) for word in text.split())
    if odd > max(1, _PUNCTUATED_SHARE * len(text.split())):
        return True
    letters = sum(map(len, words))
    if len(words) < _LEAST_WORDS:
        return False
    if sum(bool(_MIXED.search(word)) for word in words) > _MIXED_SHARE * len(words):
        return True
    if sum(map(len, _ODD_LETTERS.findall("".join(words)))) > _ODD_SHARE * letters:
        return True
    return _is_cipher("".join(words).lower())


def _is_cipher(letters: str) -> bool:
    """Whether the letters of an alphabet are as frequent as those of no language written in it."""
    counts = Counter(letters)
    for shares, least in _LEAST_LIKENESS:
        known = sum(counts[letter] for letter in shares)
        if known >= max(_LEAST_LETTERS, 0.5 * len(letters)):
            return sum(counts[letter] * share for letter, share in shares.items()) < least * known
    return False
