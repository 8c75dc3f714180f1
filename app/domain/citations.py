"""Tying each sentence of an answer to the exact span of a document that carries it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.answers import Citation
from app.domain.evidence import Excerpt
from app.domain.text import guess_language, search_keys, sentences

_MARKERS = re.compile(r"\s*\[\s*\d+(?:\s*[,;]\s*\d+)*\s*\]")
_NUMBER = re.compile(r"\d")
_LONGEST_QUOTE = 3
# The commonest words say nothing about support.
_EMPTY = frozenset(
    [
        "в",
        "и",
        "на",
        "с",
        "к",
        "о",
        "у",
        "не",
        "по",
        "за",
        "из",
        "от",
        "до",
        "для",
        "при",
        "или",
        "что",
        "как",
        "это",
        "быть",
        "а",
        "но",
        "же",
        "бы",
        "ли",
        "то",
        "во",
        "со",
        "the",
        "a",
        "an",
        "of",
        "to",
        "in",
        "on",
        "at",
        "for",
        "by",
        "with",
        "and",
        "or",
        "is",
        "are",
        "be",
        "was",
        "were",
        "it",
        "this",
        "that",
        "from",
        "as",
        "not",
    ]
)

Similarity = Callable[[str, Sequence[str]], Sequence[float]]


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

    Support is the share of the claim's keys that the span (with its headings) or the question
    holds. A number of the claim that stands in neither makes it 0. Where claim and span are in
    different languages the cosine similarity of their vectors counts instead. Claimed passages are
    looked at first; a better span elsewhere corrects a wrong marker.

    Args:
        sentence: The claim.
        question: What was asked; repeating it claims nothing.
        excerpts: What stood in the prompt, numbered from 1.
        similarity: Cosine similarities of one text to some others, in [-1, 1].
    """
    claim = set(search_keys(sentence.text)) - _EMPTY
    asked = set(search_keys(question)) - _EMPTY
    best: Support | None = None
    for number, excerpt in enumerate(excerpts, start=1):
        around = set(search_keys(f"{excerpt.heading}\n{excerpt.passage.context}"))
        spans = sentences(excerpt.text)
        same_language = guess_language(sentence.text) in (guess_language(excerpt.text), None)
        for first in range(len(spans)):
            for last in range(first, min(first + _LONGEST_QUOTE, len(spans))):
                start, end = spans[first][0], spans[last][1]
                quote = excerpt.text[start:end]
                held = set(search_keys(quote))
                known = held | around | asked
                if any(_NUMBER.search(key) and key not in known for key in claim):
                    continue
                if same_language:
                    score = len(claim & known) / len(claim) if claim else 0.0
                    if claim - asked and not claim & held - asked:
                        score = 0.0
                elif last == first:
                    score = max(0.0, similarity(sentence.text, [quote])[0])
                else:
                    continue
                # A claimed passage wins a tie, and so does a shorter quote.
                bonus = 0.15 * (number in sentence.markers) - 0.03 * (last - first)
                value = min(score, 1.0) + bonus
                if score > 0 and (best is None or value > best.score):
                    best = Support(number, excerpt.start + start, excerpt.start + end, value)
    if best is None:
        return None
    return Support(best.excerpt, best.start, best.end, round(max(0.0, min(1.0, best.score)), 4))


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
