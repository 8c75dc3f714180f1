from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quality.answer_metrics import containment, exact_match, f1, lemmas, without_markers, words
from app.quality.datasets import Gold

TEXTS = st.text(st.sampled_from("аяёЁbАB9 .,—«»'the-\u0301\n"), max_size=30)


def gold(*alternatives: str) -> Gold:
    return Gold((alternatives,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Tampa, Florida!", "tampa florida"),
        ("A well-known U.S. firm's", "wellknown us firms"),
        ("«Ёлка» — а\u0301тлас, 100 %", "елка атлас 100"),
        ("…", ""),
    ],
)
def test_normalised_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_lemmas_bring_inflected_words_together() -> None:
    answer, wanted = "Пропуск блокируется охраной.", gold("охрана")
    assert containment(answer, wanted) == 0
    assert containment(answer, wanted, lemmas) == 1
    assert f1(answer, wanted) == 0
    assert f1(answer, wanted, lemmas) == pytest.approx(2 / 4)
    assert f1("Two badges", gold("one badge"), lemmas) == pytest.approx(1 / 2)


def test_the_best_alternative_counts() -> None:
    wanted = gold("сорок", "28 дней")
    assert exact_match("28 дней.", wanted) == 1
    assert exact_match("Ровно 28 дней.", wanted) == 0
    assert f1("Ровно 28 дней.", wanted) == pytest.approx(4 / 5)
    assert containment("Ровно 28 дней.", wanted) == 1


def test_contained_are_whole_words_in_a_row() -> None:
    assert containment("It took 1900 days.", gold("190")) == 0
    assert containment("28 рабочих дней", gold("28 дней")) == 0
    assert containment("28 дней", gold("!")) == 0


def test_of_several_groups_each_is_asked_for() -> None:
    several = Gold((("red", "crimson"), ("green",)))
    assert containment("Crimson and blue.", several) == 0.5
    assert exact_match("red, green", several) == 1
    assert f1("red green", several) == 1


def test_a_long_gold_answer_is_compared_where_there_is_no_short_one() -> None:
    free = Gold((), "The guards block it.")
    assert (exact_match("x", free), containment("x", free)) == (None, None)
    assert f1("Guards block badges.", free) == pytest.approx(4 / 6)
    assert f1("Guards", Gold((("sixteen",),), "guards")) == 0
    assert f1("x", Gold()) is None


def test_markers_are_no_words_of_an_answer() -> None:
    assert without_markers("Охрана [1]. Или нет [12].") == "Охрана. Или нет."


@given(TEXTS, TEXTS)
def test_f1_is_symmetric_bounded_and_one_for_the_same_words(answer: str, other: str) -> None:
    score = f1(answer, gold(other))
    assert score is not None and 0 <= score <= 1
    assert score == f1(other, gold(answer))
    assert (score == 1) == (Counter(words(answer)) == Counter(words(other)))


@given(TEXTS, TEXTS, TEXTS)
def test_exact_implies_whole_and_contained(before: str, inner: str, after: str) -> None:
    wanted = gold(inner)
    if words(inner):
        assert containment(f"{before} {inner} {after}", wanted) == 1
        assert containment(f"{before} {inner} {after}", wanted, lemmas) == 1
    if exact_match(before, wanted):
        assert f1(before, wanted) == 1
