"""Tying each sentence of an answer to the exact span of a document that carries it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.answers import Citation
from app.domain.evidence import Excerpt, Similarity
from app.domain.text import (
    FUNCTION_KEYS,
    QUESTION_KEYS,
    guess_language,
    search_keys,
    sentences,
)

_MARKERS = re.compile(r"\s*\[\s*\d+(?:\s*[,;]\s*\d+)*\s*\]")
_NUMBER = re.compile(r"\d")
_LONGEST_QUOTE = 3
# A claimed passage wins a tie, and so does a shorter quote.
_CLAIMED_BONUS, _LENGTH_COST = 0.15, 0.03


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the model's text: its words, and the passage numbers that it claims."""

    text: str
    markers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Support:
    """The best quote for a sentence; `excerpt` is its number from 1."""

    excerpt: int
    start: int
    end: int
    score: float


def read_sentences(text: str) -> list[Sentence]:
    """Split generated text into sentences and take the markers out of them."""
    found: list[Sentence] = []
    for start, end in sentences(text):
        raw = text[start:end]
        numbers = [int(n) for mark in _MARKERS.findall(raw) for n in re.findall(r"\d+", mark)]
        words = re.sub(r"\s+([.,;:!?])", r"\1", _MARKERS.sub("", raw)).strip()
        if words:
            found.append(Sentence(words, tuple(numbers)))
        elif found and numbers:  # the marker came after the full stop
            found[-1] = Sentence(found[-1].text, (*found[-1].markers, *numbers))
    return found


def find_support(
    sentence: Sentence, question: str, excerpts: Sequence[Excerpt], similarity: Similarity
) -> Support | None:
    """Find the span of at most three sentences that carries a claim best.

    Support is the share of the claim's keys that the span or its headings hold; keys that only
    repeat the question weigh half. A number of the claim that stands in neither makes it 0, and so
    does a claim of which the span holds nothing new. Across languages the cosine similarity to a
    single sentence counts instead. A marker of the model wins ties; a better span elsewhere
    corrects it.

    Args:
        sentence: The claim.
        question: What was asked; repeating it claims nothing.
        excerpts: What stood in the prompt, numbered from 1.
        similarity: See `app.domain.evidence.Similarity`.
    """
    claim = _Claim(sentence, question)
    if claim.says_nothing:
        return None
    spans = [
        span
        for number, excerpt in enumerate(excerpts, start=1)
        for span in _spans(number, excerpt, claim)
    ]
    foreign = [span for span in spans if span.is_foreign]
    scores = similarity(sentence.text, [span.quote for span in foreign]) if foreign else []
    spans += [
        replace(span, score=max(span.score, score))
        for span, score in zip(foreign, scores, strict=True)
    ]
    supported = [span for span in spans if span.score > 0]
    if not supported:
        return None
    best = max(
        supported,
        key=lambda span: (
            span.score
            + _CLAIMED_BONUS * (span.excerpt in sentence.markers)
            - _LENGTH_COST * span.length
        ),
    )
    return Support(best.excerpt, best.start, best.end, round(min(best.score, 1.0), 4))


class _Claim:
    """A sentence's keys, and which of them say more than the question did."""

    def __init__(self, sentence: Sentence, question: str) -> None:
        asked = set(search_keys(question))
        self.keys = set(search_keys(sentence.text)) - FUNCTION_KEYS
        self.news = self.keys - asked
        self.numbers = {key for key in self.keys if _NUMBER.search(key)}
        self.language = guess_language(sentence.text)
        self.says_nothing = not self.keys or (not self.news and not asked.isdisjoint(QUESTION_KEYS))

    def share_in(self, known: set[str]) -> float:
        """The share of the keys that are known; those of the question weigh half."""
        weights = {key: 1.0 if key in self.news else 0.5 for key in self.keys}
        return sum(weights[key] for key in self.keys & known) / sum(weights.values())


@dataclass(frozen=True, slots=True)
class _Span:
    excerpt: int
    start: int
    end: int
    length: int
    quote: str
    score: float
    is_foreign: bool


def _spans(number: int, excerpt: Excerpt, claim: _Claim) -> Iterator[_Span]:
    """Yield the spans that hold every number of the claim."""
    titles = set(search_keys(excerpt.heading))
    around = titles | set(search_keys(excerpt.passage.context))
    text = excerpt.passage.text
    found = sentences(text)
    for first in range(len(found)):
        for last in range(first, min(first + _LONGEST_QUOTE, len(found))):
            start, end = found[first][0], found[last][1]
            quote = text[start:end]
            held = set(search_keys(quote))
            if held <= titles or not claim.numbers <= held | around:
                continue  # a title states nothing
            says_it = not claim.news or not claim.news.isdisjoint(held)
            length = last - first + 1
            yield _Span(
                excerpt=number,
                start=start,
                end=end,
                length=length,
                quote=quote,
                score=claim.share_in(held | around) if says_it else 0.0,
                is_foreign=length == 1 and guess_language(quote) not in (claim.language, None),
            )


def cite(support: Support, excerpt: Excerpt, answer_start: int, answer_end: int) -> Citation:
    """Build the citation of the answer's `[answer_start, answer_end)`."""
    passage = excerpt.passage
    return Citation(
        marker=support.excerpt,
        document_id=passage.document_id,
        version=passage.version,
        chunk_id=passage.chunk_id,
        title=passage.title,
        source_uri=passage.source_uri,
        pages=passage.pages,
        quote=passage.text[support.start : support.end],
        char_start=passage.char_start + support.start,
        char_end=passage.char_start + support.end,
        answer_start=answer_start,
        answer_end=answer_end,
        support=support.score,
    )


def with_marker(text: str, marker: int) -> str:
    """Put a marker before the sentence's final punctuation."""
    body = text.rstrip(".!?…")
    return f"{body} [{marker}]{text[len(body) :] or '.'}"
