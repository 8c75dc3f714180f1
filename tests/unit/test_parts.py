"""The parts of a question that asks for several things."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.follow_ups import topic_keys
from app.domain.parts import MOST_PARTS, question_parts


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("Сколько стоит обед?", []),
        ("Кто возит обеды и ужины?", []),  # «ужины» alone is no part
        (
            "Сколько дней отпуска у стажёра и кто согласует командировку в Казань?",
            ["Сколько дней отпуска у стажёра", "кто согласует командировку в Казань"],
        ),
        (
            "Which firm, named in the lease, cleans zone B, while crew 7 repairs the racks?",
            ["Which firm, named in the lease", "cleans zone B", "crew 7 repairs the racks"],
        ),
    ],
)
def test_parts(question: str, parts: list[str]) -> None:
    assert question_parts(question) == parts


WORDS = st.sampled_from(
    ["отпуск", "стажёра", "и", ",", "а", "zone", "B", "and", "while", "?", "31"]
)


@settings(derandomize=True, deadline=None)
@given(words=st.lists(WORDS, max_size=40))
def test_parts_are_pieces_of_the_question_in_order(words: list[str]) -> None:
    question = " ".join(words)
    parts = question_parts(question)
    assert len(parts) != 1
    assert len(parts) <= MOST_PARTS
    place = 0
    for part in parts:
        place = question.index(part, place) + len(part)
        assert len(set(topic_keys(part))) >= 2
