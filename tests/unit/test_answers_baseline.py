from dataclasses import replace

import msgspec
import pytest

from app.domain.answers import AnswerStatus
from app.domain.errors import EvaluationRefused
from app.quality.answer_scores import FAILED, Outcome
from app.quality.answers import AnswersReport, AnswerWay, judge
from app.quality.answers_baseline import check_comparable, falls
from app.quality.datasets import CorpusDocument, Dataset, Gold, JudgedQuestion

WAY = AnswerWay.OPORA
RIGHT = Outcome(AnswerStatus.ANSWERED, "red", cited=(("d1",),), supported=1, seconds=1)
WRONG = replace(RIGHT, text="blue")
QUESTIONS = tuple(
    JudgedQuestion(f"q{n}", "?", ("ru", "en")[n % 2], {"d1": 1}, (), Gold((("red",),)))
    for n in range(40)
)
DATASET = Dataset("toy", (CorpusDocument("d1", "", "text"),), QUESTIONS, 0)
HALF = [RIGHT, RIGHT, WRONG, WRONG] * 10


def report(outcomes: list[Outcome], per_question: bool = True) -> AnswersReport:
    result = judge(DATASET, {WAY: outcomes}, 0)
    if not per_question:
        result = replace(result, per_question=None)
    return AnswersReport("0", "hash", None, "scripted", {}, [result])


def fallen(now: list[Outcome], before: AnswersReport) -> set[tuple[str, str]]:
    return {(fall.group, fall.metric) for fall in falls(report(now), before, [DATASET])}


@pytest.mark.parametrize("per_question", [True, False])
def test_only_what_became_worse_is_named(per_question: bool) -> None:
    before = report(HALF, per_question)
    assert fallen(HALF, before) == set()
    assert fallen([RIGHT] * 40, before) == set()
    worse = fallen([WRONG] * 40, before)
    assert ("all", "exact_match") in worse and ("ru", "f1") in worse
    assert not {metric for _, metric in worse} & {"citation_recall", "unsupported_sentences"}


def test_more_unsupported_sentences_are_worse_and_slower_answers_are_not() -> None:
    before = report([RIGHT] * 40)
    talkative = replace(RIGHT, unsupported=1, seconds=90, prompt_tokens=9)
    assert {metric for _, metric in fallen([talkative] * 40, before)} == {"unsupported_sentences"}
    assert fallen([RIGHT] * 40, report([talkative] * 40)) == set()


def test_pairs_show_what_intervals_hide() -> None:
    slightly = [WRONG if place in range(5) else outcome for place, outcome in enumerate(HALF)]
    assert ("all", "f1") not in fallen(slightly, report(HALF, per_question=False))
    a_few_more = [WRONG] * 12 + HALF[12:]
    assert ("all", "f1") in fallen(a_few_more, report(HALF))


def test_a_failure_is_no_fall() -> None:
    broken = Outcome(FAILED, "gone", "model_server_unavailable")
    assert fallen([broken] * 20 + HALF[20:], report(HALF)) == set()


def test_a_report_is_read_as_it_was_written() -> None:
    written = report(HALF)
    assert msgspec.json.decode(msgspec.json.encode(written), type=AnswersReport) == written


def test_only_the_same_questions_with_the_same_gold_are_compared() -> None:
    before = report(HALF)
    check_comparable(before, [DATASET], [WAY])
    check_comparable(before, [DATASET], list(AnswerWay))
    other_gold = replace(QUESTIONS[0], gold=Gold((("blue",),)))
    changed = replace(DATASET, questions=(other_gold, *QUESTIONS[1:]))
    with pytest.raises(EvaluationRefused, match="toy: the baseline has other questions"):
        check_comparable(before, [changed], [WAY])
    both = judge(DATASET, {WAY: HALF, AnswerWay.ORACLE: HALF}, 0)
    with pytest.raises(EvaluationRefused, match="measured oracle too: ask for it by --with"):
        check_comparable(replace(before, datasets=[both]), [DATASET], [WAY])
