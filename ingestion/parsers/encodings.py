"""Which characters the bytes of a text file stand for."""

import codecs
import math

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SINGLE_BYTE = ("cp1251", "koi8-r", "cp866", "cp1252")
_SAMPLE_BYTES = 65536
# Letter frequencies of Russian, per cent (Lyashevskaya and Sharoff, 2009, in groups).
_RUSSIAN = {
    letter: share
    for letters, share in (
        ("оеа", 9.0),
        ("инт", 6.5),
        ("срвлкм", 4.3),
        ("дпу", 2.8),
        ("яыьгзбч", 1.7),
        ("йхжшюцщ", 0.8),
        ("эфъё", 0.2),
        ("іїєґў", 0.1),
    )
    for letter in letters
}
_TYPOGRAPHY = frozenset("«»—–„“”‘’№…•€§©®°±·\xa0")
_CONVINCING = 0.0


def decode(data: bytes, declared: str | None = None) -> str:
    """Return the text; bytes that no encoding explains become U+FFFD.

    A byte order mark decides, then the zeros of UTF-16, then valid UTF-8, then the `declared` name
    if the bytes fit it. For what is left the single-byte encodings of Russian and Western files
    are compared by how much the decoded text looks like a language, which is right for files of a
    few words too, where statistics over bytes are not; charset-normalizer is asked when none
    convinces.
    """
    marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    if marked:
        return data.decode(marked, errors="replace")
    for name in (_unmarked_utf16(data), "utf-8", declared):
        text = _try(data, name)
        if text is not None:
            return text
    return data.decode(_guess(data[:_SAMPLE_BYTES]), errors="replace")


def _try(data: bytes, encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        return data.decode(encoding)
    except (LookupError, UnicodeError):
        return None


def _unmarked_utf16(data: bytes) -> str | None:
    """Name UTF-16 without a mark: one byte of each pair says one of two alphabets."""
    sample = data[:_SAMPLE_BYTES]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    for first, name in ((0, "utf-16-be"), (1, "utf-16-le")):
        high = sample[first::2]
        if sum(byte in (0, 4) for byte in high) > 0.9 * len(high):
            return name
    return None


def _guess(sample: bytes) -> str:
    scores = {name: _likeness(sample.decode(name, errors="replace")) for name in _SINGLE_BYTE}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= _CONVINCING:
        return best
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    return match.encoding if match else best


def _likeness(text: str) -> float:
    """Score the non-ASCII characters: near 1 for Russian, below 0 for a wrong decoding."""
    score, count = 0.0, 0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char.isascii():
            continue
        count += 1
        lower = char.lower()
        among_latin = any(near.isascii() and near.isalpha() for near in (before, after))
        if lower in _RUSSIAN:
            score += math.log2(1 + _RUSSIAN[lower]) / 2
            score -= 2.0 * (char != lower and before.islower())
            score -= 2.0 * among_latin
        elif lower.isalpha():
            # A letter of a Western file stands among ASCII ones, not among its like.
            score += 0.5 if among_latin and char >= "À" else -1.5
        else:
            score += 0.3 if char in _TYPOGRAPHY else -2.0
    return score / count if count else 0.0
