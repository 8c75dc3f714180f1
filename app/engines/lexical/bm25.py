"""BM25 over our own key streams, in memory; docs/decisions/0003-own-bm25.md says why."""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Ids, KeyWeights, Scores
from app.engines.lexical import saved
from app.engines.lexical.entries import K1, Entries, Slots
from app.engines.lexical.maxscore import Term, best_slots
from app.engines.lexical.postings import Posting, find
from app.engines.masks import AllowedMasks, Reach

_LOOKED_AT = 4096  # slots of a key at a time
_DEAD_SHARE = 0.25  # above, the dead are cleared away


class Bm25Index:
    """Exact BM25 with Lucene's idf, ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative.

    Each entry has a slot; each key the slots that hold it. A removed or replaced entry leaves a
    dead slot, which counts in no statistic, until the dead are more than a quarter.

    Postings look into memory that may not move meanwhile: no look at them outlives the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries = Entries()
        self._postings: defaultdict[str, Posting] = defaultdict(Posting)
        self._masks = AllowedMasks()
        self._renumberings = 0  # of the slots, by additions too

    @property
    def size(self) -> int:
        """How many entries it holds."""
        return self._entries.size

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        with self._lock:
            return self._entries.living_ids

    def best_possible(self, keys: KeyWeights) -> float:
        """Return a score that no entry can exceed for these keys, to calibrate scores by.

        An entry would have it that held each key without end. A key that no entry holds weighs
        most, so that a question about foreign matters scores low against it.
        """
        with self._lock:
            return (K1 + 1) * sum(
                weight * self._rarity(self._frequency(key)) for key, weight in keys.items()
            )

    def frequency(self, key: str) -> int:
        """How many entries hold the key."""
        with self._lock:
            return self._frequency(key)

    def knows(self, key: str, allowed: Ids | None = None) -> bool:
        """Whether an entry holds the key; with `allowed` as in `search`, one of those."""
        with self._lock:
            if not self._frequency(key) or allowed is None:
                return self._frequency(key) > 0
            mask, alive = self._reach(allowed).mask, self._entries.alive
            slots = self._postings[key].slots
            pieces = (slots[n : n + _LOOKED_AT] for n in range(0, len(slots), _LOOKED_AT))
            return any((mask[piece] & alive[piece]).any() for piece in pieces)

    def holding(self, keys: Collection[str]) -> Ids:
        """The entries that hold every one of the keys: sorted int64 (n,); all for no keys."""
        with self._lock:
            if not keys:
                return self._entries.living_ids
            return np.sort(self._entries.ids[self._holding(keys)])

    def held(self, ids: Ids, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each of int64 (n,) ids holds each of m keys: bool (n, m), False where unknown."""
        with self._lock:
            slots = self._entries.slots_of(ids)
            held = np.zeros((len(ids), len(keys)), np.bool_)
            for place, key in enumerate(keys):
                if self._frequency(key):
                    held[:, place] = find(slots, self._postings[key].slots)[1]
            return held

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        """Add or replace int64 (n,) ids with their key streams."""
        assert ids.dtype == np.int64 and ids.shape == (len(keys),)
        with self._lock:
            self._renumberings += 1
            for entry, stream in zip(ids.tolist(), keys, strict=True):
                slot = self._entries.add(entry, len(stream))
                for key, frequency in Counter(stream).items():
                    self._postings[key].add(slot, frequency)
            self._compact_if_due()

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        with self._lock:
            for entry in ids.tolist():
                self._entries.remove(entry)
            self._compact_if_due()

    def search(self, keys: KeyWeights, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the at most k best ids that hold one of the keys, best first, ties by ascending id.

        Args:
            keys: How much each key of the question counts, above 0.
            k: How many; at least 1.
            allowed: Sorted int64 (m,), never changed afterwards: only these ids may be found. None
                allows all. Statistics are those of all living entries in any case.

        Returns:
            ids int64 (n,), BM25 scores float32 (n,), n <= k.
        """
        assert k >= 1
        assert all(weight > 0 for weight in keys.values())
        assert allowed is None or allowed.dtype == np.int64
        with self._lock:
            reach = None if allowed is None else self._reach(allowed)
            slots, scores = best_slots(self._terms(keys), k, self._entries, reach)
            ids = self._entries.ids[slots]
        order = np.lexsort((ids, -scores))[:k]
        return ids[order], scores[order]

    def _reach(self, allowed: Ids) -> Reach:
        return self._masks.reach(allowed, self._entries.ids, self._renumberings)

    def _terms(self, keys: KeyWeights) -> list[Term]:
        """Look up those keys that some entry holds, the rarest first."""
        held = sorted((number, key) for key in keys if (number := self._frequency(key)))
        return [
            Term(self._postings[key], keys[key] * self._rarity(number) * (K1 + 1))
            for number, key in held
        ]

    def _holding(self, keys: Collection[str]) -> Slots:
        """Return the slots of the living that hold all of these keys, of which there is one."""
        if not all(map(self._frequency, keys)):
            return np.empty(0, np.int32)
        first, *others = sorted((self._postings[key].slots for key in keys), key=len)
        for held in others:
            first = first[find(first, held)[1]]
        return first[self._entries.alive[first]]

    def _frequency(self, key: str) -> int:
        posting = self._postings.get(key)
        return posting.living(self._entries) if posting else 0

    def _rarity(self, holding: int) -> float:
        return math.log1p((self._entries.size - holding + 0.5) / (holding + 0.5))

    def save(self, path: Path) -> None:
        """Write one file: NumPy arrays, no pickles, without the dead."""
        with self._lock:
            self._compact()
            saved.write(path, self._entries, self._postings)

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file.

        Raises:
            DamagedGeneration: The file is not one that `save` wrote.
        """
        entries, postings = saved.read(path)
        with self._lock:
            self._take(entries, postings)

    def _take(self, entries: Entries, postings: Mapping[str, Posting]) -> None:
        self._entries = entries
        self._postings = defaultdict(Posting, postings)
        self._renumberings += 1

    def _compact_if_due(self) -> None:
        if self._entries.deaths > _DEAD_SHARE * self._entries.slots:
            self._compact()

    def _compact(self) -> None:
        """Number the living slots anew, without gaps, and forget the dead."""
        if not self._entries.deaths:
            return
        entries, moved = self._entries.renumbered()
        renumbered = {key: old.renumbered(moved) for key, old in self._postings.items()}
        self._take(entries, {key: new for key, new in renumbered.items() if new})
