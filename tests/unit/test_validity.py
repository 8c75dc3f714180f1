"""Which documents count as superseded, and which questions want them all the same."""

import pytest

from app.domain.validity import asks_about_the_past, is_superseded


@pytest.mark.parametrize(
    "text",
    [
        "# Правила\n\n> **УТРАТИЛО СИЛУ с 1 февраля 2026 г.** Применять нельзя.",
        "LEAVE POLICY\n\n*** SUPERSEDED. Do not apply. ***",
        "Настоящее положение утратило силу.",
        "Regeln\nThis version is no longer in force.",
    ],
)
def test_a_document_that_says_it_of_itself_is_superseded(text: str) -> None:
    assert is_superseded(text)


@pytest.mark.parametrize(
    "text",
    [
        "Правила 2026 года. С этой даты правила 2023 года утратили силу.",
        "In force since 2026. It replaces the 2023 version, which is superseded.",
        "Отпуск составляет 28 дней.",
        "Правила.\n" + "Текст. " * 200 + "\nУтратило силу.",
    ],
)
def test_mentioning_the_end_of_another_document_does_not_count(text: str) -> None:
    assert not is_superseded(text)


def test_a_year_or_a_word_of_the_past_asks_for_old_rules() -> None:
    assert asks_about_the_past("Сколько дней давало положение 2023 года?")
    assert asks_about_the_past("What did the previous policy say?")
    assert not asks_about_the_past("Сколько дней отпуска положено?")
