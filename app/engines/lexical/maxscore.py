"""Finding the best entries without looking at every posting.

The idea is MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995,
section 4): rare keys come first; once the frequent ones that are left cannot lift a newcomer among
the k best, they are looked up only for the entries that are still in play.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Scores
from app.engines.lexical.entries import Entries, Slots
from app.engines.lexical.postings import Frequencies, Posting, find
from app.engines.masks import Reach

_LOOK_UP = 8  # to find one slot in a posting costs as much as to add so much of it to the scores
_LOOK_ROUND = 16  # to look at so many scores costs as much as to add one slot of a posting
_SHORT = 4096  # slots that are added at once, whatever else could be done
_SAMPLE = 2048
_ROUNDING = 1e-5  # relative; a float32 sum over the keys of a question is closer than that
_LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Term:
    """A key of a question; `weight` is what it would add to an entry that held it without end."""

    posting: Posting
    weight: float


def best_slots(
    terms: Sequence[Term], k: int, entries: Entries, reach: Reach | None
) -> tuple[Slots, Scores]:
    """Find the slots with the k best BM25 scores, and all that tie with the last of them.

    Each score is the float32 sum over the terms in the order given, whatever is skipped.

    Args:
        terms: The rarest first, so that most can be skipped.
        k: How many; at least 1.
        entries: What the terms are about.
        reach: The slots that may be found; None for all.

    Returns:
        Slots int32 (n,), in no order, and their scores float32 (n,), above 0.
    """
    race = _Race(k, entries, reach)
    short = list(takewhile(lambda term: len(term.posting) <= race.short, terms))
    long = terms[len(short) :]
    ceilings = [term.weight * term.posting.ceiling(entries) for term in long]
    to_come = [*accumulate(reversed(ceilings))][::-1]
    race.add_short(short)
    for term, gain in zip(long, to_come, strict=True):
        race.narrow(gain)
        race.add(term)
    return race.leaders()


class _Race:
    """The scores so far, and the slots that may still be among the k best."""

    def __init__(self, k: int, entries: Entries, reach: Reach | None) -> None:
        self._k = k
        self._norms = entries.norms
        self._scores = np.zeros(len(self._norms), np.float32)
        self._mask = reach.mask if reach else None
        self._field: Slots | None = None  # None where they are too many to be listed
        self._sample = np.empty(0, np.intp)  # some that have a score, none twice
        self._bar = _LEAST  # at most the k-th best score
        self.short = max(len(self._norms) // _LOOK_ROUND, _SHORT)
        if reach and reach.count * _LOOK_ROUND < len(self._norms):
            self._field = reach.rows.astype(np.int32)
            self.short = min(len(self._field) * _LOOK_UP, self.short)

    def add_short(self, terms: Sequence[Term]) -> None:
        """Add what some keys give to all that hold them."""
        if not terms:
            return
        slots = np.concatenate([term.posting.slots for term in terms]).astype(np.intp)
        frequencies = np.concatenate([term.posting.frequencies for term in terms])
        weights = np.array([term.weight for term in terms], np.float32)
        gains = self._gains(slots, frequencies, weights.repeat([len(t.posting) for t in terms]))
        np.add.at(self._scores, slots, gains)
        sample = np.sort(slots[:_SAMPLE])
        self._sample = sample[np.diff(sample, prepend=-1) > 0]

    def add(self, term: Term) -> None:
        """Add what a key gives to all that hold it, or to those of them that are in play."""
        slots, frequencies = term.posting.slots, term.posting.frequencies
        if self._field is not None and len(self._field) * _LOOK_UP < len(slots):
            found, held = find(self._field, slots)
            slots, frequencies = self._field[held], frequencies[found[held]]
        places = slots.astype(np.intp)
        np.add.at(self._scores, places, self._gains(places, frequencies, np.float32(term.weight)))
        self._sample = places[:_SAMPLE]

    def _gains(
        self, slots: NDArray[np.intp], frequencies: Frequencies, weights: Scores | np.float32
    ) -> Scores:
        gains = frequencies.astype(np.float32)
        gains /= self._norms[slots] + gains
        gains *= weights
        return gains

    def narrow(self, to_come: float) -> None:
        """Leave out who cannot be among the k best with so much to come."""
        self._raise_bar()
        least = self._bar * (1 - _ROUNDING) - to_come
        if least <= 0:
            return
        if self._field is None:
            able = self._at_least(least)
            if np.count_nonzero(able) * _LOOK_UP < len(able):
                self._field = np.flatnonzero(able).astype(np.int32)
        else:
            self._field = self._field[self._scores[self._field] >= least]

    def _raise_bar(self) -> None:
        """Find the k-th best score; a sample of the scores spares most of the work."""
        sample = self._sample
        if self._mask is not None:
            sample = sample[self._mask[sample]]
        self._raise_to(self._scores[sample])
        if self._field is not None:
            self._raise_to(self._scores[self._field])
        else:
            self._raise_to(self._scores[self._at_least(self._bar)])

    def _raise_to(self, scores: Scores) -> None:
        scores = scores[scores >= np.float32(self._bar)]
        if len(scores) >= self._k:
            self._bar = float(np.partition(scores, -self._k)[-self._k])

    def _at_least(self, score: float) -> NDArray[np.bool_]:
        able = self._scores >= np.float32(score)
        if self._mask is not None:
            able &= self._mask
        return able

    def leaders(self) -> tuple[Slots, Scores]:
        """Return who is at the bar or above, when nothing is to come."""
        self._raise_bar()
        if self._field is None:
            slots = np.flatnonzero(self._at_least(self._bar)).astype(np.int32)
        else:
            slots = self._field[self._scores[self._field] >= self._bar]
        return slots, self._scores[slots]
