"""Tying each sentence of an answer to the exact span of a document that carries it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.answers import Citation
from app.domain.evidence import Excerpt, Similarity
from app.domain.text import search_keys, sentences

_MARKERS = re.compile(r"\s*\[\s*\d+(?:\s*[,;]\s*\d+)*\s*\]")
_NUMBER = re.compile(r"\d")
_LONGEST_QUOTE = 3
# The commonest words say nothing about support.
_EMPTY = frozenset(
    "в и на с к о у не по за из от до для при или что как это быть а но же бы ли то во со "
    "the a an of to in on at for by with and or is are be was were it this that from as not "
    "да нет yes no".split()
)
# A question with one of these keys wants something that it does not say itself.
_OPEN = frozenset(
    "кто что где когда куда откуда сколько какой каков который как почему зачем чей насколько "
    "who what where when which how why whose whom".split()
)
# Below this share of its keys a claim is compared by meaning too.
_PARAPHRASED_BELOW = 0.75
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

    Support is the share of the claim's keys that the span, its headings or the question hold; for a
    paraphrase, or across languages, the cosine similarity to a single sentence where that is more.
    A number of the claim that stands in none of them makes it 0. A marker of the model wins ties; a
    better span elsewhere corrects it.

    Args:
        sentence: The claim.
        question: What was asked; repeating it claims nothing.
        excerpts: What stood in the prompt, numbered from 1.
        similarity: Cosine similarities of one text to some others, in [-1, 1].
    """
    claim = set(search_keys(sentence.text)) - _EMPTY
    asked = set(search_keys(question)) - _EMPTY
    is_open = not _OPEN.isdisjoint(search_keys(question))
    if claim <= asked and is_open:  # it only repeats the question
        return None
    spans = [
        span
        for number, excerpt in enumerate(excerpts, start=1)
        for span in _spans(number, excerpt, claim, asked)
    ]
    if max((span.score for span in spans), default=0.0) < _PARAPHRASED_BELOW:
        single = [span for span in spans if span.length == 1]
        scores = similarity(sentence.text, [span.quote for span in single]) if single else []
        spans += [replace(span, score=s) for span, s in zip(single, scores, strict=True)]
    supported = [span for span in spans if span.score > 0]
    if not supported:
        return None
    best = max(
        supported,
        key=lambda span: (
            min(span.score, 1.0)
            + _CLAIMED_BONUS * (span.excerpt in sentence.markers)
            - _LENGTH_COST * span.length
        ),
    )
    return Support(best.excerpt, best.start, best.end, round(min(best.score, 1.0), 4))


@dataclass(frozen=True, slots=True)
class _Span:
    excerpt: int
    start: int
    end: int
    length: int
    quote: str
    score: float


def _spans(number: int, excerpt: Excerpt, claim: set[str], asked: set[str]) -> Iterator[_Span]:
    """Yield the spans that hold every number of the claim, with the share of its keys."""
    around = set(search_keys(f"{excerpt.heading}\n{excerpt.passage.context}"))
    text = excerpt.passage.text
    found = sentences(text)
    for first in range(len(found)):
        for last in range(first, min(first + _LONGEST_QUOTE, len(found))):
            start, end = found[first][0], found[last][1]
            quote = text[start:end]
            held = set(search_keys(quote))
            known = held | around | asked
            if any(_NUMBER.search(key) for key in claim - known):
                continue
            news = claim - asked
            if not news:  # a "yes" in the question's own words
                known = held
            elif not news & held:
                known = set()
            score = len(claim & known) / len(claim) if claim else 0.0
            length = last - first + 1
            yield _Span(number, start, end, length, quote, score)


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
