"""FAISS on a GPU against the CPU and an exact search, with and without rights.

Run: python -m benchmarks.gpu.faiss_gpu
It needs an NVIDIA GPU and one of the official wheels, faiss-gpu or faiss-gpu-cuvs, in place of
faiss-cpu. Times are wall time, for the CPU waits while the GPU works: nothing else should run.
It ends with status 1 where a result is not what the exact search gives.
"""

import argparse
import sys
import time

import faiss
import numpy as np

from app.domain.ports import Ids
from app.engines.index.faiss_index import FaissIndex
from benchmarks.vector_index import SEED, SHARES, TOP, ms_per_question, recall, world


def compare(size: int, dimension: int) -> bool:
    """Print a table of one size; tell whether the GPU found all that an exact search finds."""
    vectors, questions = world(size, dimension)
    ids = np.arange(size, dtype=np.int64)
    indexes = {"CPU": FaissIndex(dimension, "cpu", size), "GPU": FaissIndex(dimension, "cuda")}
    for index in indexes.values():
        index.add(ids, vectors)
    print(f"\n{size:,} vectors of {dimension} dimensions, wall-ms a question")
    print("| may be read | " + " | ".join(f"{name}, 1 | {name}, 32" for name in indexes), end="")
    print(" | recall@10 of the GPU | answers that differ from the CPU's |")
    print("| --- " * 7 + "|")
    shuffled = np.random.default_rng(SEED).permutation(ids)
    filters: dict[str, Ids | None] = {"all, no filter": None}
    for share in SHARES:
        filters[f"{share * 100:g} %"] = np.sort(shuffled[: max(1, round(size * share))])
    right = True
    for label, allowed in filters.items():
        times = [
            f"{ms_per_question(index, questions, batch, allowed, time.perf_counter):.2f}"
            for index in indexes.values()
            for batch in (1, 32)
        ]
        found = recall(indexes["GPU"], vectors, questions, allowed)
        answers = [index.search(questions, TOP, allowed)[0] for index in indexes.values()]
        different = int(np.count_nonzero((answers[0] != answers[1]).any(axis=1)))
        print(f"| {label} | {' | '.join(times)} | {found:.4f} | {different} |", flush=True)
        # The exact search sums in float32, so a pair of equals at the tenth place may change.
        right &= found >= 0.999 and different == 0
    return right


def main() -> None:
    """Compare each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=512)
    options = parser.parse_args()
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        sys.exit("skipped: FAISS sees no GPU here; install faiss-gpu on a machine that has one")
    faiss.omp_set_num_threads(1)
    print(f"faiss {faiss.__version__}, {faiss.get_num_gpus()} GPUs")
    right = [compare(size, options.dimension) for size in options.sizes]
    if not all(right):
        sys.exit("the GPU did not find what an exact search finds: see the last two columns")


if __name__ == "__main__":
    main()
