"""What every LexicalIndex keeps to, judged by BM25 by the book."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.domain.errors import DamagedGeneration
from app.domain.ports import Ids, KeyWeights, LexicalIndex
from app.engines.lexical.bm25 import Bm25Index
from tests.contracts.oracle import LexicalOracle

NewIndex = Callable[[], LexicalIndex]
ADAPTERS: dict[str, NewIndex] = {"oracle": LexicalOracle, "bm25": Bm25Index}


@pytest.fixture(params=ADAPTERS)
def new_index(request: pytest.FixtureRequest) -> NewIndex:
    return ADAPTERS[request.param]


def numbers(*ids: int) -> Ids:
    return np.array(ids, np.int64)


WORDS = st.sampled_from(["отпуск", "приказ", "44фз", "a b", "x\0y", "\n", ""])
KEYS = st.lists(WORDS, max_size=6)
QUESTIONS = st.dictionaries(WORDS, st.sampled_from([0.25, 0.5, 1, 2, 3.7]), max_size=6)
ENTRIES = st.lists(st.tuples(st.integers(0, 30) | st.just(2**62), KEYS), max_size=12)
SHARES = [1.0, 0.5, 0.1, 0.01, 0.001, 0.0001]
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
        self.filter = np.arange(0, 30, 2, dtype=np.int64)

    @rule(entries=ENTRIES)
    def add(self, entries: list[tuple[int, list[str]]]) -> None:
        for index in (self.index, self.oracle):
            index.add(numbers(*(entry for entry, _ in entries)), [keys for _, keys in entries])

    @rule(ids=st.lists(st.integers(0, 30), max_size=12))
    def remove(self, ids: list[int]) -> None:
        for index in (self.index, self.oracle):
            index.remove(numbers(*ids))

    @rule(keys=QUESTIONS, k=st.integers(1, 40), allowed=ALLOWED)
    def search(self, keys: KeyWeights, k: int, allowed: Ids | None) -> None:
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

    @rule(k=st.integers(1, 40))
    def search_with_the_same_filter(self, k: int) -> None:
        self.search({"отпуск": 1}, k, self.filter)

    @rule(keys=KEYS)
    def look_up(self, keys: list[str]) -> None:
        np.testing.assert_array_equal(self.index.holding(keys), self.oracle.holding(keys))
        asked = np.arange(-1, 32, dtype=np.int64)
        np.testing.assert_array_equal(self.index.held(asked, keys), self.oracle.held(asked, keys))
        for key in keys:
            for allowed in (None, self.filter):
                assert self.index.knows(key, allowed) == self.oracle.knows(key, allowed)
            assert self.index.frequency(key) == self.oracle.frequency(key)

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
        ids, scores = index.search({"да": 1}, 5)
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
    assert index.search({"отпуск": 1}, 7)[0].tolist() == list(range(7))


def test_a_filter_changes_no_score(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2, 3), [["да"], ["да", "нет"], ["нет"]])
    everywhere = dict(zip(*(part.tolist() for part in index.search({"да": 1}, 5)), strict=True))
    ids, scores = index.search({"да": 1}, 5, numbers(2, 3))
    assert ids.tolist() == [2]
    assert scores.tolist() == [everywhere[2]]
    assert index.search({"да": 1}, 5, numbers())[0].tolist() == []


@pytest.mark.parametrize("end", [20, 70], ids=["few", "most"])
def test_the_removed_count_in_no_statistic(new_index: NewIndex, end: int) -> None:
    index, fresh = new_index(), new_index()
    index.add(np.arange(100, dtype=np.int64), [["да"] * 50] * 100)
    index.add(numbers(1, 2), [["да"], ["нет", "да"]])
    index.remove(np.arange(3, end, dtype=np.int64))
    kept = np.array(sorted({0, 1, 2, *range(end, 100)}), np.int64)
    fresh.add(kept, [["да"] * 50, ["да"], ["нет", "да"], *[["да"] * 50] * (100 - end)])
    for key in ("да", "нет"):
        for part, right in zip(index.search({key: 1}, 9), fresh.search({key: 1}, 9), strict=True):
            np.testing.assert_array_equal(part, right)


def test_loading_replaces_all(new_index: NewIndex, tmp_path: Path) -> None:
    full, other = new_index(), new_index()
    full.add(numbers(1, 2), [["да"], ["нет"]])
    full.save(tmp_path / "file")
    other.add(numbers(3), [["да"]])
    other.load(tmp_path / "file")
    other.add(numbers(5), [["да", "да"]])
    assert sorted(other.search({"да": 1}, 5)[0].tolist()) == [1, 5]


def test_fractions_of_a_key_add_up(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2, 3), [["да"], ["да", "нет"], ["нет", "нет"]])
    whole = dict(zip(*(part.tolist() for part in index.search({"да": 1}, 5)), strict=True))
    ids, scores = index.search({"да": 0.25}, 5)
    assert scores.tolist() == [whole[entry] / 4 for entry in ids.tolist()]
    assert index.search({"да": 1, "нет": 0.1}, 5)[0].tolist() == [1, 2, 3]
    assert index.search({"да": 0.1, "нет": 1}, 5)[0].tolist() == [3, 2, 1]
    assert index.best_possible({"да": 3}) == pytest.approx(3 * index.best_possible({"да": 1}))


def test_a_frequency_has_no_bound(new_index: NewIndex) -> None:
    index = new_index()
    index.add(numbers(1, 2), [["да"] * 300, ["да"] * 70_000])
    assert index.search({"да": 1}, 5)[0].tolist() == [2, 1]


class Library:
    """Entries enough for every way of searching, with keys as frequent as those of a language."""

    entries = 12_000
    keys = 500

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        lengths = rng.integers(1, 30, self.entries)
        drawn = np.minimum(rng.zipf(1.3, lengths.sum()), self.keys).astype(str)
        self.streams = [part.tolist() for part in np.split(drawn, np.cumsum(lengths)[:-1])]
        self.questions = [
            {str(key): float(weight) for key, weight in zip(keys, weights, strict=True)}
            for keys, weights in zip(
                np.minimum(rng.zipf(1.2, (8, 9)), self.keys),
                rng.choice([0.3, 1, 1, 2], (8, 9)),
                strict=True,
            )
        ]
        self.filters = {
            share: np.sort(rng.choice(self.entries, int(self.entries * share), replace=False))
            for share in SHARES
        }

    def fill(self, index: LexicalIndex) -> LexicalIndex:
        index.add(np.arange(self.entries, dtype=np.int64), self.streams)
        return index


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def answers(library: Library) -> list[dict[int, float]]:
    """The score of each entry for each question, by the book."""
    oracle = library.fill(LexicalOracle())
    return [
        dict(zip(*(part.tolist() for part in oracle.search(question, oracle.size)), strict=True))
        for question in library.questions
    ]


def edited(library: Library) -> Bm25Index:
    """The same in the end, after another history: other slots, and dead ones among them."""
    index = Bm25Index()
    order = np.random.default_rng(12).permutation(library.entries)
    few = order[: library.entries // 10]
    index.add(few, [["1", "2", "nobody"]] * len(few))
    index.add(order, [library.streams[entry] for entry in order.tolist()])
    index.add(few + library.entries, [["3"] * 99] * len(few))
    index.search({"3": 1}, 5)
    index.remove(few + library.entries)
    return index


@pytest.fixture(scope="module")
def histories(library: Library, tmp_path_factory: pytest.TempPathFactory) -> list[Bm25Index]:
    """The same entries: built at once, after edits, and loaded from a file."""
    path = tmp_path_factory.mktemp("index") / "file"
    built, loaded = Bm25Index(), Bm25Index()
    library.fill(built)
    built.save(path)
    loaded.load(path)
    return [built, edited(library), loaded]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("k", [1, 10, 300])
def test_filters_of_every_size_find_the_best(
    library: Library,
    answers: list[dict[int, float]],
    histories: list[Bm25Index],
    share: float,
    k: int,
) -> None:
    allowed = library.filters[share]
    for question, right in zip(library.questions, answers, strict=True):
        best = sorted(
            (right[entry] for entry in right.keys() & set(allowed.tolist())), reverse=True
        )
        for index in histories:
            ids, scores = index.search(question, k, allowed)
            assert np.isin(ids, allowed).all()
            np.testing.assert_allclose(scores, best[:k], rtol=1e-5)
            np.testing.assert_allclose(scores, [right[entry] for entry in ids.tolist()], rtol=1e-5)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("k", [1, 10, 300])
def test_neither_history_nor_filter_changes_an_answer(
    library: Library, histories: list[Bm25Index], share: float, k: int
) -> None:
    allowed = library.filters[share]
    for question in library.questions:
        ids, scores = histories[0].search(question, library.entries)
        permitted = np.isin(ids, allowed)
        for index in (*histories, *histories):
            found, found_scores = index.search(question, k, allowed)
            np.testing.assert_array_equal(found, ids[permitted][:k])
            np.testing.assert_array_equal(found_scores, scores[permitted][:k])


@pytest.mark.parametrize("adapter", ADAPTERS.keys() - {"oracle"})
def test_many_threads_may_use_it(adapter: str) -> None:
    index = ADAPTERS[adapter]()
    index.add(np.arange(100, dtype=np.int64), [["да"]] * 100)
    allowed = np.arange(50, 1010, dtype=np.int64)
    broken: list[str] = []

    def read() -> None:
        for _ in range(100):
            ids, scores = index.search({"да": 1, "нет": 0.5}, 10, allowed)
            if len(ids) != 10 or np.any(np.diff(scores) > 0):
                broken.append(str(ids))
            if len(index.holding(["да"])) < 100:
                broken.append("held by too few")

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
    (tmp_path / "empty").touch()
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "arrays.npz", ids=np.zeros(3, np.int64))
    for path in tmp_path.iterdir():
        with pytest.raises(DamagedGeneration, match=path.name):
            Bm25Index().load(path)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"ids": np.array([1, 1, 3])},
        {"ids": np.array([1.0, 2.0, 3.0])},
        {"lengths": np.array([1, 1], np.int32)},
        {"lengths": np.array([-1, 1, 1], np.int32)},
        {"slots": np.array([0, 1, 0, 3], np.int32)},
        {"slots": np.array([0, -1, 0, 2], np.int32)},
        {"slots": np.array([1, 0, 0, 2], np.int32)},
        {"frequencies": np.array([1, 1, 0, 1], np.uint16)},
        {"posting_sizes": np.array([4, 0])},
        {"posting_sizes": np.array([2, 3])},
        {"key_sizes": np.array([5, -1])},
        {"keys": np.array([255, 255, 255, 255], np.uint8)},
    ],
    ids=lambda nonsense: next(iter(nonsense)),
)
def test_bm25_refuses_arrays_that_do_not_fit(nonsense: dict[str, Any], tmp_path: Path) -> None:
    index = Bm25Index()
    index.add(numbers(1, 2, 3), [["да"], ["да", "no"], ["no"]])
    index.add(numbers(2), [["да"]])
    index.save(tmp_path / "file")
    with np.load(tmp_path / "file") as file:
        arrays = dict(file)
    np.savez(tmp_path / "file.npz", **{**arrays, **nonsense})
    with pytest.raises(DamagedGeneration, match=r"file\.npz"):
        index.load(tmp_path / "file.npz")
    assert index.ids.tolist() == [1, 2, 3]
