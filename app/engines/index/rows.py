"""The exact vectors under their ids, in rows without gaps."""

from typing import Any, TypeVar

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Ids, Scores, Vectors
from app.engines.index.proposals import Proposals, RowNumbers

faiss: Any = _faiss  # its type stubs lack the functions over pointers

Kind = TypeVar("Kind", bound=np.generic)

_GROWTH = 1.25
_SUM_ERROR = 1e-5  # how far float32 sums of one product may lie from it, for unit vectors


class Rows:
    """Vectors in one block of memory. Where a row is taken out, one from the end moves into it."""

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        """Take over unique int64 (n,) ids and float32 (n, dim) vectors."""
        self._size = len(ids)
        self._ids = ids
        self._vectors = vectors
        self._row_of = dict(zip(ids.tolist(), range(len(ids)), strict=True))

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self._size

    @property
    def ids(self) -> Ids:
        """The id of each row: int64 (size,), good until the next change."""
        return self._ids[: self._size]

    @property
    def vectors(self) -> Vectors:
        """The rows: float32 (size, dim), good until the next change."""
        return self._vectors[: self._size]

    def put(self, ids: Ids, vectors: Vectors) -> RowNumbers:
        """Add or overwrite unique int64 (n,) ids; return the row of each."""
        rows = np.empty(len(ids), np.int64)
        for place, entry in enumerate(ids.tolist()):
            rows[place] = self._row_of.setdefault(entry, len(self._row_of))
        self._size = len(self._row_of)
        if self._size > len(self._ids):
            capacity = int(self._size * _GROWTH)
            self._ids = _longer(self._ids, capacity)
            self._vectors = _longer(self._vectors, capacity)
        self._ids[rows] = ids
        self._vectors[rows] = vectors
        return rows

    def remove(self, ids: Ids) -> tuple[RowNumbers, RowNumbers]:
        """Take out int64 (n,) ids; unknown ones are ignored.

        Returns:
            The rows that are no more, and the rows that hold another vector now.
        """
        found = [self._row_of.pop(entry, -1) for entry in ids.tolist()]
        gone = np.unique(np.array([row for row in found if row >= 0], np.int64))
        end = np.arange(self._size - len(gone), self._size, dtype=np.int64)
        self._size -= len(gone)
        holes = gone[gone < self._size]
        movers = np.setdiff1d(end, gone, assume_unique=True)
        self._ids[holes] = self._ids[movers]
        self._vectors[holes] = self._vectors[movers]
        self._row_of.update(zip(self._ids[holes].tolist(), holes.tolist(), strict=True))
        return end, holes

    def scan(self, queries: Vectors, count: int, rows: RowNumbers) -> Proposals:
        """Return the `count` best for each query float32 (q, dim) among given rows, and no others.

        FAISS reads the rows where they stand; to gather them first would cost twice as much.
        """
        queries = np.ascontiguousarray(queries)
        rough = np.empty((len(queries), count), np.float32)
        found = np.empty((len(queries), count), np.int64)
        faiss.knn_inner_products_by_idx(
            faiss.swig_ptr(queries),
            faiss.swig_ptr(self._vectors),
            faiss.swig_ptr(rows),
            queries.shape[1],
            len(queries),
            self._size,
            len(rows),
            count,
            faiss.swig_ptr(rough),
            faiss.swig_ptr(found),
            0,  # all queries share the same rows
        )
        return Proposals(found, rough, _SUM_ERROR)

    def rank(self, query: Vectors, rows: RowNumbers, k: int) -> tuple[RowNumbers, Scores]:
        """Return the k best of some rows for a query float32 (dim,), equal scores by ascending id.

        In float64, rounded at the end: float32 sums of equal vectors can differ in the last bit.
        """
        exact = self._products(query, rows)
        order = np.lexsort((self._ids[rows], -exact))[:k]
        return rows[order], exact[order]

    def similarities(self, query: Vectors, ids: Ids) -> Scores:
        """Return the product of a query float32 (dim,) with each id, -inf for an unknown one."""
        rows = np.array([self._row_of.get(entry, -1) for entry in ids.tolist()], np.int64)
        scores = np.full(len(ids), -np.inf, np.float32)
        scores[rows >= 0] = self._products(query, rows[rows >= 0])
        return scores

    def _products(self, query: Vectors, rows: RowNumbers) -> Scores:
        exact: Scores = (self._vectors[rows].astype(np.float64) * query).sum(axis=1)
        return exact.astype(np.float32)


def no_rows(dimension: int) -> Rows:
    """Rows to begin with."""
    return Rows(np.empty(0, np.int64), np.empty((0, dimension), np.float32))


def _longer(array: NDArray[Kind], length: int) -> NDArray[Kind]:
    """Copy an array into the beginning of a longer one."""
    longer = np.empty((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
