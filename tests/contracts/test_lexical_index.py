"""What every LexicalIndex keeps to, judged by BM25 by the book."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.domain.errors import DamagedGeneration
from app.domain.ports import Ids, LexicalIndex
from app.engines.lexical.bm25 import Bm25Index
from tests.contracts.oracle import LexicalOracle

NewIndex = Callable[[], LexicalIndex]
ADAPTERS: dict[str, NewIndex] = {"oracle": LexicalOracle, "bm25": Bm25Index}


@pytest.fixture(params=ADAPTERS)
def new_index(request: pytest.FixtureRequest) -> NewIndex:
    return ADAPTERS[request.param]


def numbers(*ids: int) -> Ids:
    return np.array(ids, np.int64)


KEYS = st.lists(st.sampled_from(["отпуск", "приказ", "44фз", "a b", "x\0y", "\n", ""]), max_size=6)
ENTRIES = st.lists(st.tuples(st.integers(0, 30) | st.just(2**62), KEYS), max_size=12)
ALLOWED = st.none() | st.lists(st.integers(0, 40), max_size=20).map(
    lambda ids: np.unique(np.array(ids, np.int64))
)


class Comparison(RuleBasedStateMachine):
    """Does the same to an index and to the oracle."""

    new_index: NewIndex

    def __init__(self) -> None:
        super().__init__()
        self.index = self.new_index()
        self.oracle = LexicalOracle()

    @rule(entries=ENTRIES)
    def add(self, entries: list[tuple[int, list[str]]]) -> None:
        for index in (self.index, self.oracle):
            index.add(numbers(*(entry for entry, _ in entries)), [keys for _, keys in entries])

    @rule(ids=st.lists(st.integers(0, 30), max_size=12))
    def remove(self, ids: list[int]) -> None:
        for index in (self.index, self.oracle):
            index.remove(numbers(*ids))

    @rule(keys=KEYS, k=st.integers(1, 40), allowed=ALLOWED)
    def search(self, keys: list[str], k: int, allowed: Ids | None) -> None:
        ids, scores = self.index.search(keys, k, allowed)
        every_id, every_score = self.oracle.search(keys, 100, allowed)
        right = dict(zip(every_id.tolist(), every_score.tolist(), strict=True))
        assert len(ids) == len(set(ids.tolist())) == min(k, len(right))
        # Sums of float32 may turn two entries round whose scores differ in the seventh digit.
        np.testing.assert_allclose(scores, [right[entry] for entry in ids.tolist()], rtol=1e-5)
        np.testing.assert_allclose(scores, every_score[: len(scores)], rtol=1e-5)
        hits = list(zip((-scores).tolist(), ids.tolist(), strict=True))
        assert hits == sorted(hits)
        best = self.index.best_possible(keys)
        assert best == pytest.approx(self.oracle.best_possible(keys))
        assert all(score <= best for score in scores.tolist())

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
        max_examples=100,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=quick)


def test_shapes_and_types(new_index: NewIndex) -> None:
    index = new_index()
    for found in (0, 2):
        ids, scores = index.search(["да"], 5)
        assert ids.dtype == np.int64
        assert ids.shape == (found,)
        assert scores.dtype == np.float32
        assert scores.shape == (found,)
        index.add(numbers(3, 4), [["да"], ["да", "нет"]])
    assert index.ids.dtype == np.int64


def test_equal_scores_come_by_ascending_id(new_index: NewIndex) -> None:
    index = new_index()
    order = np.random.default_rng(3).permutation(50).astype(np.int64)
    index.add(order, [["отпуск", "приказ"]] * 50)
    assert index.search(["отпуск"], 7)[0].tolist() == list(range(7))


def test_a_filter_changes_no_score(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2, 3), [["да"], ["да", "нет"], ["нет"]])
    everywhere = dict(zip(*(part.tolist() for part in index.search(["да"], 5)), strict=True))
    ids, scores = index.search(["да"], 5, numbers(2, 3))
    assert ids.tolist() == [2]
    assert scores.tolist() == [everywhere[2]]
    assert index.search(["да"], 5, numbers())[0].tolist() == []


@pytest.mark.parametrize("end", [20, 70], ids=["few", "most"])
def test_the_removed_count_in_no_statistic(new_index: NewIndex, end: int) -> None:
    index, fresh = new_index(), new_index()
    index.add(np.arange(100, dtype=np.int64), [["да"] * 50] * 100)
    index.add(numbers(1, 2), [["да"], ["нет", "да"]])
    index.remove(np.arange(3, end, dtype=np.int64))
    kept = np.array(sorted({0, 1, 2, *range(end, 100)}), np.int64)
    fresh.add(kept, [["да"] * 50, ["да"], ["нет", "да"], *[["да"] * 50] * (100 - end)])
    for key in ("да", "нет"):
        for part, right in zip(index.search([key], 9), fresh.search([key], 9), strict=True):
            np.testing.assert_array_equal(part, right)


def test_loading_replaces_all(new_index: NewIndex, tmp_path: Path) -> None:
    full, other = new_index(), new_index()
    full.add(numbers(1, 2), [["да"], ["нет"]])
    full.save(tmp_path / "file")
    other.add(numbers(3), [["да"]])
    other.load(tmp_path / "file")
    other.add(numbers(5), [["да", "да"]])
    assert sorted(other.search(["да"], 5)[0].tolist()) == [1, 5]


@pytest.mark.parametrize("adapter", ADAPTERS.keys() - {"oracle"})
def test_many_threads_may_use_it(adapter: str) -> None:
    index = ADAPTERS[adapter]()
    index.add(np.arange(100, dtype=np.int64), [["да"]] * 100)
    broken: list[str] = []

    def read() -> None:
        for _ in range(100):
            ids, scores = index.search(["да", "нет"], 10)
            if len(ids) != 10 or np.any(np.diff(scores) > 0):
                broken.append(str(ids))

    def write(first: int) -> None:
        ids = np.arange(first, first + 20, dtype=np.int64)
        for _ in range(30):
            index.add(ids, [["нет", "да"]] * 20)
            index.remove(ids)

    threads = [threading.Thread(target=read) for _ in range(2)]
    threads += [threading.Thread(target=write, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken
    assert index.ids.tolist() == list(range(100))


def test_bm25_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no index")
    with pytest.raises(DamagedGeneration, match="text"):
        Bm25Index().load(tmp_path / "text")
