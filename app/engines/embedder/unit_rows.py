"""The form that every embedder's vectors leave in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Vectors


def unit_rows(raw: NDArray[Any]) -> Vectors:
    """Return float32 (n, dim) with rows L2-normalised; a row of zeros becomes the first axis."""
    rows = raw.astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows[norms[:, 0] == 0, 0] = 1
    norms[norms == 0] = 1
    unit: Vectors = rows / norms
    return unit
