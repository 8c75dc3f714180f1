"""Exact vector search in memory with FAISS."""

import threading
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from app.domain.errors import ConfigurationError, DamagedGeneration
from app.domain.ports import Ids, Scores, Vectors

faiss: Any = _faiss  # its type stubs know neither selectors nor get_xb

_SPARE = 16  # rows fetched beyond k, so that ties seldom need a second look
_FUZZ = np.float32(1e-5)  # how far float32 sums of one product may lie apart, for unit vectors
_GPU_MOST = 2048  # the largest k of FAISS on GPU
_GPU_LEAST_SHARE = 0.05  # of allowed rows; where fewer are allowed, the CPU looks at just those


class FaissIndex:
    """Inner-product search that looks at every allowed vector: recall is 1 by construction.

    FAISS proposes rows; their scores are computed anew in float64, for FAISS gives equal vectors
    scores that differ in the last bit, by their place in memory. So equal vectors tie, and the
    answer does not depend on the order of additions.
    """

    def __init__(self, dimension: int, device: str = "auto") -> None:
        """Make an empty index.

        Args:
            dimension: Length of the vectors.
            device: `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU that FAISS can use, if any.

        Raises:
            ConfigurationError: A GPU is asked for and FAISS has none.
        """
        self._lock = threading.Lock()
        self._dimension = dimension
        self._gpu = _pick_gpu(device)
        self._gpu_resources: Any = None
        self._take(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)))

    def _take(self, index: Any) -> None:
        self._index = index
        self._flat = faiss.downcast_index(index.index)
        self._refresh()

    def _refresh(self) -> None:
        """Learn the ids and vectors in row order again; FAISS has moved them."""
        self._row_ids: Ids = faiss.vector_to_array(self._index.id_map)
        count = len(self._row_ids)
        vectors = faiss.rev_swig_ptr(self._flat.get_xb(), count * self._dimension)
        self._vectors: Vectors = vectors.reshape(count, self._dimension)
        self._on_gpu: Any = None

    @property
    def size(self) -> int:
        """How many vectors it holds."""
        return len(self._row_ids)

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        with self._lock:
            return np.sort(self._row_ids)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add or replace int64 (n,) ids with float32 (n, dim) rows; of a repeated id the last."""
        assert ids.dtype == np.int64
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(ids), self._dimension)
        if not len(ids):
            return
        unique, from_the_end = np.unique(ids[::-1], return_index=True)
        with self._lock:
            self._drop(unique)
            last = len(ids) - 1 - from_the_end
            self._index.add_with_ids(np.ascontiguousarray(vectors[last]), unique)
            self._refresh()

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        assert ids.dtype == np.int64
        with self._lock:
            self._drop(ids)
            self._refresh()

    def _drop(self, ids: Ids) -> None:
        present = np.ascontiguousarray(ids[np.isin(ids, self._row_ids)])
        if len(present):
            self._index.remove_ids(faiss.IDSelectorBatch(present))

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the k best ids for each query, best first, equal scores by ascending id.

        Args:
            queries: float32 (q, dim).
            k: How many; at least 1.
            allowed: Sorted int64 (m,): only these ids may be found. None allows all.

        Returns:
            ids int64 (q, k) and scores float32 (q, k); where fewer are found, id -1 and score -inf.
        """
        assert k >= 1
        assert queries.dtype == np.float32
        assert queries.ndim == 2
        assert queries.shape[1] == self._dimension
        ids = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        # OpenMP keeps its thread count per calling thread, so it is set in each call.
        faiss.omp_set_num_threads(1)
        with self._lock:
            permitted = None if allowed is None else np.isin(self._row_ids, allowed)
            reachable = self.size if permitted is None else int(np.count_nonzero(permitted))
            for number, query in enumerate(queries):
                rows, exact = self._best(query, min(k, reachable), reachable, permitted)
                ids[number, : len(rows)] = self._row_ids[rows]
                scores[number, : len(rows)] = exact
        return ids, scores

    def _best(
        self, query: Vectors, k: int, reachable: int, permitted: NDArray[np.bool_] | None
    ) -> tuple[Ids, Scores]:
        """Return the k best rows of a query float32 (dim,) in order, and their scores."""
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        count = k + _SPARE
        while True:
            count = min(count, reachable)
            rows, rough = self._propose(query, count, permitted)
            # All that may tie with the k-th are in, once the last one is clearly worse.
            if count == reachable or rough[-1] < rough[k - 1] - 2 * _FUZZ:
                break
            count *= 2
        exact = (self._vectors[rows].astype(np.float64) * query).sum(axis=1).astype(np.float32)
        order = np.lexsort((self._row_ids[rows], -exact))[:k]
        return rows[order], exact[order]

    def _propose(
        self, query: Vectors, count: int, permitted: NDArray[np.bool_] | None
    ) -> tuple[Ids, Scores]:
        """Return `count` rows in FAISS's order; so many are permitted for sure."""
        if self._gpu is not None:
            found = self._propose_on_gpu(query, count, permitted)
            if found is not None:
                return found
        parameters = None
        if permitted is not None:
            # The bitmap is of rows; FAISS keeps no reference to it, this frame does.
            bitmap = np.packbits(permitted, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        scores, rows = self._flat.search(query[None], count, params=parameters)
        return rows[0], scores[0]

    def _propose_on_gpu(
        self, query: Vectors, count: int, permitted: NDArray[np.bool_] | None
    ) -> tuple[Ids, Scores] | None:
        """Search a copy on the GPU; None where the CPU, which holds the same, must do it.

        FAISS on GPU has ignored selectors in silence (issues 3924 and 3114), so it never gets one:
        it finds more than asked for, and what is not permitted is left out here.

        This part has never run: no GPU was at hand when it was written. The contract suite runs
        over it by itself where FAISS sees a GPU.
        """
        if count > _GPU_MOST or (permitted is not None and permitted.mean() < _GPU_LEAST_SHARE):
            return None
        if self._on_gpu is None:
            self._gpu_resources = self._gpu_resources or faiss.StandardGpuResources()
            self._on_gpu = faiss.index_cpu_to_gpu(self._gpu_resources, self._gpu, self._flat)
        fetched = count if permitted is None else min(self.size, _GPU_MOST)
        all_scores, all_rows = self._on_gpu.search(query[None], fetched)
        scores, rows = all_scores[0], all_rows[0]
        if permitted is not None:
            kept = permitted[rows]
            scores, rows = scores[kept][:count], rows[kept][:count]
        return (rows, scores) if len(rows) == count else None

    def save(self, path: Path) -> None:
        """Write one file."""
        with self._lock:
            faiss.write_index(self._index, str(path))

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file.

        FAISS notices little of a file's damage: check its sum first.

        Raises:
            DamagedGeneration: The file is not one that `save` wrote for this dimension.
        """
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise DamagedGeneration(f"{path} is no vector index: {error}") from error
        if not isinstance(index, faiss.IndexIDMap2) or index.d != self._dimension:
            raise DamagedGeneration(f"{path} is no flat index of {self._dimension} dimensions")
        with self._lock:
            self._take(index)


def _pick_gpu(device: str) -> int | None:
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
    return wanted if available else None
