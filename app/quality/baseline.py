"""Tells whether retrieval has become worse since an earlier report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from app.domain.errors import EvaluationRefused
from app.quality.datasets import Dataset
from app.quality.evaluate import DatasetResult, Report, Way, members
from app.quality.metrics import interval


class Measured(Protocol):
    """What the results of all evaluations tell about their dataset."""

    @property
    def dataset(self) -> str: ...

    @property
    def documents_sha256(self) -> str: ...

    @property
    def questions_sha256(self) -> str: ...


T = TypeVar("T")
Result = TypeVar("Result", bound=Measured)


@dataclass(frozen=True, slots=True)
class Fall:
    """A metric that is worse than before by more than its interval."""

    dataset: str
    group: str
    way: str
    metric: str
    before: float
    now: float

    def __str__(self) -> str:
        """A line for people."""
        where = f"{self.dataset}, {self.group}, {self.way}"
        went = "rose" if self.now > self.before else "fell"
        return f"{where}: {self.metric} {went} from {self.before:.4f} to {self.now:.4f}"


def read_report(path: Path, kind: type[T]) -> T:
    """Read a report of one kind that `opora evaluate` wrote.

    Raises:
        EvaluationRefused: There is no such file, or it is no report.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise EvaluationRefused(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EvaluationRefused(f"{path} is no report of `opora evaluate`: {error}") from None


def check_comparable(baseline: Report, datasets: Sequence[Dataset], ways: Sequence[Way]) -> None:
    """Raise EvaluationRefused unless the baseline measured the same questions on the same texts."""
    for dataset in datasets:
        before = check_same(baseline.datasets, dataset, dataset.questions_sha256())
        missing = before.groups[0].scores.keys() - set(ways)
        if missing:
            raise EvaluationRefused(
                f"the baseline measured {', '.join(sorted(missing))}, which is not configured now"
            )


def check_same(baseline: Sequence[Result], dataset: Dataset, questions_sha256: str) -> Result:
    """Return the baseline's result for a dataset, or raise EvaluationRefused if it has changed."""
    before = next((result for result in baseline if result.dataset == dataset.name), None)
    if before is None:
        raise EvaluationRefused(f"the baseline has no dataset {dataset.name!r}")
    if before.documents_sha256 != dataset.documents_sha256():
        raise EvaluationRefused(f"{dataset.name}: the baseline has other documents")
    if before.questions_sha256 != questions_sha256:
        raise EvaluationRefused(f"{dataset.name}: the baseline has other questions")
    return before


def falls(report: Report, baseline: Report) -> list[Fall]:
    """Return the metrics that fell by more than their intervals.

    Where both reports hold the values of each question, a metric has fallen when the 95 % interval
    of the paired differences lies below 0; otherwise when it is below the baseline's own interval.

    Args:
        report: The present state.
        baseline: An earlier one that `check_comparable` let pass.
    """
    before = {result.dataset: result for result in baseline.datasets}
    return [fall for now in report.datasets for fall in _falls(now, before[now.dataset])]


def _falls(now: DatasetResult, before: DatasetResult) -> list[Fall]:
    found = []
    for old, new in zip(before.groups, now.groups, strict=True):
        for way, metrics in old.scores.items():
            for metric, score in metrics.items():
                value = new.scores[way][metric].value
                difference = _difference(now, before, old.language, way, metric)
                fell = value < score.low if difference is None else difference < 0
                if fell:
                    found.append(Fall(now.dataset, old.language, way, metric, score.value, value))
    return found


def _difference(
    now: DatasetResult, before: DatasetResult, group: str, way: Way, metric: str
) -> float | None:
    """The upper end of the interval of the paired differences, None without their values."""
    if now.per_question is None or before.per_question is None:
        return None
    new = np.array(now.per_question.values[way][metric])
    old = np.array(before.per_question.values[way][metric])
    return interval((new - old)[members(now.per_question.languages, group)]).high
