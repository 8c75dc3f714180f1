"""The vector index: what a search costs, finds and holds, by size, structure and rights.

Run: OMP_NUM_THREADS=1 python -m benchmarks.vector_index
The vectors are drawn around topics that lie around fields, with a fixed seed; a question is half
way between a vector and something random. `--million` adds a million vectors (about 5 GB).
"""

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from app.domain.ports import Ids, Vectors
from app.engines.index.faiss_index import FaissIndex

FIELDS, TOPICS = 40, 2000
QUESTIONS = 96
BATCH = 32
TOP = 50  # as many as retrieval asks for
SHARES = (1.0, 0.1, 0.01, 0.001, 0.0001)
EDIT = 10  # chunks of a small document
SEED = 5


@dataclass(frozen=True)
class Case:
    """One index to measure; `exact` builds one list, whatever the size."""

    size: int
    dimension: int
    exact: bool


def unit(rows: Vectors) -> Vectors:
    """Scale float32 (n, dim) rows to length 1, in place."""
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def world(size: int, dimension: int) -> tuple[Vectors, Vectors]:
    """Draw vectors float32 (size, dim) and questions float32 (QUESTIONS, dim)."""
    rng = np.random.default_rng(SEED)

    def noise(count: int) -> Vectors:
        return unit(rng.standard_normal((count, dimension), dtype=np.float32))

    topics = unit(noise(FIELDS)[rng.integers(FIELDS, size=TOPICS)] + noise(TOPICS))
    chosen = rng.choice(TOPICS, size, p=rng.dirichlet(np.full(TOPICS, 0.7)))
    vectors = noise(size)
    for first in range(0, size, 10_000):
        vectors[first : first + 10_000] += topics[chosen[first : first + 10_000]]
    unit(vectors)
    return vectors, unit(vectors[rng.choice(size, QUESTIONS)] + noise(QUESTIONS))


def resident_bytes() -> int:
    """Return the memory that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def ms_per_question(
    index: FaissIndex,
    questions: Vectors,
    batch: int,
    allowed: Ids | None,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Search for every question, so many at once; milliseconds by a clock of seconds."""
    index.search(questions[:batch], TOP, allowed)
    started = clock()
    for first in range(0, len(questions), batch):
        index.search(questions[first : first + batch], TOP, allowed)
    return (clock() - started) / len(questions) * 1e3


def recall(index: FaissIndex, vectors: Vectors, questions: Vectors, allowed: Ids | None) -> float:
    """Return recall@10 against FAISS's exact search over the rows that may be found."""
    rows = np.arange(len(vectors)) if allowed is None else allowed
    depth = min(10, len(rows))
    places = faiss.knn(questions, vectors[rows], depth, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found = index.search(questions, TOP, allowed)[0][:, :depth]
    hits = [len(set(a) & set(b)) for a, b in zip(found, rows[places], strict=True)]
    return float(np.mean(hits)) / depth


def measure(case: Case) -> str:
    """Build one index and ask it everything; return the lines of its table."""
    faiss.omp_set_num_threads(1)
    vectors, questions = world(case.size, case.dimension)
    before = resident_bytes()
    index = FaissIndex(case.dimension, "cpu", case.size if case.exact else 1)
    started = time.process_time()
    for first in range(0, case.size, 2000):
        ids = np.arange(first, min(first + 2000, case.size), dtype=np.int64)
        index.add(ids, vectors[first : first + 2000])
    added = time.process_time()
    told = index.optimise()
    built = time.process_time()
    held = (resident_bytes() - before) / case.size
    edited = np.arange(EDIT, dtype=np.int64)
    for turn in range(21):
        if turn == 1:  # the first has imports to do
            edit_started = time.process_time()
        index.remove(edited)
        index.add(edited, vectors[:EDIT])
    edit_ms = (time.process_time() - edit_started) / 20 * 1e3
    lines = [
        f"\n{case.size:,} vectors of {case.dimension} dimensions, "
        f"{'one list' if case.exact else 'many lists'}: added in {added - started:.1f} CPU-s, "
        f"optimised in {built - added:.1f} CPU-s (recall@10 {told:.4f} by its own measure), "
        f"{held:,.0f} bytes a vector, {EDIT} of them taken out and put back in {edit_ms:.2f} "
        f"CPU-ms; load average {os.getloadavg()[0]:.1f}",
        "",
        f"| may be read | CPU-ms a question | in batches of {BATCH} | recall@10 |",
        "| --- | --- | --- | --- |",
    ]
    shuffled = np.random.default_rng(SEED).permutation(case.size)
    filters: dict[str, Ids | None] = {"all, no filter": None}
    for share in SHARES:
        some = shuffled[: max(1, round(case.size * share))].astype(np.int64)
        filters[f"{share * 100:g} %"] = np.sort(some)
    for label, allowed in filters.items():
        alone = ms_per_question(index, questions, 1, allowed)
        together = ms_per_question(index, questions, BATCH, allowed)
        share_found = recall(index, vectors, questions, allowed)
        lines.append(f"| {label} | {alone:.2f} | {together:.2f} | {share_found:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each case in a process of its own, so that memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[384, 512])
    parser.add_argument("--million", action="store_true", help="a million vectors as well")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, faiss {faiss.__version__}", flush=True)
    sizes = [*options.sizes, *([1_000_000] if options.million else [])]
    cases = [
        Case(size, dimension, exact)
        for size in sizes
        for dimension in options.dimensions
        for exact in (True, False)
    ]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for lines in pool.imap(measure, cases, chunksize=1):
            print(lines, flush=True)


if __name__ == "__main__":
    main()
