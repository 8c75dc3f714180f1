"""Rough answers that hold the exact one: what a quick search hands to the ranking."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Scores

RowNumbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proposals:
    """The best rows by a rough score, best first.

    Args:
        rows: int64 (q, count); -1 where fewer were found.
        rough: float32 (q, count).
        error: How far a rough score may lie from the true one, for unit vectors.
    """

    rows: RowNumbers
    rough: Scores
    error: float

    def settled(self, k: int) -> NDArray[np.bool_]:
        """Tell for each query, bool (q,), whether the k best and all their ties must be in.

        They are once the last proposal is worse than the k-th by more than both can be wrong; what
        was not proposed is no better than the last.
        """
        clear: NDArray[np.bool_] = self.rough[:, -1] < self.rough[:, k - 1] - 2 * self.error
        return clear & (self.rows[:, k - 1] >= 0)
