"""Tells whether answers have become worse since an earlier report."""

from collections.abc import Iterator, Sequence

import numpy as np

from app.domain.errors import EvaluationRefused
from app.quality.answer_scores import FAILED, HIGHER_IS_BETTER, LOWER_IS_BETTER, parts_of
from app.quality.answers import AnswersReport, AnswersResult, AnswerWay
from app.quality.baseline import Fall, check_same
from app.quality.datasets import Dataset
from app.quality.evaluate import members
from app.quality.metrics import ratio_difference


def check_comparable(
    baseline: AnswersReport, datasets: Sequence[Dataset], ways: Sequence[AnswerWay]
) -> None:
    """Raise EvaluationRefused unless the baseline asked the same questions on the same texts."""
    for dataset in datasets:
        before = check_same(baseline.datasets, dataset, dataset.gold_sha256())
        missing = sorted(before.groups[0].scores.keys() - set(ways))
        if missing:
            raise EvaluationRefused(
                f"the baseline measured {', '.join(missing)} too: ask for it by --with"
            )


def falls(
    report: AnswersReport, baseline: AnswersReport, datasets: Sequence[Dataset]
) -> list[Fall]:
    """Return the metrics that became worse by more than their intervals; costs are not judged.

    Where both reports hold how each question ended, a metric is worse when the 95 % interval of the
    paired differences lies on the wrong side of 0, over the questions that failed in neither;
    otherwise when it is on the wrong side of the baseline's own interval.

    Args:
        report: The present state.
        baseline: An earlier one that `check_comparable` let pass.
        datasets: What was asked.
    """
    old = {result.dataset: result for result in baseline.datasets}
    return [
        fall
        for now, dataset in zip(report.datasets, datasets, strict=True)
        for fall in _falls(now, old[now.dataset], dataset)
    ]


def _falls(now: AnswersResult, before: AnswersResult, dataset: Dataset) -> Iterator[Fall]:
    for old, new in zip(before.groups, now.groups, strict=True):
        for way, metrics in old.scores.items():
            for metric in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER):
                was, is_now = metrics.get(metric), new.scores[way].get(metric)
                if was is None or is_now is None:
                    continue
                worse = -1 if metric in HIGHER_IS_BETTER else 1
                bounds = _difference(now, before, dataset, old.language, way, metric)
                if bounds is None:
                    bounds = (is_now.value - was.high, is_now.value - was.low)
                if min(worse * bound for bound in bounds) > 0:
                    yield Fall(now.dataset, old.language, way, metric, was.value, is_now.value)


def _difference(
    now: AnswersResult,
    before: AnswersResult,
    dataset: Dataset,
    group: str,
    way: AnswerWay,
    metric: str,
) -> tuple[float, float] | None:
    """The interval of the paired differences, None without how each question ended."""
    if now.per_question is None or before.per_question is None:
        return None
    new, old = now.per_question.outcomes[way], before.per_question.outcomes[way]
    among = members([question.language for question in dataset.questions], group)
    among &= np.array([FAILED not in (a.status, b.status) for a, b in zip(new, old, strict=True)])
    rows = [place for place, is_in in enumerate(among) if is_in]
    questions = [dataset.questions[row] for row in rows]
    pair = (parts_of(metric, questions, [of[row] for row in rows]) for of in (new, old))
    found = ratio_difference(*pair)
    return (0.0, 0.0) if found is None else (found.low, found.high)
