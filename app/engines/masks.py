"""Which rows of an index a filter lets through, worked out once for each filter."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Ids


@dataclass(frozen=True)
class Reach:
    """The rows that a search may find.

    Args:
        mask: bool (rows,), read-only.
    """

    mask: NDArray[np.bool_]

    @cached_property
    def count(self) -> int:
        """How many rows that is."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Their numbers, ascending: eight bytes each, so ask only where they are few."""
        return np.flatnonzero(self.mask)


class AllowedMasks:
    """The reaches of the last few filters. Thread-safe.

    An array is known again by its identity, for comparing would cost as much as a new mask. It is
    kept as long as its reach, so that no other array can take its identity meanwhile.
    """

    def __init__(self, most: int = 64) -> None:
        """Remember at most so many reaches."""
        self._most = most
        self._lock = threading.Lock()
        self._change = -1
        self._known: OrderedDict[int, tuple[Ids, Reach]] = OrderedDict()

    def reach(self, allowed: Ids, row_ids: Ids, change: int) -> Reach:
        """Return which rows hold an allowed id.

        Args:
            allowed: Sorted int64 (m,), never changed afterwards.
            row_ids: int64 (rows,), the id of each row.
            change: A number that differs whenever `row_ids` differ; with it all is forgotten.
        """
        with self._lock:
            if change != self._change:
                self._known.clear()
                self._change = change
            if id(allowed) in self._known:
                self._known.move_to_end(id(allowed))
                return self._known[id(allowed)][1]
            mask = np.isin(row_ids, allowed)
            mask.flags.writeable = False
            reach = Reach(mask)
            self._known[id(allowed)] = allowed, reach
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return reach
