"""Checking a sentence against the evidence that is cited for it, layer by layer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from app.domain.names import Name, read_names, words_of
from app.domain.polarity import Polarity, contradiction, read_polarity
from app.domain.quantities import (
    Date,
    Identifier,
    Quantities,
    missing_quantities,
)
from app.domain.quantity_reader import read_quantities
from app.domain.text import guess_language, sentences

_CACHED_TEXTS = 20_000
# Logistic regressions with both labels weighing the same; docs/verification.md says on which sets.
_LEXICAL = (8.5, -5.3)
_ACROSS_LANGUAGES = (22.4, -11.5)
_SUREST = 0.98  # more than that no entailment model is believed


class FactKind(StrEnum):
    """What a sentence states that its evidence must hold."""

    NUMBER = "number"
    DATE = "date"
    IDENTIFIER = "identifier"
    NAME = "name"
    NEGATION = "negation"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of a sentence, as it is written there."""

    kind: FactKind
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a text states for certain. Do not change it: it is cached."""

    quantities: Quantities
    names: tuple[Name, ...]
    words: frozenset[str]
    polarity: Polarity
    language: str | None

    @classmethod
    def joined(cls, parts: Sequence["Facts"]) -> "Facts":
        """Those of several texts; the language is that of the first."""
        return cls(
            Quantities.joined(part.quantities for part in parts),
            tuple(name for part in parts for name in part.names),
            frozenset().union(*(part.words for part in parts)),
            Polarity.joined(part.polarity for part in parts),
            parts[0].language,
        )


@lru_cache(_CACHED_TEXTS)
def read_facts(text: str) -> Facts:
    """Read a sentence, a heading or a table's header."""
    return Facts(
        read_quantities(text),
        tuple(read_names(text)),
        words_of(text),
        read_polarity(text),
        guess_language(text),
    )


def evidence_facts(quote: str) -> Facts:
    """Read a quote of one or more sentences."""
    spans = sentences(quote) or [(0, 0)]
    return Facts.joined([read_facts(quote[start:end]) for start, end in spans])


def missing_facts(
    claim: Facts,
    quote: Facts,
    around: Facts | None = None,
    given: frozenset[str] = frozenset(),
) -> list[Fact]:
    """Which facts of a sentence its evidence does not hold.

    Numbers, dates and identifiers are compared across languages; names and negations only within
    one.

    Args:
        claim: Of the sentence.
        quote: Of the cited quote.
        around: Of the headings above the quote and its table's header; they deny nothing.
        given: Keys of names that need not stand in the quote; see `given_names`.
    """
    known = quote if around is None else Facts.joined((quote, around))
    missing = [
        Fact(_kind(fact), fact.text)
        for fact in missing_quantities(claim.quantities, known.quantities)
    ]
    if quote.language in (claim.language, None):
        missing += [
            Fact(FactKind.NAME, name.text)
            for name in claim.names
            if name.keys.isdisjoint(known.words | given)
        ]
        if denied := contradiction(claim.polarity, quote.polarity):
            missing.append(Fact(FactKind.NEGATION, denied))
    return missing


def given_names(question: str | None, document: Iterable[str]) -> frozenset[str]:
    """The keys of names that a question brings and that its document knows too.

    A contract says once who “the Lessee” is: an answer may keep to the name that it was asked with.

    Args:
        question: What was asked; None, where nobody knows it, stands for every name.
        document: Texts of the document that is cited.
    """
    if question is not None:
        asked = frozenset[str]().union(*(name.keys for name in read_facts(question).names))
        if not asked:
            return asked
    known = frozenset[str]().union(*map(words_of, document))
    return known if question is None else asked & known


@dataclass(frozen=True, slots=True)
class Layers:
    """The score of each layer of the check, in [0, 1]; None where a layer was not asked.

    `facts` is the share of the sentence's facts that the evidence holds, 1 for a sentence without
    any; `lexical` the share of its keys; `embedding` the cosine similarity of sentence and quote,
    where it is above 0; `entailment` the probability that a model gives.
    """

    facts: float
    lexical: float
    embedding: float | None = None
    entailment: float | None = None


def calibrated_support(layers: Layers, across_languages: bool) -> float:
    """The probability that the evidence carries a sentence, if one sentence in two is carried.

    Words decide within a language, the embedding across two: beside words it added nothing on the
    open sets. An entailment model's probability is taken as evidence of its own. A fact that the
    evidence does not hold makes it 0.
    """
    if layers.facts < 1:
        return 0.0
    (slope, offset), score = (
        (_ACROSS_LANGUAGES, layers.embedding or 0.0)
        if across_languages
        else (_LEXICAL, layers.lexical)
    )
    log_odds = slope * score + offset
    if layers.entailment is not None:
        believed = min(max(layers.entailment, 1 - _SUREST), _SUREST)
        log_odds += math.log(believed / (1 - believed))
    return 1 / (1 + math.exp(-log_odds))


def count_facts(claim: Facts) -> int:
    """How many facts a sentence states, its negations as one."""
    quantities = claim.quantities
    stated = (*quantities.numbers, *quantities.dates, *quantities.identifiers, *claim.names)
    return len(stated) + bool(claim.polarity.denied)


def _kind(fact: object) -> FactKind:
    match fact:
        case Date():
            return FactKind.DATE
        case Identifier():
            return FactKind.IDENTIFIER
        case _:
            return FactKind.NUMBER
