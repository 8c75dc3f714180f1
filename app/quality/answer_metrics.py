"""How near an answer comes to the gold ones: exact match, F1 and containment.

Both sides are normalised as the SQuAD script does (Rajpurkar et al. 2016): lower case, punctuation
off, English articles off, single blanks; Russian texts also with е for ё and without stress marks.
A language that inflects is read fairer by its lemmas (English: stems).
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from app.domain.text import normalise
from app.domain.words import lower, word_keys
from app.quality.datasets import Gold

Words = list[str]
Read = Callable[[str], Words]
"""Makes words that can be compared of a text."""

_MARKER = re.compile(r"\s*\[\d+\]")
_ARTICLES = frozenset({"a", "an", "the"})


def words(text: str) -> Words:
    """Return the normalised words of a text, in order."""
    plain = "".join(sign for sign in lower(normalise(text)) if not _is_punctuation(sign))
    return [word for word in plain.split() if word not in _ARTICLES]


def lemmas(text: str) -> Words:
    """Return the lemmas of a text's normalised words, in order; stems of English ones."""
    return [key for word in words(text) for key in (word_keys(word) if word.isalpha() else (word,))]


def without_markers(answer: str) -> str:
    """Return the text of an answer without the numbers of its citations."""
    return _MARKER.sub("", answer)


def exact_match(answer: str, gold: Gold) -> float | None:
    """Return 1 where the answer is a short gold answer, None where there is none."""
    if not gold.groups:
        return None
    said = words(answer)
    return float(any(said == words(candidate) for candidate in _candidates(gold)))


def f1(answer: str, gold: Gold, read: Read = words) -> float | None:
    """Return the best F1 of words with a gold answer, None where there is none.

    A long gold answer is compared with only where there is no short one.
    """
    candidates = _candidates(gold) or ([gold.text] if gold.text else [])
    said = read(answer)
    return max((_f1(said, read(candidate)) for candidate in candidates), default=None)


def containment(answer: str, gold: Gold, read: Read = words) -> float | None:
    """Return the share of the groups of which an alternative stands in the answer word for word."""
    if not gold.groups:
        return None
    said = read(answer)
    held = [any(_holds(said, read(one)) for one in group) for group in gold.groups]
    return sum(held) / len(held)


def _candidates(gold: Gold) -> list[str]:
    """Short answers; where several things are to be said, one that says them all."""
    if len(gold.groups) == 1:
        return list(gold.groups[0])
    return [" ".join(group[0] for group in gold.groups)] if gold.groups else []


def _f1(said: Sequence[str], gold: Sequence[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    return 2 * sum((Counter(said) & Counter(gold)).values()) / (len(said) + len(gold))


def _holds(said: Words, wanted: Words) -> bool:
    size = len(wanted)
    return size > 0 and any(said[i : i + size] == wanted for i in range(len(said) - size + 1))


def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")
