from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.domain.errors import EvaluationRefused
from app.quality.baseline import check_comparable, falls, read_report
from app.quality.datasets import CorpusDocument, Dataset, JudgedQuestion
from app.quality.evaluate import ALL, DatasetResult, Group, PerQuestion, Report, Way
from app.quality.metrics import METRICS, interval

WAYS = (Way.LEXICAL, Way.DENSE, Way.HYBRID)
QUESTIONS = 40
LANGUAGES = ["ru", "en"] * (QUESTIONS // 2)
DATASET = Dataset(
    "toy",
    (CorpusDocument("d1", "", "text"),),
    tuple(
        JudgedQuestion(f"q{number}", "question", language, {"d1": 1})
        for number, language in enumerate(LANGUAGES)
    ),
    0,
)


def report(
    values: Sequence[float], ways: Sequence[Way] = WAYS, per_question: bool = True
) -> Report:
    """A report in which every metric of every way has these values."""
    array = np.array(values)
    masks = {ALL: np.ones(QUESTIONS, bool)}
    masks |= {name: np.array(LANGUAGES) == name for name in ("en", "ru")}
    groups = [
        Group(
            name,
            int(mask.sum()),
            {way: {metric: interval(array[mask]) for metric in METRICS} for way in ways},
            {},
        )
        for name, mask in masks.items()
    ]
    kept = {way: {metric: list(values) for metric in METRICS} for way in ways}
    result = DatasetResult(
        "toy",
        1,
        0,
        QUESTIONS,
        0,
        DATASET.documents_sha256(),
        DATASET.questions_sha256(),
        groups,
        PerQuestion([q.question_id for q in DATASET.questions], LANGUAGES, kept)
        if per_question
        else None,
    )
    return Report("0", "embedder", None, {}, [result])


SPREAD = [number / QUESTIONS for number in range(QUESTIONS)]
LITTLE_LESS = [value - 0.01 for value in SPREAD]
MUCH_LESS = [value - 0.4 for value in SPREAD]


@pytest.mark.parametrize("per_question", [True, False])
def test_an_equal_or_better_report_has_no_falls(per_question: bool) -> None:
    before = report(SPREAD, per_question=per_question)
    assert falls(report(SPREAD), before) == []
    assert falls(report([value + 0.1 for value in SPREAD]), before) == []


def test_pairs_show_what_intervals_hide() -> None:
    unpaired = report(SPREAD, per_question=False)
    assert falls(report(LITTLE_LESS), unpaired) == []
    assert len(falls(report(MUCH_LESS), unpaired)) == 3 * len(WAYS) * len(METRICS)
    found = falls(report(LITTLE_LESS), report(SPREAD))
    assert len(found) == 3 * len(WAYS) * len(METRICS)
    assert str(found[0]) == "toy, all, lexical: recall@1 fell from 0.4875 to 0.4775"


def test_a_fall_in_one_language_is_named() -> None:
    now = [
        v - 0.02 if language == "ru" else v for v, language in zip(SPREAD, LANGUAGES, strict=True)
    ]
    found = falls(report(now), report(SPREAD))
    assert {fall.group for fall in found} == {"all", "ru"}


def test_a_written_report_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(msgspec.json.encode(report(SPREAD)))
    assert read_report(path, Report) == report(SPREAD)


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(EvaluationRefused, match=r"report\.json: No such file"):
        read_report(path, Report)
    for content in ("", "[]", "{}", '{"datasets": 3}'):
        path.write_text(content)
        with pytest.raises(EvaluationRefused, match="is no report"):
            read_report(path, Report)


def test_only_the_same_measurement_is_compared() -> None:
    before = report(SPREAD)
    check_comparable(before, [DATASET], WAYS)
    check_comparable(before, [DATASET], tuple(Way))
    others: list[tuple[Dataset, str]] = [
        (replace(DATASET, name="other"), "the baseline has no dataset 'other'"),
        (replace(DATASET, documents=()), "toy: the baseline has other documents"),
        (
            replace(DATASET, questions=DATASET.questions[:3]),
            "toy: the baseline has other questions",
        ),
    ]
    for dataset, message in others:
        with pytest.raises(EvaluationRefused, match=message):
            check_comparable(before, [dataset], WAYS)
    reranked = report(SPREAD, tuple(Way))
    with pytest.raises(
        EvaluationRefused, match=r"measured hybrid\+rerank, which is not configured"
    ):
        check_comparable(reranked, [DATASET], WAYS)
