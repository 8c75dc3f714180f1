"""Retrieval metrics by ir-measures, and how sure they are."""

from collections.abc import Mapping, Sequence
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
    """A mean over questions with its 95 % bootstrap interval."""

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
    random = np.random.default_rng(SEED)
    at_once = max(1, _DRAWN_AT_ONCE // len(values))
    means: list[float] = []
    while len(means) < RESAMPLES:
        size = (min(at_once, RESAMPLES - len(means)), len(values))
        means.extend(values[random.integers(len(values), size=size)].mean(axis=1))
    low, high = np.percentile(means, _PERCENTILES)
    return Interval(float(values.mean()), float(low), float(high))
