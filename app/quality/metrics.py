"""Retrieval metrics by ir-measures, and how sure means, ratios and percentiles are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "nDCG@10", "MRR@10")
DEPTH = 20
"""How many documents a ranking needs for all of them."""

RESAMPLES = 2000
SEED = 20261122
_PERCENTILES = (2.5, 97.5)
_DRAWN_AT_ONCE = 1_000_000  # to bound the memory

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure over questions with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def per_question(
    relevant: Sequence[Mapping[str, int]], rankings: Sequence[Sequence[str]]
) -> dict[str, Values]:
    """Measure each ranking.

    nDCG takes grades as gains and log2 discounts, as trec_eval does (Järvelin, Kekäläinen 2002).

    Args:
        relevant: Grades above 0 by document id, one mapping for each question.
        rankings: Document ids, best first, each once, row for row.

    Returns:
        For each of METRICS float64 (questions,).
    """
    from ir_measures import RR, R, iter_calc, nDCG

    measures = dict(zip((R @ 1, R @ 5, R @ 10, R @ 20, nDCG @ 10, RR @ 10), METRICS, strict=True))
    qrels = {str(row): dict(grades) for row, grades in enumerate(relevant)}
    run = {
        str(row): {name: 1 / place for place, name in enumerate(ranking, 1)}
        for row, ranking in enumerate(rankings)
    }
    values = {name: np.zeros(len(relevant)) for name in METRICS}
    for metric in iter_calc(list(measures), qrels, run):
        values[measures[metric.measure]][int(metric.query_id)] = metric.value
    return values


def interval(values: Values) -> Interval:
    """Return the mean and its percentile bootstrap interval (Efron, Tibshirani 1993, chapter 13).

    Every call draws the same questions for the same number of them, so that intervals of several
    rankings are paired; for the difference of two rankings give the differences of their values.

    Args:
        values: float64 (questions,), at least one.
    """
    return _bootstrap(values, lambda drawn: drawn.mean(axis=1))


def ratio_interval(parts: Values) -> Interval | None:
    """Return a ratio of two sums over questions, None where no question has a part in it.

    Args:
        parts: float64 (questions, 2): what each question adds above and below the line.
    """
    return ratio_difference(parts, np.zeros_like(parts))


def ratio_difference(parts: Values, subtracted: Values) -> Interval | None:
    """Return the difference of two such ratios over the same questions; one over 0 counts as 0.

    Args:
        parts: float64 (questions, 2), as for `ratio_interval`.
        subtracted: float64 (questions, 2), row for row of the same questions.
    """
    both = np.hstack([parts, subtracted])
    counted = both[(parts[:, 1] > 0) | (subtracted[:, 1] > 0)]
    if not len(counted):
        return None

    def difference(drawn: Values) -> Values:
        sums = drawn.sum(axis=1)
        return _quotients(sums[:, 0], sums[:, 1]) - _quotients(sums[:, 2], sums[:, 3])

    return _bootstrap(counted, difference)


def percentile_interval(values: Values, percent: float) -> Interval:
    """Return a percentile over questions and its bootstrap interval.

    Args:
        values: float64 (questions,), at least one.
        percent: In [0, 100].
    """
    return _bootstrap(values, lambda drawn: np.percentile(drawn, percent, axis=1))


def _quotients(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _bootstrap(values: Values, statistic: Callable[[Values], Values]) -> Interval:
    """Resample questions; the statistic maps (draws, questions, ...) to (draws,)."""
    random = np.random.default_rng(SEED)
    at_once = max(1, _DRAWN_AT_ONCE // values.size)
    drawn: list[float] = []
    while len(drawn) < RESAMPLES:
        size = (min(at_once, RESAMPLES - len(drawn)), len(values))
        drawn.extend(statistic(values[random.integers(len(values), size=size)]))
    low, high = np.percentile(drawn, _PERCENTILES)
    return Interval(float(statistic(values[np.newaxis])[0]), float(low), float(high))
