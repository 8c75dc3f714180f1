"""Which questions lean on the turns before them, and what is searched for then."""

import pytest

from app.domain.follow_ups import Asked, Turn, in_context, leans, recalled
from app.domain.text import search_keys

LEAVE = Turn("Сколько дней отпуска у стажёра?", "Стажёру положено 28 дней.")
CANTEEN = Turn("Когда открыта столовая?", "Столовая открыта с 11:30.")


@pytest.mark.parametrize(
    "question",
    [
        "А у директора?",
        "И для него?",
        "А если я в командировке?",
        "Сколько он стоит?",
        "Есть для неё другой срок?",
        "Чьи идеи легли в его основу?",
        "С какого года?",
        "Почему?",
        "What about trainees?",
        "How long is it valid?",
        "when was the first time it was discovered",
        "Is the car park there?",
        "And on Sundays?",
        "What are the benefits?",
        "solutions",
        "",
        "?!",
        "👍",
    ],
)
def test_a_question_without_its_own_topic_leans(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "Сколько дней отпуска положено стажёру?",
        "Что такое сепсис?",
        "What is a PIP?",
        "Сколько лет было Пейтону Мэннингу, когда он играл в Суперкубке 50?",
        "Does the Labour Code say how trainees get their leave?",
        "Какой орган подписывает договор № 15/2?",
        "Акт ЮАР о школах: кто его принял?",
        "Is there a good primer on equity?",
    ],
)
def test_a_question_with_a_topic_stands_alone(question: str) -> None:
    assert not leans(question)


def test_without_history_a_question_is_itself() -> None:
    assert in_context("А у директора?", []) == Asked("А у директора?")
    assert Asked("А у директора?").text == "А у директора?"


def test_a_leaning_question_takes_the_one_before_along() -> None:
    asked = in_context("А у директора?", [CANTEEN, LEAVE])
    assert asked.question == "А у директора?"
    assert asked.text == "Сколько дней отпуска у стажёра? А у директора?"
    assert asked.earlier_keys["отпуск"] > asked.earlier_keys["столовая"] > 0
    assert max(asked.earlier_keys.values()) < 1.0, "the question's own keys count most"


def test_a_chain_reaches_back_to_the_question_that_stands_alone() -> None:
    chain = [CANTEEN, LEAVE, Turn("А у директора?", "35 дней.")]
    assert in_context("А у водителя?", chain).leans_on == f"{LEAVE.question} А у директора?"


def test_history_counts_little_where_the_question_stands_alone() -> None:
    asked = in_context("Где сотрудник получает пропуск на парковку?", [LEAVE])
    assert asked.text == asked.question
    leaning = in_context("А у директора?", [LEAVE]).earlier_keys
    assert asked.earlier_keys.keys() == leaning.keys()
    assert all(weight < leaning[key] for key, weight in asked.earlier_keys.items())


def test_function_words_of_the_history_are_not_searched_for() -> None:
    asked = in_context("А он?", [Turn("Когда это было у него и у нас?", "")])
    assert asked.earlier_keys.keys() == set(search_keys("нас"))


def test_an_abstention_leaves_no_keys() -> None:
    assert in_context("А у него?", [Turn("И что там?")]).earlier_keys == {}


def test_only_the_last_turns_are_read() -> None:
    turns = [Turn(f"Сколько стоит предмет{n}?") for n in range(50)]
    keys = in_context("А ещё?", turns).earlier_keys
    assert "предмет49" in " ".join(keys) or "49" in keys
    assert "0" not in keys and "предмет0" not in keys


def test_a_long_history_leaves_room_for_the_question() -> None:
    asked = in_context("А у него?", [Turn("Что положено стажёру? " * 500, "Отпуск. " * 500)] * 9)
    assert asked.text.endswith("А у него?")
    assert len(asked.text) < 1000


def test_the_last_turns_are_recalled_whole_within_a_budget() -> None:
    history = [
        Turn("Сколько дней отпуска?", "Отпуск — 28 дней [1]. Это много [2]."),
        Turn("А стажёрам?"),
    ]
    assert recalled(history, 1000) == (
        "- Сколько дней отпуска?\n- Отпуск — 28 дней. Это много.\n- А стажёрам?"
    )
    assert recalled(history, 12) == "- А стажёрам?"
    assert recalled(history, 0) == recalled([], 100) == ""
