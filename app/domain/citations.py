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
from app.domain.verification import (
    Fact,
    FactKind,
    Facts,
    Layers,
    calibrated_support,
    evidence_facts,
    given_names,
    missing_facts,
    read_facts,
)

_TABLE_RULE = re.compile(r"\|[\s:|-]+\|")
_MARKERS = re.compile(r"\s*\[\s*\d+(?:\s*[,;]\s*\d+)*\s*\]")
_NUMBER = re.compile(r"\d")
_LONGEST_QUOTE = 3
# A claimed passage wins a tie, and so does a shorter quote.
_CLAIMED_BONUS, _LENGTH_COST = 0.15, 0.03
_CLEARLY = 0.05
# A sentence with nearly all of the claim's words tells its facts, not one with far fewer of them.
_NEARLY_ALL, _FAR_FEWER = 0.8, 0.2


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
    layers: Layers
    across_languages: bool = False

    @property
    def score(self) -> float:
        """How sure it is that the quote carries the sentence, in [0, 1]."""
        return round(calibrated_support(self.layers, self.across_languages), 4)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why no quote carries a sentence: what the nearest one lacks; nothing for a lack of words."""

    missing: tuple[Fact, ...] = ()


def read_sentences(text: str) -> list[Sentence]:
    """Split generated text into sentences and take the markers out of them."""
    found: list[Sentence] = []
    for start, end in sentences(text):
        raw = text[start:end]
        bare, numbers = _without_markers(raw)
        words = re.sub(r"\s+([.,;:!?])", r"\1", bare).strip()
        if words:
            found.append(Sentence(words, tuple(numbers)))
        elif found and numbers:  # the marker came after the full stop
            found[-1] = Sentence(found[-1].text, (*found[-1].markers, *numbers))
    return found


def _without_markers(text: str) -> tuple[str, list[int]]:
    """Take markers out until none is left; return their numbers, too long ones apart."""
    numbers: list[int] = []
    while found := _MARKERS.findall(text):
        numbers += [int(n) for mark in found for n in re.findall(r"\d+", mark) if len(n) <= 6]
        text = _MARKERS.sub("", text)
    return text, numbers


def find_support(
    sentence: Sentence, question: str, excerpts: Sequence[Excerpt], similarity: Similarity
) -> Support | Unsupported:
    """Find the span of at most three sentences that carries a claim best.

    Spans are tried from the best down, by the share of the claim's keys that they or their headings
    hold; keys that only repeat the question weigh half. Across languages the cosine similarity to a
    single sentence counts instead. The first one is taken that holds every fact of the claim (see
    `app.domain.verification`); but where a clearly better one says the contrary, or one with nearly
    all of the words holds other facts, none is. A marker of the model wins ties; a better span
    elsewhere corrects it.

    Args:
        sentence: The claim.
        question: What was asked; repeating it claims nothing.
        excerpts: What stood in the prompt, numbered from 1.
        similarity: See `app.domain.evidence.Similarity`.
    """
    claim = _Claim(sentence, question)
    if claim.says_nothing:
        return Unsupported()
    spans = [
        span
        for number, excerpt in enumerate(excerpts, start=1)
        for span in _spans(number, excerpt, claim)
    ]
    ranked = sorted(_compared(sentence.text, spans, similarity), key=claim.rank, reverse=True)
    given = [given_names(question, _document_of(excerpt, excerpts)) for excerpt in excerpts]
    lacking: list[Fact] | None = None
    denied: _Span | None = None
    nearest = 0.0
    for span in ranked:
        missing = span.missing(claim.facts, given[span.excerpt - 1])
        if not missing:
            if denied and denied.score > span.score + _CLEARLY:
                break
            if nearest > max(_NEARLY_ALL, span.words + _FAR_FEWER):
                break
            return _support(sentence, span, similarity)
        lacking = missing if lacking is None else lacking
        nearest = max(nearest, span.words)
        contradicts = all(fact.kind is FactKind.NEGATION for fact in missing)
        if denied is None and contradicts and span.length == 1:
            denied, lacking = span, missing
    return Unsupported(tuple(lacking or ()))


def nearest_quote(
    sentence: Sentence, question: str, excerpts: Sequence[Excerpt]
) -> tuple[str, float] | None:
    """The quote with most of a sentence's words, whatever its facts, and their share."""
    claim = _Claim(sentence, question)
    if claim.says_nothing:
        return None
    spans = [span for n, excerpt in enumerate(excerpts, 1) for span in _spans(n, excerpt, claim)]
    best = max(spans, key=claim.rank, default=None)
    return (best.quote, best.lexical) if best else None


def _support(sentence: Sentence, span: "_Span", similarity: Similarity) -> Support:
    cosine = span.similarity
    if cosine is None:
        cosine = similarity(sentence.text, [span.quote])[0]
    layers = Layers(1.0, round(min(span.lexical, 1.0), 4), round(min(max(cosine, 0.0), 1.0), 4))
    across = span.is_foreign and cosine > span.lexical
    return Support(span.excerpt, span.start, span.end, layers, across)


class _Claim:
    """A sentence's keys and facts, and which of the keys say more than the question did."""

    def __init__(self, sentence: Sentence, question: str) -> None:
        asked = set(search_keys(question))
        self.facts = read_facts(sentence.text)
        self.language = self.facts.language
        self.markers = sentence.markers
        self.keys = set(search_keys(sentence.text)) - FUNCTION_KEYS
        self.news = self.keys - asked
        self.words = {key for key in self.keys if not _NUMBER.search(key)}
        self.says_nothing = not self.keys or (not self.news and not asked.isdisjoint(QUESTION_KEYS))

    def share_in(self, known: set[str]) -> float:
        """The share of the keys that are known; those of the question weigh half."""
        return self._share(self.keys, known)

    def words_in(self, known: set[str]) -> float:
        """The same without numbers."""
        return self._share(self.words, known)

    def _share(self, keys: set[str], known: set[str]) -> float:
        weights = {key: 1.0 if key in self.news else 0.5 for key in keys}
        return sum(weights[key] for key in keys & known) / (sum(weights.values()) or 1.0)

    def rank(self, span: "_Span") -> float:
        """How good a quote a span is."""
        return (
            span.score
            + _CLAIMED_BONUS * (span.excerpt in self.markers)
            - _LENGTH_COST * span.length
        )


@dataclass(frozen=True, slots=True)
class _Span:
    excerpt: int
    start: int
    end: int
    length: int
    quote: str
    lexical: float
    words: float
    above: str
    is_foreign: bool
    similarity: float | None = None

    @property
    def score(self) -> float:
        return max(self.lexical, self.similarity or 0.0)

    def missing(self, claim: Facts, given: frozenset[str]) -> list[Fact]:
        return missing_facts(claim, evidence_facts(self.quote), read_facts(self.above), given)


def _document_of(excerpt: Excerpt, excerpts: Sequence[Excerpt]) -> Iterator[str]:
    """Yield what stands in the prompt of an excerpt's document."""
    for other in excerpts:
        if other.passage.document_id == excerpt.passage.document_id:
            yield f"{other.heading}\n{other.passage.context}\n{other.passage.text}"


def _spans(number: int, excerpt: Excerpt, claim: _Claim) -> Iterator[_Span]:
    """Yield the spans that state something."""
    passage = excerpt.passage
    titles = set(search_keys(excerpt.heading))
    above = "\n".join((passage.title, *passage.heading_path, passage.context))
    known = titles | set(search_keys(passage.context))
    text = passage.text
    found = sentences(text)
    keys = [set(search_keys(text[start:end])) for start, end in found]
    headers = [table_header(text, start) for start, _ in found]
    words = [claim.words_in(held | known) for held in keys]
    for first in range(len(found)):
        for last in range(first, min(first + _LONGEST_QUOTE, len(found))):
            start, end = found[first][0], found[last][1]
            held = set().union(*keys[first : last + 1])
            if held <= titles:
                continue  # a title states nothing
            header = headers[first]
            around = known.union(search_keys(header)) if header else known
            share = claim.words_in(held | around)
            if first < last and claim.words and share <= max(words[first : last + 1]):
                continue  # the other sentences would lend nothing but their numbers
            says_it = not claim.news or not claim.news.isdisjoint(held)
            quote = text[start:end]
            yield _Span(
                excerpt=number,
                start=start,
                end=end,
                length=last - first + 1,
                quote=quote,
                lexical=claim.share_in(held | around) if says_it else 0.0,
                words=share,
                above=f"{above}\n{header}" if header else above,
                is_foreign=first == last and guess_language(quote) not in (claim.language, None),
            )


def table_header(text: str, start: int) -> str:
    """The header of the Markdown table that a row at `start` belongs to, else nothing."""
    line_start = text.rfind("\n", 0, max(start, 0)) + 1
    rows: list[str] = []
    for line in reversed(text[:line_start].splitlines()):
        if not line.startswith("|"):
            break
        rows.append(line)
    is_table = len(rows) >= 2 and _TABLE_RULE.fullmatch(rows[-2].strip())
    return rows[-1] if is_table else ""


def _compared(text: str, spans: Sequence[_Span], similarity: Similarity) -> Iterator[_Span]:
    """Yield the spans that carry anything, those of another language with their similarity."""
    foreign = [span for span in spans if span.is_foreign]
    scores = similarity(text, [span.quote for span in foreign]) if foreign else []
    compared = [replace(s, similarity=score) for s, score in zip(foreign, scores, strict=True)]
    for span in (*compared, *(span for span in spans if not span.is_foreign)):
        if span.score > 0:
            yield span


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
        layers=support.layers,
        document_sha256=passage.document_sha256,
    )


def with_marker(text: str, marker: int) -> str:
    """Put a marker before the sentence's final punctuation."""
    body = text.rstrip(".!?…")
    return f"{body} [{marker}]{text[len(body) :] or '.'}"
