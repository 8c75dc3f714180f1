"""Choosing which sentences of the found passages go into the prompt, and in what order."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

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
        """The sentences, with a mark wherever some of the passage are left out."""
        text, pieces, end = self.passage.text, [], 0
        for start, stop in (*self.spans, (len(self.passage.text),) * 2):
            pieces += [_between(text[end:start]), text[start:stop]]
            end = stop
        return "".join(pieces).strip()

    def tells(self, passage: Passage, start: int, end: int) -> bool:
        """Whether it holds a piece of `passage.text[start:end]`, whichever passage that came in."""
        own = self.passage
        if (own.document_id, own.version) != (passage.document_id, passage.version):
            return False
        shift = passage.char_start - own.char_start
        return any(first < end + shift and start + shift < last for first, last in self.spans)


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


class Candidates:
    """The sentences of some passages, scored once, of which any budget takes the best.

    The score is the sum of three: similarity to the question, share of its keys (both with the
    headings above), and half of the passage's own score as a share of the best one's.

    Args:
        question: What the sentences should bear on.
        passages: Best first.
        similarity: See `Similarity`.
        told: What the model reads anyway; no sentence of it is a candidate.
    """

    def __init__(
        self,
        question: str,
        passages: Sequence[Passage],
        similarity: Similarity,
        told: Sequence[Excerpt] = (),
    ) -> None:
        self._passages = passages
        self._sentences = [
            _Sentence(number, start, end)
            for number, passage in enumerate(passages)
            for start, end in sentences(passage.text)
            if not any(excerpt.tells(passage, start, end) for excerpt in told)
        ]
        self._whole = list(self._all())
        self._cost = sum(_cost(excerpt) for excerpt in self._whole)
        self._rank: Callable[[], None] | None = partial(
            _score, question, passages, self._sentences, similarity
        )

    def within(self, budget_tokens: int) -> list[Excerpt]:
        """Fit the best sentences into a budget of estimated tokens.

        When everything fits, the passages go in whole. A list item brings the line that introduces
        the list, a table row its table's header.

        Returns:
            Excerpts in the passages' order, best first, of those that have a chosen sentence.
        """
        if self._cost <= budget_tokens:
            return list(self._whole)
        if self._rank is not None:
            self._rank()
            self._rank = None
        chosen: dict[int, set[tuple[int, int]]] = {}
        left = budget_tokens
        for sentence in sorted(self._sentences, key=lambda s: (-s.score, s.passage, s.start)):
            passage = self._passages[sentence.passage]
            spans = chosen.get(sentence.passage, set())
            wanted = {(sentence.start, sentence.end), *_introduction(passage.text, sentence.start)}
            price = sum(estimate_tokens(passage.text[start:end]) for start, end in wanted - spans)
            if not spans:
                price += estimate_tokens(heading(passage) + passage.context)
            if price <= left:
                chosen[sentence.passage] = spans | wanted
                left -= price
        return [
            Excerpt(self._passages[number], tuple(sorted(chosen[number])))
            for number in sorted(chosen)
        ]

    def _all(self) -> Iterator[Excerpt]:
        """Yield what each passage has left, as few spans as that takes."""
        left: dict[int, list[tuple[int, int]]] = {}
        for sentence in self._sentences:
            left.setdefault(sentence.passage, []).append((sentence.start, sentence.end))
        for number, spans in left.items():
            passage = self._passages[number]
            is_whole = spans == sentences(passage.text)
            yield Excerpt(passage, ((0, len(passage.text)),) if is_whole else tuple(spans))


def choose_evidence(
    question: str, passages: Sequence[Passage], budget_tokens: int, similarity: Similarity
) -> list[Excerpt]:
    """Fit the sentences that bear most on the question into a budget, see `Candidates`."""
    return Candidates(question, passages, similarity).within(budget_tokens)


def canonical_order(excerpts: Sequence[Excerpt]) -> list[int]:
    """Return the places of excerpts by document and place in it, best first counting for nothing.

    Prompts with the same evidence begin alike then, however the questions rank it.
    """

    def place(number: int) -> tuple[str, int, int, tuple[tuple[int, int], ...]]:
        passage = excerpts[number].passage
        spans = excerpts[number].spans
        return passage.document_id, passage.char_start, passage.chunk_id, spans

    return sorted(range(len(excerpts)), key=place)


def render(excerpts: Sequence[Excerpt]) -> str:
    """Number the excerpts for the prompt."""
    return "\n\n".join(
        f"[{number}] {excerpt.heading}\n"
        + "\n".join(part for part in (excerpt.passage.context, excerpt.text) if part)
        for number, excerpt in enumerate(excerpts, start=1)
    )


def _between(left_out: str) -> str:
    """Return the white space between two sentences, or a mark for what stood there."""
    if not left_out.strip():
        return left_out
    return "\n…\n" if "\n" in left_out else " … "


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
