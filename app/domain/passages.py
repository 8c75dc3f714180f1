"""What becomes of the found chunks: neighbours are joined, copies collapsed, phrases checked."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.domain.documents import Passage

Run = tuple[Passage, ...]
"""Neighbouring chunks of one document, in their order there."""

_SAME_WORDS = 0.9  # Jaccard similarity above which two passages say the same
_SAME_COSINE = 0.03  # copies lie at most this far apart in their similarity to the question
_WORD = re.compile(r"\w+")
_TELLING = re.compile(r"\d|^(?:не|нет|ни|без|no|not|never|without)$")


def neighbour_runs(passages: Sequence[Passage], budget_tokens: int) -> list[Run]:
    """Group found chunks that stand side by side, best first.

    Each run begins with the best chunk that is still free and grows by its found neighbours on both
    sides, under the same heading, while it stays within the budget. The runs keep the order of
    their best chunks; with `best_of` each one's best chunk is known again.
    """
    free = {_place(passage): passage for passage in passages}
    runs = []
    for passage in passages:
        if free.pop(_place(passage), None) is None:
            continue
        run = [passage]
        left = budget_tokens - passage.tokens
        while grown := _neighbour(run, free, left):
            del free[_place(grown)]
            left -= grown.tokens
            run.insert(0 if grown.ordinal < run[0].ordinal else len(run), grown)
        runs.append(tuple(run))
    return runs


def _place(passage: Passage) -> tuple[str, int, int]:
    return passage.document_id, passage.version, passage.ordinal


def _neighbour(
    run: list[Passage], free: dict[tuple[str, int, int], Passage], left: int
) -> Passage | None:
    """The better of the two free neighbours that may join the run."""
    first, last = run[0], run[-1]
    before = free.get((first.document_id, first.version, first.ordinal - 1))
    after = free.get((last.document_id, last.version, last.ordinal + 1))
    fitting = [
        found
        for found, upper, lower in ((before, before, first), (after, last, after))
        if found and upper and lower and found.tokens <= left and _reads_on(upper, lower)
    ]
    return max(fitting, key=lambda passage: passage.score, default=None)


def _reads_on(upper: Passage, lower: Passage) -> bool:
    """Whether the lower chunk needs nothing that the upper one does not bring along."""
    return (
        upper.gap is not None
        and upper.heading_path == lower.heading_path
        and (lower.context == upper.context or lower.context in upper.text)
    )


def best_of(run: Run) -> Passage:
    """The chunk of a run that the question found best."""
    return max(run, key=lambda passage: (passage.score, -passage.ordinal))


def joined(run: Run) -> Passage:
    """One passage out of a run, its text as it stands in the document."""
    if len(run) == 1:
        return run[0]
    return replace(
        best_of(run),
        tokens=sum(passage.tokens for passage in run),
        gap=run[-1].gap,
        text="".join(f"{p.text}{p.gap}" for p in run[:-1]) + run[-1].text,
        context=run[0].context,
        pages=tuple(sorted({page for passage in run for page in passage.pages})),
        char_start=run[0].char_start,
        char_end=run[-1].char_end,
        found_by=tuple(dict.fromkeys(leg for passage in run for leg in passage.found_by)),
        similarity=max(passage.similarity for passage in run),
    )


def collapse_duplicates(passages: Iterable[Passage], limit: int) -> list[Passage]:
    """Return the first passages up to a limit, without those that repeat a better one.

    What repeats a passage of another document is named there. Two passages say the same when nine
    tenths of their different words are shared and they agree in every number and negation, so that
    last year's price list never hides this year's.
    """
    kept: list[Passage] = []
    for passage in passages:
        twin = next((place for place, better in enumerate(kept) if _is_copy(passage, better)), None)
        if twin is not None:
            names = dict.fromkeys((*kept[twin].duplicates, passage.document_id))
            kept[twin] = replace(kept[twin], duplicates=tuple(names))
        elif len(kept) < limit:
            kept.append(passage)
        else:
            break
    return kept


def _is_copy(passage: Passage, better: Passage) -> bool:
    longer, shorter = len(better.text), len(passage.text)
    return (
        better.document_id != passage.document_id
        and abs(better.similarity - passage.similarity) <= _SAME_COSINE
        and _SAME_WORDS * max(longer, shorter) <= min(longer, shorter)
        and _say_the_same(_words(better.text), _words(passage.text))
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _say_the_same(one: list[str], other: list[str]) -> bool:
    shared, either = set(one) & set(other), set(one) | set(other)
    return len(shared) >= _SAME_WORDS * len(either) and _telling(one) == _telling(other)


def _telling(words: list[str]) -> list[str]:
    """Numbers and negations: one of them more, and a text says something else."""
    return [word for word in words if _TELLING.search(word)]


def holds_phrase(keys: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the phrase's keys stand one after the other among the keys of a text."""
    length = len(phrase)
    return any(
        key == phrase[0] and tuple(keys[place : place + length]) == tuple(phrase)
        for place, key in enumerate(keys)
    )
