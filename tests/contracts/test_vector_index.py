"""What every VectorIndex keeps to, judged by an exact oracle."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.domain.errors import ConfigurationError, DamagedGeneration
from app.domain.ports import Ids, VectorIndex, Vectors
from app.engines.index.faiss_index import FaissIndex
from tests.contracts.oracle import VectorOracle

DIMENSION = 16
GPUS = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0

NewIndex = Callable[[], VectorIndex]
ADAPTERS: dict[str, NewIndex] = {
    "oracle": lambda: VectorOracle(DIMENSION),
    "faiss-flat": lambda: FaissIndex(DIMENSION, device="cpu"),
    "faiss-ivf": lambda: FaissIndex(DIMENSION, device="cpu", exact_up_to=1),
}
if GPUS:
    ADAPTERS["faiss-gpu"] = lambda: FaissIndex(DIMENSION, device="cuda")


@pytest.fixture(params=ADAPTERS)
def new_index(request: pytest.FixtureRequest) -> NewIndex:
    return ADAPTERS[request.param]


def unit_vectors(count: int, seed: int = 7) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def numbers(*ids: int) -> Ids:
    return np.array(ids, np.int64)


# Few different vectors under many ids, so that most searches meet ties.
POOL = unit_vectors(5)
SOME_IDS = st.lists(st.integers(0, 60) | st.integers(2**62, 2**62 + 3), max_size=25)
ALLOWED = st.none() | SOME_IDS.map(lambda ids: np.unique(np.array(ids, np.int64)))


class Comparison(RuleBasedStateMachine):
    """Does the same to an index and to the oracle."""

    new_index: NewIndex

    def __init__(self) -> None:
        super().__init__()
        self.index = self.new_index()
        self.oracle = VectorOracle(DIMENSION)

    @rule(ids=SOME_IDS, first=st.integers(0, len(POOL) - 1))
    def add(self, ids: list[int], first: int) -> None:
        vectors = POOL[(first + np.arange(len(ids))) % len(POOL)]
        for index in (self.index, self.oracle):
            index.add(np.array(ids, np.int64), vectors)

    @rule(ids=SOME_IDS)
    def remove(self, ids: list[int]) -> None:
        for index in (self.index, self.oracle):
            index.remove(np.array(ids, np.int64))

    @rule(query=st.integers(0, len(POOL) - 1), k=st.integers(1, 70), allowed=ALLOWED)
    def search(self, query: int, k: int, allowed: Ids | None) -> None:
        queries = np.stack([POOL[query], -POOL[query]])
        found = self.index.search(queries, k, allowed)
        expected = self.oracle.search(queries, k, allowed)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])

    @rule(query=st.integers(0, len(POOL) - 1), ids=SOME_IDS)
    def compare(self, query: int, ids: list[int]) -> None:
        asked = np.array(ids, np.int64)
        np.testing.assert_array_equal(
            self.index.similarities(POOL[query], asked),
            self.oracle.similarities(POOL[query], asked),
        )

    @rule()
    def optimise(self) -> None:
        assert self.index.optimise() == 1.0  # so few vectors are all looked at

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.index.save(Path(folder) / "file")
            self.index = self.new_index()
            self.index.load(Path(folder) / "file")

    @invariant()
    def holds_the_same(self) -> None:
        assert self.index.size == self.oracle.size
        np.testing.assert_array_equal(self.index.ids, self.oracle.ids)


def test_it_agrees_with_the_oracle_whatever_happens(new_index: NewIndex) -> None:
    class Machine(Comparison):
        pass

    Machine.new_index = staticmethod(new_index)
    quick = settings(
        max_examples=60,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=quick)


def test_shapes_and_types(new_index: NewIndex) -> None:
    index = new_index()
    for size in (0, 2):
        ids, scores = index.search(POOL[:3], 4)
        assert ids.dtype == np.int64
        assert ids.shape == (3, 4)
        assert scores.dtype == np.float32
        assert scores.shape == (3, 4)
        assert np.count_nonzero(ids >= 0) == 3 * size
        assert np.all(scores[ids < 0] == -np.inf)
        index.add(numbers(5, 6), POOL[:2])
    assert index.ids.dtype == np.int64


def test_nobody_allowed_finds_nothing(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2), POOL[:2])
    ids, scores = index.search(POOL[:1], 2, numbers())
    assert ids.tolist() == [[-1, -1]]
    assert scores.tolist() == [[-np.inf, -np.inf]]


def test_equal_scores_come_by_ascending_id(new_index: NewIndex) -> None:
    index = new_index()
    ids = np.random.default_rng(3).permutation(300).astype(np.int64)
    for entry in ids:
        index.add(numbers(entry), POOL[:1])
    assert index.search(POOL[:1], 7)[0].tolist() == [list(range(7))]
    assert index.search(POOL[:1], 3, numbers(5, 8, 250, 299))[0].tolist() == [[5, 8, 250]]


def test_adding_an_id_again_replaces_its_vector(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2, 1), POOL[:3])
    index.add(numbers(2), POOL[3:4])
    assert index.size == 2
    assert index.search(POOL[2:3], 1)[0].tolist() == [[1]]
    assert index.search(POOL[3:4], 1)[0].tolist() == [[2]]


def test_loading_replaces_all(new_index: NewIndex, tmp_path: Path) -> None:
    full, other = new_index(), new_index()
    full.add(numbers(1, 2), POOL[:2])
    full.save(tmp_path / "file")
    other.add(numbers(3, 4), POOL[3:5])
    other.load(tmp_path / "file")
    other.remove(numbers(2))
    assert other.ids.tolist() == [1]
    assert other.search(POOL[:1], 1)[0].tolist() == [[1]]


@pytest.mark.parametrize("adapter", ADAPTERS.keys() - {"oracle"})
def test_many_threads_may_use_it(adapter: str) -> None:
    index = ADAPTERS[adapter]()
    index.add(np.arange(200, dtype=np.int64), unit_vectors(200))
    broken: list[str] = []

    def read() -> None:
        for _ in range(50):
            ids, scores = index.search(POOL[:2], 10)
            if not (np.all(ids >= 0) and np.all(np.diff(scores) <= 0)):
                broken.append(str(ids))

    def write(first: int) -> None:
        ids = np.arange(first, first + 20, dtype=np.int64)
        for seed in range(20):
            index.add(ids, unit_vectors(20, seed))
            index.remove(ids)

    threads = [threading.Thread(target=read) for _ in range(2)]
    threads += [threading.Thread(target=write, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken
    assert index.ids.tolist() == list(range(200))


@pytest.mark.parametrize("adapter", ["faiss-flat", "faiss-ivf"])
def test_faiss_refuses_a_file_of_another_kind_or_dimension(adapter: str, tmp_path: Path) -> None:
    index = ADAPTERS[adapter]()
    index.add(numbers(1, 2, 3), POOL[:3])
    index.optimise()
    index.save(tmp_path / "right")
    with pytest.raises(DamagedGeneration, match="8 dimensions"):
        FaissIndex(8, device="cpu").load(tmp_path / "right")
    with pytest.raises(DamagedGeneration, match="absent"):
        index.load(tmp_path / "absent")
    (tmp_path / "text").write_text("no index")
    with pytest.raises(DamagedGeneration, match="text"):
        index.load(tmp_path / "text")
    (tmp_path / "cut").write_bytes((tmp_path / "right").read_bytes()[:-100])
    with pytest.raises(DamagedGeneration, match="cut"):
        index.load(tmp_path / "cut")
    assert index.ids.tolist() == [1, 2, 3]


def test_faiss_refuses_lists_that_belong_to_other_vectors(tmp_path: Path) -> None:
    index = ADAPTERS["faiss-ivf"]()
    index.add(np.arange(5, dtype=np.int64), POOL)
    index.optimise()
    index.save(tmp_path / "right")
    with np.load(tmp_path / "right") as file:
        arrays = {name: file[name] for name in file.files}
    for name, lists in (("shorter", arrays["lists"][:50]), ("noise", arrays["lists"][::-1])):
        with (tmp_path / name).open("wb") as out:
            np.savez(out, **arrays | {"lists": lists})
        with pytest.raises(DamagedGeneration, match="no inverted lists"):
            index.load(tmp_path / name)
    with (tmp_path / "fewer").open("wb") as out:
        np.savez(out, **arrays | {"ids": arrays["ids"][:4], "vectors": arrays["vectors"][:4]})
    with pytest.raises(DamagedGeneration, match="5 vectors"):
        index.load(tmp_path / "fewer")


@pytest.mark.skipif(GPUS > 0, reason="a GPU is here")
def test_faiss_says_when_the_gpu_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="0 GPUs"):
        FaissIndex(DIMENSION, device="cuda:0")
