"""Who holds a key."""

from array import array

import numpy as np
from numpy.typing import NDArray

from app.engines.lexical.entries import Entries, Slots

Frequencies = NDArray[np.uint16]

_MOST_FREQUENT = np.iinfo(np.uint16).max
_NO_SLOTS, _NO_FREQUENCIES = np.empty(0, np.int32), np.empty(0, np.uint16)


class Posting:
    """The slots of the entries that hold a key, ascending, the dead too, and how often they do.

    It remembers what it has counted, so that the next search counts only what is new.
    """

    __slots__ = ("_ceiling", "_counted", "_dead", "_deaths", "_frequencies", "_high_mean", "_slots")

    def __init__(
        self, slots: Slots = _NO_SLOTS, frequencies: Frequencies = _NO_FREQUENCIES
    ) -> None:
        """Take int32 (n,) slots, ascending, and uint16 (n,) frequencies; none to begin with."""
        self._slots = array("i", slots.tobytes())
        self._frequencies = array("H", frequencies.tobytes())
        self._dead = self._deaths = 0
        self._ceiling = self._high_mean = 0.0
        self._counted = 0

    @property
    def slots(self) -> Slots:
        """int32 (n,): a look into memory that may move when an entry is added."""
        return np.frombuffer(self._slots, np.int32)

    @property
    def frequencies(self) -> Frequencies:
        """uint16 (n,): a look into memory that may move when an entry is added."""
        return np.frombuffer(self._frequencies, np.uint16)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: int, frequency: int) -> None:
        """Add a slot above all others; a frequency above 65,535 counts as that."""
        self._slots.append(slot)
        self._frequencies.append(min(frequency, _MOST_FREQUENT))

    def renumbered(self, moved: Slots) -> "Posting | None":
        """Return it with the slots `moved[slot]`, without those below 0; None if none is left."""
        slots = moved[self.slots]
        kept = slots >= 0
        return Posting(slots[kept], self.frequencies[kept]) if kept.any() else None

    def living(self, entries: Entries) -> int:
        """How many of them live."""
        if self._deaths != entries.deaths:
            self._deaths = entries.deaths
            self._dead = len(self._slots) - int(np.count_nonzero(entries.alive[self.slots]))
        return len(self._slots) - self._dead

    def ceiling(self, entries: Entries) -> float:
        """Return a number that frequency / (frequency + norm) is above for none of them."""
        if self._high_mean != entries.high_mean:
            self._high_mean = entries.high_mean
            self._counted, self._ceiling = 0, 0.0
        if self._counted < len(self._slots):
            frequencies = self.frequencies[self._counted :]
            low_norms = entries.low_norms(self.slots[self._counted :])
            highest = (frequencies / (frequencies + low_norms)).max()
            self._ceiling = max(self._ceiling, float(highest))
            self._counted = len(self._slots)
        return self._ceiling


def find(slots: Slots, held: Slots) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Look up ascending slots in those that hold a key, of which there is at least one.

    Returns:
        Places intp (n,) in `held`, and whether the slot is there: bool (n,).
    """
    places = held.searchsorted(slots)
    np.minimum(places, len(held) - 1, out=places)
    return places, held[places] == slots
