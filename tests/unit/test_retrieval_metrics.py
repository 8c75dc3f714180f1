from math import log2

import numpy as np
import pytest

from app.quality.metrics import METRICS, Interval, interval, per_question


def test_metrics_known_by_hand() -> None:
    relevant = [{"a": 2, "b": 1}, {"c": 1}, {"d": 1}]
    rankings = [["x", "a", "y", "z", "w", "b"], ["c"], []]
    values = per_question(relevant, rankings)
    assert tuple(values) == METRICS
    ideal = 2 / log2(2) + 1 / log2(3)
    expected = {
        "recall@1": [0, 1, 0],
        "recall@5": [0.5, 1, 0],
        "recall@10": [1, 1, 0],
        "recall@20": [1, 1, 0],
        "nDCG@10": [(2 / log2(3) + 1 / log2(7)) / ideal, 1, 0],
        "MRR@10": [0.5, 1, 0],
    }
    for name in METRICS:
        assert values[name].tolist() == pytest.approx(expected[name]), name


def test_what_stands_below_the_cutoff_does_not_count() -> None:
    ranking = [f"x{place}" for place in range(10)] + ["a"]
    values = per_question([{"a": 1}], [ranking])
    assert {name: of.tolist() for name, of in values.items()} == {
        "recall@1": [0],
        "recall@5": [0],
        "recall@10": [0],
        "recall@20": [1],
        "nDCG@10": [0],
        "MRR@10": [0],
    }


def test_many_equal_ids_keep_their_order() -> None:
    """The library sorts by score, so that ids must not decide."""
    values = per_question([{"a": 1}, {"b": 1}], [["b", "a"], ["b", "a"]])
    assert values["MRR@10"].tolist() == [0.5, 1]


def test_interval_is_the_same_each_time_and_holds_the_mean() -> None:
    values = np.random.default_rng(7).random(200)
    found = interval(values)
    assert found == interval(values.copy())
    assert found.low < found.value == values.mean() < found.high


def test_interval_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(7).standard_normal(400)
    found = interval(values)
    error = values.std() / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_interval_of_one_value_is_that_value() -> None:
    assert interval(np.array([0.25])) == Interval(0.25, 0.25, 0.25)


def test_interval_of_a_constant_difference_leaves_no_doubt() -> None:
    first = np.random.default_rng(7).random(50)
    found = interval(first + 0.125 - first)
    assert found.low == pytest.approx(0.125) == found.high
