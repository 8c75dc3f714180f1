"""Choosing what of the found passages goes into the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.documents import Passage
from app.domain.text import search_keys, sentences

# Characters per token of Qwen2.5's tokenizer over the sample documents.
_CHARS_PER_TOKEN_CYRILLIC = 2.6
_CHARS_PER_TOKEN_OTHER = 3.6


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a passage that the model reads: `passage.text[start:end]`."""

    passage: Passage
    start: int
    end: int

    @property
    def text(self) -> str:
        """The excerpt itself."""
        return self.passage.text[self.start : self.end]

    @property
    def heading(self) -> str:
        """Where it stands: the document's title and the headings above."""
        path = [p for p in self.passage.heading_path if p != self.passage.title]
        return " — ".join([self.passage.title, *path[-2:]])


def estimate_tokens(text: str) -> int:
    """Estimate a chat model's token count without its tokenizer, rather too high than too low."""
    cyrillic = sum("а" <= letter <= "ё" for letter in text.lower())
    other = len(text) - cyrillic
    return int(cyrillic / _CHARS_PER_TOKEN_CYRILLIC + other / _CHARS_PER_TOKEN_OTHER) + 1


def choose_evidence(
    question: str, passages: Sequence[Passage], budget_tokens: int
) -> list[Excerpt]:
    """Fit the best passages into a token budget, best first.

    A passage that does not fit whole gives its best window of whole sentences; the first passage
    may take half of the budget, each further one half of what is left, the last one all of it.
    """
    wanted = set(search_keys(question))
    left = budget_tokens
    chosen: list[Excerpt] = []
    for number, passage in enumerate(passages):
        last = number == len(passages) - 1
        share = left if last else max(left // 2, min(left, budget_tokens // len(passages)))
        overhead = estimate_tokens(Excerpt(passage, 0, 0).heading + passage.context)
        window = _best_window(wanted, passage.text, share - overhead)
        if window is None:
            continue
        excerpt = Excerpt(passage, *window)
        left -= estimate_tokens(excerpt.text) + overhead
        chosen.append(excerpt)
    return chosen


def render(excerpts: Sequence[Excerpt]) -> str:
    """Number the excerpts for the prompt."""
    return "\n\n".join(
        f"[{number}] {excerpt.heading}\n"
        + "\n".join(part for part in (excerpt.passage.context, excerpt.text) if part)
        for number, excerpt in enumerate(excerpts, start=1)
    )


def _best_window(wanted: set[str], text: str, budget_tokens: int) -> tuple[int, int] | None:
    """The run of whole sentences within the budget that holds most of the wanted keys."""
    spans = sentences(text)
    if not spans:
        return None
    if estimate_tokens(text) <= budget_tokens:
        return spans[0][0], spans[-1][1]
    keys = [wanted.intersection(search_keys(text[start:end])) for start, end in spans]
    costs = [estimate_tokens(text[start:end]) for start, end in spans]
    best: tuple[int, int, int] | None = None
    for first in range(len(spans)):
        cost, found, last = 0, set[str](), first
        while last < len(spans) and cost + costs[last] <= budget_tokens:
            cost += costs[last]
            found |= keys[last]
            last += 1
        if last > first and (best is None or len(found) > best[0]):
            best = (len(found), first, last - 1)
    return None if best is None else (spans[best[1]][0], spans[best[2]][1])
