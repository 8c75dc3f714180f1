import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.answers import AnswerStatus
from app.quality.answer_scores import FAILED, METRICS, Outcome, scores
from app.quality.datasets import Gold, JudgedQuestion
from app.quality.metrics import percentile_interval, ratio_difference, ratio_interval

ANSWERED, ABSTAINED = AnswerStatus.ANSWERED, AnswerStatus.ABSTAINED
RELEVANT = {"d1": 1, "d2": 1}


def question(answer: str | None) -> JudgedQuestion:
    """One whose gold answer is given, or one without an answer."""
    gold = Gold(answerable=False) if answer is None else Gold(((answer,),))
    return JudgedQuestion("q", "?", "en", RELEVANT if answer else {}, (), gold)


def values(questions: list[JudgedQuestion], outcomes: list[Outcome]) -> dict[str, float]:
    return {name: score.value for name, score in scores(questions, outcomes).items()}


def test_metrics_known_by_hand() -> None:
    questions = [question("red"), question("green"), question(None), question(None)]
    outcomes = [
        Outcome(ANSWERED, "Red [1].", cited=(("d1",), ("x", "d2"), ("x",)), supported=3, seconds=1),
        Outcome(ABSTAINED, "Nothing.", "nothing_supported", unsupported=1, seconds=2),
        Outcome(ABSTAINED, "Nothing.", "weak_evidence", seconds=3),
        Outcome(ANSWERED, "Blue [1].", cited=(("x",),), supported=1, prompt_tokens=8, seconds=4),
    ]
    assert values(questions, outcomes) == pytest.approx(
        {
            "answered": 1 / 2,
            "exact_match": 1 / 2,
            "f1": 1 / 2,
            "lemma_f1": 1 / 2,
            "contains": 1 / 2,
            "lemma_contains": 1 / 2,
            "citation_precision": 2 / 3,
            "citation_recall": 1,
            "abstention_precision": 1 / 2,
            "abstention_recall": 1 / 2,
            "abstention_f1": 1 / 2,
            "unsupported_sentences": 1 / 5,
            "prompt_tokens": 2,
            "completion_tokens": 0,
            "seconds_p50": 2.5,
            "seconds_p95": 3.85,
        }
    )
    counts = {name: score.questions for name, score in scores(questions, outcomes).items()}
    assert (counts["f1"], counts["citation_recall"], counts["abstention_f1"]) == (2, 1, 3)


def test_a_failure_is_neither_wrong_nor_an_abstention() -> None:
    questions = [question("red"), question("red"), question(None), question(None)]
    broken = Outcome(FAILED, "gone", "model_server_unavailable")
    outcomes = [Outcome(ANSWERED, "red", seconds=1), broken, Outcome(ABSTAINED), broken]
    found = scores(questions, outcomes)
    assert found["exact_match"].value == found["abstention_f1"].value == 1
    assert found["exact_match"].questions == found["abstention_recall"].questions == 1
    assert scores(questions[:1], [broken]) == {}


def test_abstaining_is_not_judged_where_everything_has_an_answer() -> None:
    found = scores([question("red")], [Outcome(ABSTAINED)])
    assert not [name for name in found if name.startswith("abstention")]
    assert (found["answered"].value, found["f1"].value) == (0, 0)


OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from([ANSWERED, ABSTAINED, FAILED]),
    text=st.sampled_from(["red", "red and green", ""]),
    cited=st.lists(st.sampled_from([("d1",), ("x",)]), max_size=2).map(tuple),
    supported=st.integers(0, 3),
    unsupported=st.integers(0, 3),
    seconds=st.floats(0, 100),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["red", "green", None]), OUTCOMES), max_size=12))
def test_shares_lie_between_0_and_1_inside_their_intervals(
    asked: list[tuple[str | None, Outcome]],
) -> None:
    found = scores([question(answer) for answer, _ in asked], [o for _, o in asked])
    assert list(found) == [name for name in METRICS if name in found]
    for name, score in found.items():
        assert score.low <= score.high and 0 < score.questions <= len(asked)
        if not name.endswith(("tokens", "p50", "p95")):
            assert score.low >= 0 and score.high <= 1 and 0 <= score.value <= 1, name


def test_a_ratio_of_sums_and_its_difference() -> None:
    parts = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 6.0]])
    found = ratio_interval(parts)
    assert found is not None and (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert ratio_interval(np.zeros((3, 2))) is None
    noise = np.random.default_rng(7).random(60)
    now, before = np.stack([noise + 0.1, np.ones(60)], 1), np.stack([noise, np.ones(60)], 1)
    paired = ratio_difference(now, before)
    assert paired is not None and paired.low == pytest.approx(0.1) == paired.high


def test_a_percentile_has_an_interval() -> None:
    found = percentile_interval(np.arange(101, dtype=np.float64), 50)
    assert found.value == 50 and 30 < found.low < 50 < found.high < 70
