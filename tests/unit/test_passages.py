"""Joining neighbours, collapsing copies, finding phrases."""

from dataclasses import replace

import pytest

from app.domain.documents import Passage
from app.domain.passages import best_of, collapse_duplicates, holds_phrase, joined, neighbour_runs
from app.domain.text import search_keys
from tests.unit.passages import passage

TEXT = "Отпуск длится 28 дней.\n\nЗаявление подают за две недели.\n\nОтпускные платят за три дня."


def chunks(*scores: float) -> list[Passage]:
    """The paragraphs of one document, each with its score, best first."""
    found, start = [], 0
    for ordinal, (text, score) in enumerate(zip(TEXT.split("\n\n"), scores, strict=True)):
        whole = passage(text, chunk_id=ordinal + 10, char_start=start, score=score)
        whole = replace(whole, document_id="doc_1", ordinal=ordinal, tokens=10, gap="\n\n")
        found.append(whole)
        start += len(text) + 2
    return sorted(found, key=lambda p: -p.score)


def test_found_neighbours_are_joined_around_the_best() -> None:
    (run,) = neighbour_runs(chunks(0.2, 0.9, 0.5), budget_tokens=30)
    assert [p.ordinal for p in run] == [0, 1, 2]
    assert best_of(run).ordinal == 1
    whole = joined(run)
    assert (whole.text, whole.char_start, whole.char_end) == (TEXT, 0, len(TEXT))
    assert (whole.chunk_id, whole.score, whole.tokens) == (11, 0.9, 30)


def test_the_better_neighbour_comes_first_and_the_budget_holds() -> None:
    runs = neighbour_runs(chunks(0.2, 0.9, 0.5), budget_tokens=29)
    assert [[p.ordinal for p in run] for run in runs] == [[1, 2], [0]]


def test_without_a_known_gap_nothing_is_joined() -> None:
    apart = [replace(passage, gap=None) for passage in chunks(0.2, 0.9, 0.5)]
    assert len(neighbour_runs(apart, budget_tokens=1000)) == 3


def test_no_budget_joins_nothing() -> None:
    assert len(neighbour_runs(chunks(0.2, 0.9, 0.5), budget_tokens=0)) == 3


@pytest.mark.parametrize(
    "change",
    [{"document_id": "doc_2"}, {"version": 3}, {"heading_path": ("Другое",)}, {"ordinal": 7}],
)
def test_what_stands_elsewhere_is_no_neighbour(change: dict[str, object]) -> None:
    first, *others = chunks(0.9, 0.5, 0.2)
    moved = replace(others[0], **change)  # type: ignore[arg-type]
    assert all(len(run) == 1 for run in neighbour_runs([first, moved], budget_tokens=1000))


def test_a_table_goes_on_under_its_header() -> None:
    upper = replace(passage("| Город | Сумма |\n|---|---|\n| Казань | 700 |", 1), document_id="doc")
    lower = replace(passage("| Омск | 650 |", 2), document_id="doc", ordinal=2)
    lower = replace(lower, context="| Город | Сумма |\n|---|---|")
    assert len(neighbour_runs([upper, lower], 1000)) == 1
    foreign = replace(lower, context="| Отдел | Срок |\n|---|---|")
    assert len(neighbour_runs([upper, foreign], 1000)) == 2


SENTENCE = (
    "Сотрудник подаёт заявление об отпуске руководителю не позднее чем за две недели до начала"
)


def test_a_copy_is_named_at_the_better_one() -> None:
    best, copy = passage(SENTENCE + " отпуска.", 1), passage(SENTENCE.upper() + " отпуска!", 2)
    (kept,) = collapse_duplicates([best, copy], limit=10)
    assert (kept.chunk_id, kept.duplicates) == (1, ("doc_2",))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{SENTENCE} 2023 года", f"{SENTENCE} 2024 года"),
        (f"{SENTENCE}, можно переносить", f"{SENTENCE}, не можно переносить"),
        (SENTENCE, "Командировочные расходы возмещаются по чекам."),
    ],
)
def test_what_differs_in_a_number_or_a_negation_is_no_copy(one: str, other: str) -> None:
    assert len(collapse_duplicates([passage(one, 1), passage(other, 2)], limit=10)) == 2


def test_repetition_inside_a_document_is_left_alone() -> None:
    twice = [replace(passage(SENTENCE, number), document_id="doc") for number in (1, 2)]
    assert len(collapse_duplicates(twice, limit=10)) == 2


@pytest.mark.parametrize(
    ("text", "phrase", "holds"),
    [
        ("Порядок предоставления отпусков", "предоставление отпуска", True),
        ("отпуск предоставления", "предоставление отпуска", False),
        ("предоставления и отпуска", "предоставление отпуска", False),
        ("", "предоставление отпуска", False),
    ],
)
def test_a_phrase_is_found_in_any_form_and_only_in_its_order(
    text: str, phrase: str, *, holds: bool
) -> None:
    assert holds_phrase(search_keys(text), search_keys(phrase)) is holds
