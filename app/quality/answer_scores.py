"""From how questions ended to figures with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.answers import AnswerStatus
from app.quality.answer_metrics import containment, exact_match, f1, lemmas, without_markers
from app.quality.datasets import JudgedQuestion
from app.quality.metrics import Interval, Values, percentile_interval, ratio_interval

FAILED = "failed"
"""The status of a question that ended in an error; the others are those of an answer."""

HIGHER_IS_BETTER = (
    "answered",
    "exact_match",
    "f1",
    "lemma_f1",
    "contains",
    "lemma_contains",
    "citation_precision",
    "citation_recall",
    "abstention_precision",
    "abstention_recall",
    "abstention_f1",
)
LOWER_IS_BETTER = ("unsupported_sentences",)
COSTS = ("prompt_tokens", "completion_tokens")
SECONDS = {"seconds_p50": 50.0, "seconds_p95": 95.0}
METRICS = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER, *COSTS, *SECONDS)

_OF_ABSTENTIONS = ("abstention_precision", "abstention_recall", "abstention_f1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one question ended.

    `text` and `reason` of a failure are the error's message and code. `cited` names for each
    citation the documents that say the same: the cited one and its copies.
    """

    status: str
    text: str = ""
    reason: str | None = None
    cited: tuple[tuple[str, ...], ...] = ()
    supported: int = 0
    unsupported: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A figure with its 95 % bootstrap interval, and how many questions have a part in it."""

    value: float
    low: float
    high: float
    questions: int


def scores(questions: Sequence[JudgedQuestion], outcomes: Sequence[Outcome]) -> dict[str, Score]:
    """Return the metrics of METRICS that some question has a part in.

    Args:
        questions: What was asked.
        outcomes: How each ended, row for row; a failure is in no metric.
    """
    found: dict[str, Score] = {}
    for metric in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER, *COSTS):
        parts = parts_of(metric, questions, outcomes)
        known = ratio_interval(parts)
        if known is not None:
            found[metric] = _score(known, int((parts[:, 1] > 0).sum()))
    seconds = np.array([outcome.seconds for outcome in outcomes if outcome.status != FAILED])
    if len(seconds):
        for metric, percent in SECONDS.items():
            found[metric] = _score(percentile_interval(seconds, percent), len(seconds))
    return found


def parts_of(
    metric: str, questions: Sequence[JudgedQuestion], outcomes: Sequence[Outcome]
) -> Values:
    """Return what each question adds above and below the line of a metric: float64 (questions, 2).

    A metric is a ratio of two sums over questions; (0, 0) is a question without a part in it. How
    often abstaining was right is not asked where every question has an answer.
    """
    if metric in _OF_ABSTENTIONS and all(q.gold.answerable for q in questions):
        return np.zeros((len(questions), 2))
    pairs = zip(questions, outcomes, strict=True)
    rows = [dict(_parts(question, outcome)).get(metric, (0.0, 0.0)) for question, outcome in pairs]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _parts(question: JudgedQuestion, outcome: Outcome) -> Iterator[tuple[str, tuple[float, float]]]:
    if outcome.status == FAILED:
        return
    gold = question.gold
    answered = outcome.status == AnswerStatus.ANSWERED
    if gold.answerable:
        yield "answered", (float(answered), 1)
        text = without_markers(outcome.text) if answered else ""
        for metric, value in (
            ("exact_match", exact_match(text, gold)),
            ("f1", f1(text, gold)),
            ("lemma_f1", f1(text, gold, lemmas)),
            ("contains", containment(text, gold)),
            ("lemma_contains", containment(text, gold, lemmas)),
        ):
            if value is not None:
                yield metric, (value, 1)
        if answered and question.relevant and outcome.cited:
            right = [any(name in question.relevant for name in names) for names in outcome.cited]
            yield "citation_precision", (sum(right) / len(right), 1)
            found = question.relevant.keys() & {name for names in outcome.cited for name in names}
            yield "citation_recall", (len(found) / len(question.relevant), 1)
    missing = not gold.answerable
    both = float(missing and not answered)
    yield "abstention_precision", (both, not answered)
    yield "abstention_recall", (both, missing)
    yield "abstention_f1", (2 * both, missing + (not answered))
    yield "unsupported_sentences", (outcome.unsupported, outcome.supported + outcome.unsupported)
    yield "prompt_tokens", (outcome.prompt_tokens, 1)
    yield "completion_tokens", (outcome.completion_tokens, 1)


def _score(interval: Interval, questions: int) -> Score:
    return Score(interval.value, interval.low, interval.high, questions)
