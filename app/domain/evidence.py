"""Choosing which sentences of the found passages go into the prompt."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.documents import Passage
from app.domain.text import search_keys, sentences

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""Cosine similarities of one text to some others, in [-1, 1]."""

# Least squares over the sample documents with Qwen2.5's tokenizer: mean error 6 %, worst 24 %.
_TOKENS_PER_CHAR = (("[а-яёА-ЯЁ]", 0.371), ("[a-zA-Z]", 0.244), (r"\d", 1.54), (r"[^\w\s]", 0.77))
_PASSAGE_WEIGHT = 0.5
_NOT_IN_FORCE = ("SUPERSEDED: ", "УТРАТИЛО СИЛУ: ")
_TABLE_RULE = re.compile(r"\|[\s:|-]+\|")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The sentences of a passage that the model reads: spans of `passage.text`, in order."""

    passage: Passage
    spans: tuple[tuple[int, int], ...]

    @property
    def heading(self) -> str:
        """Where it stands: the document's title and the headings above."""
        return heading(self.passage)

    @property
    def text(self) -> str:
        """The sentences, with a mark where some are left out between them."""
        text = self.passage.text
        pieces = [text[self.spans[0][0] : self.spans[0][1]]]
        for (_, before), (start, end) in zip(self.spans, self.spans[1:], strict=False):
            between = text[before:start]
            if between.strip():
                between = "\n…\n" if "\n" in between else " … "
            pieces += [between, text[start:end]]
        return "".join(pieces)


@dataclass(slots=True)
class _Sentence:
    passage: int
    start: int
    end: int
    score: float = 0.0


def heading(passage: Passage) -> str:
    """The document's title, marked when it is not in force, and the two nearest headings."""
    path = [part for part in passage.heading_path if part != passage.title]
    mark = _NOT_IN_FORCE[passage.language == "ru"] if passage.superseded else ""
    return " — ".join([mark + passage.title, *path[-2:]])


def estimate_tokens(text: str) -> int:
    """Estimate a chat model's token count without its tokenizer."""
    return 1 + round(sum(len(re.findall(kind, text)) * cost for kind, cost in _TOKENS_PER_CHAR))


def choose_evidence(
    question: str, passages: Sequence[Passage], budget_tokens: int, similarity: Similarity
) -> list[Excerpt]:
    """Fit the sentences that bear most on the question into a token budget.

    When everything fits, the passages go in whole. Else sentences are taken by the sum of three
    scores: similarity to the question, share of the question's keys (both with the headings above),
    and half of the passage's own score as a share of the best one's. A list item brings the line
    that introduces the list, a table row its table's header.

    Returns:
        Excerpts in the passages' order, best first, of those that have a chosen sentence.
    """
    whole = [Excerpt(p, ((0, len(p.text)),)) for p in passages if p.text.strip()]
    if sum(_cost(excerpt) for excerpt in whole) <= budget_tokens:
        return whole
    found = [
        _Sentence(number, start, end)
        for number, passage in enumerate(passages)
        for start, end in sentences(passage.text)
    ]
    _score(question, passages, found, similarity)
    chosen: dict[int, set[tuple[int, int]]] = {}
    left = budget_tokens
    for sentence in sorted(found, key=lambda s: (-s.score, s.passage, s.start)):
        passage = passages[sentence.passage]
        spans = chosen.get(sentence.passage, set())
        wanted = {(sentence.start, sentence.end), *_introduction(passage.text, sentence.start)}
        price = sum(estimate_tokens(passage.text[start:end]) for start, end in wanted - spans)
        if not spans:
            price += estimate_tokens(heading(passage) + passage.context)
        if price <= left:
            chosen[sentence.passage] = spans | wanted
            left -= price
    return [Excerpt(passages[number], tuple(sorted(chosen[number]))) for number in sorted(chosen)]


def render(excerpts: Sequence[Excerpt]) -> str:
    """Number the excerpts for the prompt."""
    return "\n\n".join(
        f"[{number}] {excerpt.heading}\n"
        + "\n".join(part for part in (excerpt.passage.context, excerpt.text) if part)
        for number, excerpt in enumerate(excerpts, start=1)
    )


def _cost(excerpt: Excerpt) -> int:
    return estimate_tokens(f"{excerpt.heading}\n{excerpt.passage.context}\n{excerpt.text}")


def _score(
    question: str, passages: Sequence[Passage], found: list[_Sentence], similarity: Similarity
) -> None:
    wanted = set(search_keys(question))
    texts = [
        f"{heading(passages[s.passage])}\n{passages[s.passage].text[s.start : s.end]}"
        for s in found
    ]
    best = max((passage.score for passage in passages), default=0.0) or 1.0
    for sentence, text, near in zip(found, texts, similarity(question, texts), strict=True):
        share = len(wanted.intersection(search_keys(text))) / max(len(wanted), 1)
        own = passages[sentence.passage].score / best
        sentence.score = near + share + _PASSAGE_WEIGHT * own


def _introduction(text: str, start: int) -> list[tuple[int, int]]:
    """Spans without which the sentence at `start` cannot be read."""
    lines = [match.span() for match in re.finditer(r"[^\n]+", text[:start])]
    if text.startswith("|", start):
        for above, rule in zip(reversed(lines[:-1]), reversed(lines), strict=False):
            if _TABLE_RULE.fullmatch(text[slice(*rule)].strip()):
                return [above, rule]
        return []
    for span in reversed(lines):
        line = text[slice(*span)].strip()
        if line.endswith(":"):
            return [span]
        if not re.match(r"[-*•–]\s|\d+[.)]\s", line):
            break
    return []
