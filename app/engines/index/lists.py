"""Quantised copies of the vectors in inverted lists, for the first quick look (FAISS IVF)."""

import math
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from app.domain.errors import DamagedGeneration
from app.domain.ports import Ids, Vectors
from app.engines.index.proposals import Proposals, RowNumbers
from app.engines.masks import Reach

faiss: Any = _faiss  # its type stubs know no selectors

_HALF_ERROR = 5e-4  # 2^-11 from rounding to float16 and 1e-5 from float32 sums; never more
_BYTE_ERROR = 2e-3  # of SQ8: some four standard deviations (docs/decisions/0008)
_COUNT = 32  # the number of proposals that `probes` is meant for
_LEAST_SEEN = 4096  # vectors that are looked at in any case, for they cost next to nothing
_ROUNDS = 10
_POINTS_PER_LIST = 40
_MARGIN = 0.1  # of the range that the sample fills, on either side: others may lie a bit outside
_SEED = 5


class Lists:
    """FAISS's inverted lists over row numbers: one list for all rows, or many and a look at some.

    One list holds float16 and is scanned from end to end: with the known error of its scores the
    caller can be sure of the true best. Many lists hold SQ8, a byte a dimension, of the residual to
    the list's centre (Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search",
    2011, section IV), and the true best may stand in a list that is not looked at.
    """

    def __init__(self, index: Any) -> None:
        """Take over a trained faiss.IndexIVFScalarQuantizer."""
        self._index = index
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)  # so that removing finds a row

    @property
    def count(self) -> int:
        """How many lists there are."""
        return int(self._index.nlist)

    @property
    def exact(self) -> bool:
        """Whether proposals are sure to hold the true best."""
        return self.count == 1

    @property
    def probes(self) -> int:
        """How many lists a search without a filter looks at, for few proposals."""
        return int(self._index.nprobe)

    def probe_more(self) -> bool:
        """Look at half as many lists again from now on; False where all are looked at already."""
        if self.probes >= self.count:
            return False
        self._index.nprobe = min(math.ceil(1.5 * self.probes), self.count)
        return True

    def put(self, rows: RowNumbers, vectors: Vectors) -> None:
        """Add or replace int64 (n,) row numbers with float32 (n, dim) vectors."""
        self.drop(rows)
        self._index.add_with_ids(np.ascontiguousarray(vectors), rows)

    def drop(self, rows: RowNumbers) -> None:
        """Remove int64 (n,) row numbers; unknown ones are ignored."""
        if len(rows) and self._index.ntotal:
            self._index.remove_ids(faiss.IDSelectorArray(rows))

    def propose(self, queries: Vectors, count: int, reach: Reach | None) -> Proposals:
        """Return the `count` best rows that may be found; so many there are for sure.

        The rarer they are, the more lists are looked at, so that as many of them are seen as
        without a filter: a fixed number of lists would lose recall.
        """
        reachable = self._index.ntotal if reach is None else reach.count
        effort = max(count / _COUNT, 1) * self._index.ntotal / reachable
        probes = self.count if count >= reachable else math.ceil(self.probes * effort)
        selector = None
        if reach is not None:
            # FAISS keeps no reference to the bitmap, this frame does.
            bitmap = np.packbits(reach.mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(bitmap)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=min(probes, self.count))
        rough, rows = self._index.search(queries, count, params=parameters)
        return Proposals(rows, rough, _HALF_ERROR if self.exact else _BYTE_ERROR)

    def to_bytes(self) -> NDArray[np.uint8]:
        """FAISS's own format: uint8 (n,)."""
        serialised: NDArray[np.uint8] = faiss.serialize_index(self._index)
        return serialised


def one_list(vectors: Vectors) -> Lists:
    """Make the list that is scanned as a whole, of float32 (n, dim)."""
    index = _empty(vectors.shape[1], 1, faiss.ScalarQuantizer.QT_fp16, by_residual=False)
    index.train(np.zeros((1, vectors.shape[1]), np.float32))
    lists = Lists(index)
    lists.put(np.arange(len(vectors), dtype=np.int64), vectors)
    return lists


def many_lists(vectors: Vectors, ids: Ids) -> Lists:
    """Train lists on a sample of float32 (n, dim), 2 sqrt(n) of them, and fill them.

    The same vectors under the same ids give the same lists, in whatever order they stand.
    """
    size, dimension = vectors.shape
    count = min(2 * math.isqrt(size), size)
    index = _empty(dimension, count, faiss.ScalarQuantizer.QT_8bit, by_residual=True)
    index.sq.rangestat_arg = _MARGIN
    index.cp.niter = _ROUNDS
    index.cp.seed = _SEED
    index.cp.spherical = True
    index.cp.max_points_per_centroid = _POINTS_PER_LIST
    index.train(vectors[sample(ids, count * _POINTS_PER_LIST)])
    index.nprobe = min(count, math.ceil(_LEAST_SEEN * count / size))
    lists = Lists(index)
    lists.put(np.arange(size, dtype=np.int64), vectors)
    return lists


def sample(ids: Ids, most: int) -> RowNumbers:
    """Return at most so many rows, drawn by id with a fixed seed."""
    drawn = np.random.default_rng(_SEED).permutation(len(ids))[:most]
    rows: RowNumbers = np.argsort(ids)[np.sort(drawn)]
    return rows


def from_bytes(serialised: NDArray[np.uint8], size: int, dimension: int) -> Lists:
    """Read what `to_bytes` gave.

    Raises:
        DamagedGeneration: It is something else, or not of this size and dimension.
    """
    try:
        index = faiss.deserialize_index(serialised)
    except RuntimeError as error:
        raise DamagedGeneration(f"no inverted lists: {error}") from error
    if not isinstance(index, faiss.IndexIVFScalarQuantizer):
        raise DamagedGeneration(f"no inverted lists but {type(index).__name__}")
    if (index.ntotal, index.d) != (size, dimension):
        raise DamagedGeneration(f"the lists hold {index.ntotal} vectors of {index.d} dimensions")
    return Lists(index)


def _empty(dimension: int, count: int, code: int, by_residual: bool) -> Any:
    centres = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFScalarQuantizer(
        centres, dimension, count, code, faiss.METRIC_INNER_PRODUCT, by_residual
    )
    index.cp.min_points_per_centroid = 1  # fewer than its 39 would be warned of on stderr
    return index
