"""The vector index: exact vectors, and FAISS to know which of them to look at."""

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from app.domain.errors import DamagedGeneration
from app.domain.ports import Ids, Scores, Vectors
from app.engines.index import lists as inverted
from app.engines.index.gpu import pick_gpu
from app.engines.index.proposals import Proposals, RowNumbers
from app.engines.index.rows import Rows, no_rows
from app.engines.masks import AllowedMasks, Reach

faiss: Any = _faiss  # its type stubs know little

_SPARE = 16  # rows proposed beyond k, so that few searches need a second look
_FEW = 8192  # rows that are cheaper scanned one by one than picked out of all by a selector

_RECALL_AT = 10
_GOOD_RECALL = 0.995  # of the sample, so that other questions have 0.99 too
_SAMPLE = 256
_DRIFT = 3.0  # questions lie far from passages: nearest at 0.3 to 0.4 with the default embedder
_SEED = 7
_EQUAL = 1e-6


class FaissIndex:
    """Inner-product search over L2-normalised vectors, exact or nearly so.

    A quick structure (one float16 list, many SQ8 lists, or a copy on a GPU) proposes rows for each
    query; the proposed are ranked by their exact vectors. The error of a proposal's score is known,
    so a search goes on until none that was left out can belong to the k best. With one list the
    result is therefore the true one; with many lists it is the true one of the lists looked at.
    """

    def __init__(self, dimension: int, device: str = "auto", exact_up_to: int = 100_000) -> None:
        """Make an empty index.

        Args:
            dimension: Length of the vectors.
            device: `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU that FAISS can use, if any.
            exact_up_to: The number of vectors above which `optimise` makes many lists.

        Raises:
            ConfigurationError: A GPU is asked for and FAISS has none.
        """
        self._lock = threading.Lock()
        self._dimension = dimension
        self._exact_up_to = exact_up_to
        self._gpu = pick_gpu(device)
        self._masks = AllowedMasks()
        self._change = 0
        self._rows = no_rows(dimension)
        self._lists = inverted.one_list(self._rows.vectors)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let in one thread at a time; OpenMP keeps its thread count per calling thread."""
        faiss.omp_set_num_threads(1)
        with self._lock:
            yield

    def _changed(self) -> None:
        self._change += 1
        if self._gpu is not None:
            self._gpu.forget()

    @property
    def size(self) -> int:
        """How many vectors it holds."""
        return self._rows.size

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        with self._lock:
            return np.sort(self._rows.ids)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add or replace int64 (n,) ids with float32 (n, dim) rows; of a repeated id the last."""
        assert ids.dtype == np.int64
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(ids), self._dimension)
        unique, from_the_end = np.unique(ids[::-1], return_index=True)
        last = vectors[len(ids) - 1 - from_the_end]
        with self._alone():
            self._lists.put(self._rows.put(unique, last), last)
            self._changed()

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        assert ids.dtype == np.int64
        with self._alone():
            gone, moved = self._rows.remove(ids)
            self._lists.drop(gone)
            self._lists.put(moved, self._rows.vectors[moved])
            self._changed()

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the k best ids for each query, best first, equal scores by ascending id.

        Args:
            queries: float32 (q, dim), rows L2-normalised.
            k: How many; at least 1.
            allowed: Sorted int64 (m,), never changed afterwards: only these ids may be found. None
                allows all.

        Returns:
            ids int64 (q, k) and scores float32 (q, k); where fewer are found, id -1 and score -inf.
        """
        assert k >= 1
        assert queries.dtype == np.float32
        assert queries.ndim == 2
        assert queries.shape[1] == self._dimension
        with self._alone():
            reach = None
            if allowed is not None:
                reach = self._masks.reach(allowed, self._rows.ids, self._change)
            rows, scores = self._find(queries, k, reach)
            ids = np.full(rows.shape, -1, np.int64)
            ids[rows >= 0] = self._rows.ids[rows[rows >= 0]]
        return ids, scores

    def similarities(self, query: Vectors, ids: Ids) -> Scores:
        """Return the exact inner product of a float32 (dim,) query with each of int64 (n,) ids.

        float32 (n,), -inf for an id that it does not hold.
        """
        assert query.shape == (self._dimension,)
        with self._lock:
            return self._rows.similarities(query, ids)

    def _find(self, queries: Vectors, k: int, reach: Reach | None) -> tuple[RowNumbers, Scores]:
        """Return rows int64 (q, k) and scores float32 (q, k), filled up with -1 and -inf."""
        best = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        reachable = self.size if reach is None else reach.count
        k = min(k, reachable)
        unsettled = np.arange(len(queries) if k else 0)
        count = k + _SPARE
        while len(unsettled):
            count = min(count, reachable)
            proposals = self._propose(queries[unsettled], count, reach)
            settled = proposals.settled(k) | (count == reachable)
            for place in np.flatnonzero(settled):
                number, rows = unsettled[place], proposals.rows[place]
                ranked = self._rows.rank(queries[number], rows[rows >= 0], k)
                best[number, :k], scores[number, :k] = ranked
            unsettled = unsettled[~settled]
            count *= 2
        return best, scores

    def _propose(self, queries: Vectors, count: int, reach: Reach | None) -> Proposals:
        """Return the `count` best rows by a rough score; so many may be found for sure."""
        if reach is not None and reach.count <= _FEW:
            return self._rows.scan(queries, count, reach.rows)
        if self._gpu is not None:
            found = self._gpu.propose(queries, count, reach, self._rows.vectors)
            if found is not None:
                return found
        return self._lists.propose(queries, count, reach)

    def optimise(self) -> float:
        """Make one list up to `exact_up_to` vectors, else many, and look at enough of them.

        It takes seconds per 100,000 vectors, in which nobody else is let in.

        Returns:
            recall@10 against the exact search, measured on a sample; 1.0 where all is exact.
        """
        with self._alone():
            vectors, ids = self._rows.vectors, self._rows.ids
            if self.size <= self._exact_up_to:
                if not self._lists.exact:
                    self._lists = inverted.one_list(vectors)
                return 1.0
            self._lists = inverted.many_lists(vectors, ids)
            queries = self._questions()
            depth = min(_RECALL_AT, self.size)
            truth = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)[0]
            while True:
                recall = self._recall(queries, truth)
                if recall >= _GOOD_RECALL or not self._lists.probe_more():
                    return recall

    def _questions(self) -> Vectors:
        """Return vectors to measure with: a sample of the rows, pushed far away at random.

        A row itself, or a vector near it, would find its neighbours in fewer lists than a real
        question does.
        """
        rows = self._rows.vectors[inverted.sample(self._rows.ids, _SAMPLE)]
        drift = np.random.default_rng(_SEED).standard_normal(rows.shape).astype(np.float32)
        mixed = rows + _DRIFT * drift / np.linalg.norm(drift, axis=1, keepdims=True)
        questions: Vectors = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        return questions

    def _recall(self, queries: Vectors, truth: Scores) -> float:
        """Return the share of the true scores float32 (q, n) that a search reaches."""
        scores = self._find(queries, truth.shape[1], None)[1]
        return float(np.mean(scores >= truth[:, -1:] - _EQUAL))

    def save(self, path: Path) -> None:
        """Write one file: NumPy arrays, no pickles; one list is made anew by `load`."""
        with self._lock, path.open("wb") as file:
            lists = np.empty(0, np.uint8) if self._lists.exact else self._lists.to_bytes()
            np.savez(file, ids=self._rows.ids, vectors=self._rows.vectors, lists=lists)

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file.

        Little of a file's damage is noticed: check its sum first.

        Raises:
            DamagedGeneration: The file is not one that `save` wrote for this dimension.
        """
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                ids, vectors, lists = file["ids"], file["vectors"], file["lists"]
        except (OSError, zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise DamagedGeneration(f"{path} is no vector index: {error}") from error
        if vectors.shape != (len(ids), self._dimension):
            raise DamagedGeneration(f"{path} is no index of {self._dimension} dimensions")
        with self._alone():
            self._rows = Rows(ids, vectors)
            self._lists = (
                inverted.from_bytes(lists, len(ids), self._dimension)
                if len(lists)
                else inverted.one_list(vectors)
            )
            self._changed()
