"""What an abstention says: what comes nearest, and what can be asked there."""

from dataclasses import replace

import pytest

from app.services.drafts import abstention_text
from tests.unit.passages import passage

TITLE = "Положение об отпусках"


@pytest.mark.parametrize(
    ("language", "hint"),
    [
        ("ru", "Спросите о том, что в них есть: «Сроки»."),
        ("en", "Ask about what they hold: «Сроки»."),
    ],
)
def test_headings_are_what_can_be_asked(language: str, hint: str) -> None:
    text = abstention_text(language, [passage("Отпуск.", 1), passage("Заявление.", 2)])
    assert text.endswith(hint)
    assert text.count(f"«{TITLE}»") == 1


def test_the_nearest_come_first_and_are_three_at_most() -> None:
    ranked = [
        replace(
            passage("", n, title=f"Том {n}"), rank=5 - n, heading_path=(f"Том {n}", f"Глава {n}")
        )
        for n in (1, 2, 3, 4)
    ]
    text = abstention_text("ru", ranked)
    assert "«Том 4», «Том 3», «Том 2»." in text
    assert "«Глава 4», «Глава 3», «Глава 2»." in text
    assert "1" not in text


def test_without_headings_nothing_is_invented() -> None:
    bare = replace(passage("Отпуск."), heading_path=(TITLE,))
    text = abstention_text("ru", [bare])
    assert text.endswith(f"«{TITLE}». Спросите о том, что в них сказано, или другими словами.")
    assert (
        abstention_text("en", []) == "The documents that you may read do not answer this question."
    )


def test_titles_and_headings_carry_no_address_and_no_line() -> None:
    hostile = replace(
        passage("x", title="See https://evil.example/x?q=1"),
        heading_path=("![a](http://evil.example)\nb" * 40,),
    )
    text = abstention_text("en", [hostile])
    assert "evil.example" not in text
    assert "\n" not in text
    assert len(text) < 500
