"""The entries of the lexical index: their ids, lengths and which of them live."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Ids, Scores

Slots = NDArray[np.int32]

# Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section
# 3.2, give k1 in 1.2 to 2 and b in 0.5 to 0.8; on xquad_ru and xquad_en these were the best.
K1 = 1.2
B = 0.75

_HEADROOM = 1.05  # how far the mean length may grow before all ceilings are worked out anew


class Entries:
    """Each entry has a slot, in the order of arrival; one that is replaced or removed dies there.

    The dead count in no statistic, and their norms are infinite, so that they score nothing.
    """

    def __init__(self, ids: Sequence[int] = (), lengths: Sequence[int] = ()) -> None:
        self._ids = array("q", ids)
        self._lengths = array("i", lengths)
        self._alive = bytearray(b"\1" * len(ids))
        self._slots = dict(zip(self._ids, range(len(ids)), strict=True))
        self._total_length = sum(lengths)
        self._norms: Scores | None = None
        self._high_mean = 0.0

    @property
    def size(self) -> int:
        """How many live."""
        return len(self._slots)

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return len(self._ids)

    @property
    def deaths(self) -> int:
        """How many slots are dead."""
        return len(self._ids) - len(self._slots)

    @property
    def living_ids(self) -> Ids:
        """Sorted int64 (size,)."""
        return np.sort(np.fromiter(self._slots, np.int64, len(self._slots)))

    def slots_of(self, ids: Ids) -> Slots:
        """The slot of each of int64 (n,) ids: int32 (n,), -1 for the unknown."""
        return np.array([self._slots.get(entry, -1) for entry in ids.tolist()], np.int32)

    # These three look into memory that may move when an entry is added: let go of them before.

    @property
    def ids(self) -> Ids:
        """int64 (slots,), of the dead too."""
        return np.frombuffer(self._ids, np.int64)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """How many keys each entry's stream has: int32 (slots,)."""
        return np.frombuffer(self._lengths, np.int32)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Whether each lives: bool (slots,)."""
        return np.frombuffer(self._alive, np.bool_)

    def add(self, entry: int, length: int) -> int:
        """Add or replace an entry and return its slot."""
        self.remove(entry)
        slot = len(self._ids)
        self._slots[entry] = slot
        self._ids.append(entry)
        self._lengths.append(length)
        self._alive.append(True)
        self._total_length += length
        self._norms = None
        return slot

    def remove(self, entry: int) -> None:
        """Let an entry die; an unknown one is ignored."""
        slot = self._slots.pop(entry, None)
        if slot is not None:
            self._alive[slot] = False
            self._total_length -= self._lengths[slot]
            self._norms = None

    def renumbered(self) -> tuple["Entries", Slots]:
        """Return the living alone, and the new number of each old slot, -1 for the dead."""
        alive = self.alive
        moved = np.where(alive, np.cumsum(alive, dtype=np.int32) - 1, -1).astype(np.int32)
        return Entries(self.ids[alive].tolist(), self.lengths[alive].tolist()), moved

    @property
    def norms(self) -> Scores:
        """BM25's k1 * (1 - b + b * length / mean length): float32 (slots,), a copy."""
        if self._norms is None:
            self._norms = _norms(self.lengths, self._mean)
            if self.deaths:
                self._norms[~self.alive] = np.inf
        return self._norms

    @property
    def high_mean(self) -> float:
        """A mean length that is seldom replaced; the true mean is never above it."""
        if not self._mean <= self._high_mean <= self._mean * _HEADROOM**2:
            self._high_mean = self._mean * _HEADROOM
        return self._high_mean

    def low_norms(self, slots: Slots) -> Scores:
        """Return norms that these slots never come below while `high_mean` stays."""
        return _norms(self.lengths[slots], self.high_mean)

    @property
    def _mean(self) -> float:
        return max(self._total_length / max(self.size, 1), 1.0)


def _norms(lengths: NDArray[np.int32], mean: float) -> Scores:
    norms = lengths.astype(np.float32)
    norms *= np.float32(K1 * B / mean)
    norms += np.float32(K1 * (1 - B))
    return norms
