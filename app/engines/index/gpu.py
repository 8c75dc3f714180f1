"""A copy of the vectors on a GPU, for the first quick look."""

from typing import Any

import faiss as _faiss
import numpy as np

from app.domain.errors import ConfigurationError
from app.domain.ports import Vectors
from app.engines.index.proposals import Proposals
from app.engines.masks import Reach

faiss: Any = _faiss  # faiss-cpu has none of the GPU names

_MOST = 2048  # the largest k of FAISS on GPU
_LEAST_SHARE = 0.05  # of reachable rows; where fewer may be found, the CPU looks at just those
_ERROR = 2e-3  # rows and queries are rounded to float16, 2^-11 each; the rest is for TF32 sums


class GpuCopy:
    """A flat float16 copy; it is made anew for the first search after a change.

    This has never run: no GPU was at hand when it was written. The contract suite runs over it
    where FAISS sees a GPU, and `python -m benchmarks.gpu.faiss_gpu` compares it with the CPU.
    """

    def __init__(self, number: int) -> None:
        """Use the GPU of this number."""
        self._number = number
        self._resources: Any = faiss.StandardGpuResources()
        self._index: Any = None

    def forget(self) -> None:
        """The rows have changed."""
        self._index = None

    def propose(
        self, queries: Vectors, count: int, reach: Reach | None, vectors: Vectors
    ) -> Proposals | None:
        """Search float32 (q, dim) among the rows `vectors`; None where the CPU must do it.

        FAISS on GPU has ignored selectors in silence (issues 3924 and 3114), so it never gets one:
        it finds more than asked for, and what may not be found is left out here.
        """
        if count > _MOST or (reach is not None and reach.count < _LEAST_SHARE * len(vectors)):
            return None
        if self._index is None:
            self._index = self._copy(vectors)
        fetched = count if reach is None else min(len(vectors), _MOST)
        rough, rows = self._index.search(np.ascontiguousarray(queries), fetched)
        if reach is not None:
            kept = reach.mask[rows]
            if np.any(kept.sum(axis=1) < count):
                return None
            first = np.argsort(~kept, axis=1, kind="stable")[:, :count]
            rough, rows = np.take_along_axis(rough, first, 1), np.take_along_axis(rows, first, 1)
        return Proposals(rows.astype(np.int64), rough, _ERROR)

    def _copy(self, vectors: Vectors) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.device = self._number
        config.useFloat16 = True
        index = faiss.GpuIndexFlatIP(self._resources, vectors.shape[1], config)
        index.add(vectors)
        return index


def pick_gpu(device: str) -> GpuCopy | None:
    """Return a copy on the GPU that `device` names (see FaissIndex), None for the CPU.

    Raises:
        ConfigurationError: A GPU is asked for and FAISS has none.
    """
    if device == "cpu":
        return None
    available = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    kind, _, number = device.partition(":")
    wanted = int(number or 0)
    if kind not in ("auto", "cuda") or (kind == "cuda" and wanted >= available):
        raise ConfigurationError(
            f"device {device!r} is not to be had: FAISS sees {available} GPUs; install the `gpu` "
            "extra, or set OPORA_EMBEDDER__DEVICE to `cpu`"
        )
    return GpuCopy(wanted) if available else None
