"""BM25 over our own key streams, in memory; docs/decisions/0003-own-bm25.md says why."""

import math
import threading
import zipfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import DamagedGeneration
from app.domain.ports import Ids, Scores

# Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section
# 3.2, give k1 in 1.2 to 2 and b in 0.5 to 0.8; on xquad_ru and xquad_en these were the best.
K1 = 1.2
B = 0.75

_DEAD_SHARE = 0.25  # above, the dead are cleared away
_EMPTY = array("i")


class Bm25Index:
    """Exact BM25 with Lucene's idf, ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative.

    Each entry has a slot; each key a list of (slot, frequency) pairs. A removed or replaced entry
    leaves a dead slot, which counts in no statistic, until the dead are more than a quarter.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._ids = array("q")
        self._lengths = array("i")
        self._alive = bytearray()
        self._slots: dict[int, int] = {}
        self._total_length = 0  # of the living
        self._postings: defaultdict[str, array[int]] = defaultdict(_no_postings)

    @property
    def size(self) -> int:
        """How many entries it holds."""
        return len(self._slots)

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        with self._lock:
            return np.sort(np.fromiter(self._slots, np.int64, len(self._slots)))

    def best_possible(self, keys: Sequence[str]) -> float:
        """Return a score that no entry can exceed for these keys, to calibrate scores by.

        An entry would have it that held each key without end. A key that no entry holds weighs
        most, so that a question about foreign matters scores low against it.
        """
        with self._lock:
            alive = np.frombuffer(self._alive, np.bool_)
            return sum(
                repeats * self._weight(self._posting(key)[0], alive)
                for key, repeats in Counter(keys).items()
            )

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        """Add or replace int64 (n,) ids with their key streams."""
        assert ids.dtype == np.int64 and ids.shape == (len(keys),)
        with self._lock:
            for entry, stream in zip(ids.tolist(), keys, strict=True):
                self._kill(entry)
                slot = len(self._ids)
                self._slots[entry] = slot
                self._ids.append(entry)
                self._lengths.append(len(stream))
                self._total_length += len(stream)
                self._alive.append(True)
                for key, frequency in Counter(stream).items():
                    self._postings[key].extend((slot, frequency))
            self._compact_if_due()

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        with self._lock:
            for entry in ids.tolist():
                self._kill(entry)
            self._compact_if_due()

    def search(self, keys: Sequence[str], k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the at most k best ids that hold one of the keys, best first, ties by ascending id.

        Args:
            keys: The question's key stream; a key that stands twice counts twice.
            k: How many; at least 1.
            allowed: Sorted int64 (m,): only these ids may be found. None allows all. Statistics are
                those of all living entries in any case.

        Returns:
            ids int64 (n,), BM25 scores float32 (n,), n <= k.
        """
        assert k >= 1
        assert allowed is None or allowed.dtype == np.int64
        with self._lock:
            if not self._slots:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            ids = np.frombuffer(self._ids, np.int64)
            alive = np.frombuffer(self._alive, np.bool_)
            reachable = alive if allowed is None else alive & np.isin(ids, allowed)
            scores = self._score(keys, alive, reachable)
            return _best(ids, scores, k)

    def _score(
        self, keys: Sequence[str], alive: NDArray[np.bool_], reachable: NDArray[np.bool_]
    ) -> Scores:
        """Return the score of each slot, float32 (slots,); 0 where nothing matches or may."""
        mean = max(self._total_length / len(self._slots), 1.0)
        norms = np.frombuffer(self._lengths, np.int32).astype(np.float32)
        norms *= np.float32(K1 * B / mean)
        norms += np.float32(K1 * (1 - B))
        all_reachable = bool(reachable.all())
        scores = np.zeros(len(alive), np.float32)
        for key, repeats in Counter(keys).items():
            slots, frequencies = self._posting(key)
            weight = np.float32(repeats * self._weight(slots, alive))
            if not all_reachable:
                kept = reachable[slots]
                slots, frequencies = slots[kept], frequencies[kept]
            frequencies /= norms[slots] + frequencies
            scores[slots] += frequencies * weight
        return scores

    def _posting(self, key: str) -> tuple[NDArray[np.intp], Scores]:
        """Return the slots that hold the key, the dead too, and the frequencies as float32."""
        pairs = np.frombuffer(self._postings.get(key, _EMPTY), np.int32).reshape(-1, 2)
        return pairs[:, 0].astype(np.intp), pairs[:, 1].astype(np.float32)

    def _weight(self, slots: NDArray[np.intp], alive: NDArray[np.bool_]) -> float:
        """Return idf * (k1 + 1): what a key adds to an entry that holds it without end."""
        entries = len(self._slots)
        holding = len(slots) if entries == len(alive) else np.count_nonzero(alive[slots])
        return math.log1p((entries - holding + 0.5) / (holding + 0.5)) * (K1 + 1)

    def save(self, path: Path) -> None:
        """Write one file: NumPy arrays, no pickles, without the dead."""
        with self._lock, path.open("wb") as file:
            self._compact()
            keys = [key.encode() for key in self._postings]
            np.savez(
                file,
                ids=np.frombuffer(self._ids, np.int64),
                lengths=np.frombuffer(self._lengths, np.int32),
                keys=np.frombuffer(b"".join(keys), np.uint8),
                key_sizes=np.array([len(key) for key in keys], np.int64),
                postings=np.frombuffer(b"".join(self._postings.values()), np.int32),
                posting_sizes=np.array([len(pairs) for pairs in self._postings.values()], np.int64),
            )

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file.

        Raises:
            DamagedGeneration: The file is not one that `save` wrote.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                ids, lengths = file["ids"], file["lengths"]
                letters, pairs = file["keys"].tobytes(), file["postings"].tobytes()
                letter_ends = np.cumsum(file["key_sizes"]).tolist()
                pair_ends = (np.cumsum(file["posting_sizes"]) * np.int32().itemsize).tolist()
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise DamagedGeneration(f"{path} is no lexical index: {error}") from error
        with self._lock:
            self._clear()
            self._ids.frombytes(ids.tobytes())
            self._lengths.frombytes(lengths.tobytes())
            self._alive.extend(b"\1" * len(ids))
            self._slots.update(zip(self._ids, range(len(ids)), strict=True))
            self._total_length = sum(self._lengths)
            letter = pair = 0
            for letter_end, pair_end in zip(letter_ends, pair_ends, strict=True):
                postings = self._postings[letters[letter:letter_end].decode()]
                postings.frombytes(pairs[pair:pair_end])
                letter, pair = letter_end, pair_end

    def _kill(self, entry: int) -> None:
        slot = self._slots.pop(entry, None)
        if slot is not None:
            self._alive[slot] = False
            self._total_length -= self._lengths[slot]

    def _compact_if_due(self) -> None:
        dead = len(self._ids) - len(self._slots)
        if dead > _DEAD_SHARE * len(self._ids):
            self._compact()

    def _compact(self) -> None:
        """Number the living slots anew, without gaps, and forget the dead."""
        if len(self._slots) == len(self._ids):
            return
        alive = np.frombuffer(self._alive, np.bool_)
        moved = np.cumsum(alive, dtype=np.int32) - 1
        postings = self._postings
        ids, lengths = np.frombuffer(self._ids, np.int64), np.frombuffer(self._lengths, np.int32)
        self._clear()
        self._ids.frombytes(ids[alive].tobytes())
        self._lengths.frombytes(lengths[alive].tobytes())
        self._alive.extend(b"\1" * len(self._ids))
        self._slots.update(zip(self._ids, range(len(self._ids)), strict=True))
        self._total_length = sum(self._lengths)
        for key, old in postings.items():
            pairs = np.frombuffer(old, np.int32).reshape(-1, 2)
            kept = pairs[alive[pairs[:, 0]]]
            if len(kept):
                kept[:, 0] = moved[kept[:, 0]]
                self._postings[key].frombytes(kept.tobytes())


def _no_postings() -> "array[int]":
    return array("i")


def _best(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """Return the k best of those above 0, best first, equal scores by ascending id."""
    found = np.flatnonzero(scores)
    if len(found) > k:
        least = np.partition(scores[found], -k)[-k]
        found = found[scores[found] >= least]
    order = np.lexsort((ids[found], -scores[found]))[:k]
    found = found[order]
    return ids[found], scores[found]
