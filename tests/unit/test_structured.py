"""Answers as JSON: read by their schema, and every value in the evidence or named as missing."""

import json
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidField, SchemaMismatch
from app.domain.evidence import Excerpt
from app.domain.structured import LONGEST_SCHEMA, AnswerSchema, Grounded, ground
from app.services.verification import Verification
from tests.unit.passages import passage, unlike

LEAVE = (
    "Каждому сотруднику полагается 28 календарных дней отпуска с 5 марта 2024 г. "
    "Заявление подаётся за 14 дней Ивановой Анне. Премия составляет 1 500,50 рубля."
)
TRIP = "Суточные в командировке составляют 700 рублей. Приказ № 44-ФЗ."
FIELDS = {
    "type": "object",
    "properties": {
        "days": {"type": ["integer", "null"]},
        "sum": {"type": "number"},
        "who": {"type": "string"},
        "what": {"type": "array", "items": {"type": "string"}},
        "urgent": {"type": "boolean"},
        "level": {"enum": ["high", "low"]},
    },
}
SCHEMA = AnswerSchema(FIELDS)


def grounded(data: Any, schema: AnswerSchema = SCHEMA) -> Grounded:
    excerpts = [
        Excerpt(passage(text, number, char_start=1000 * number), ((0, len(text)),))
        for number, text in enumerate((LEAVE, TRIP), start=1)
    ]
    check = partial(
        Verification(0.25).check,
        question="Сколько дней отпуска?",
        excerpts=excerpts,
        similarity=unlike,
    )
    found = ground(data, schema, excerpts, check)
    assert json.loads(found.text) == data
    for citation in found.citations:
        text = (LEAVE, TRIP)[citation.marker - 1]
        start = citation.char_start - 1000 * citation.marker
        assert text[start : start + len(citation.quote)] == citation.quote
    return found


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ({"days": 28}, ["28"]),
        ({"days": 28, "sum": 1500.5}, ["28", "1500.5"]),
        ({"sum": 1500.50, "who": "Иванова"}, ["1500.5", '"Иванова"']),
        ({"what": ["44-ФЗ", "5 марта 2024"]}, ['"44-ФЗ"', '"5 марта 2024"']),
        ({"what": ["2024-03-05"]}, ['"2024-03-05"']),
        ({"days": 14, "urgent": True, "level": "high"}, ["14"]),
        ({"days": None, "who": "сотрудник"}, ['"сотрудник"']),
    ],
)  # fmt: skip
def test_values_in_the_evidence_are_cited_where_they_stand(data: Any, values: list[str]) -> None:
    found = grounded(data)
    assert found.missing == ()
    assert [found.text[c.answer_start : c.answer_end] for c in found.citations] == values


@pytest.mark.parametrize(
    "data",
    [
        {"days": 29},
        {"days": -28},
        {"days": 2},
        {"sum": 1500.05},
        {"who": "Петрова Анна"},
        {"who": "Иванова Мария"},
        {"what": ["28 дней", "44-ФЗ", "45-ФЗ"]},
        {"what": ["700 дней"]},
        {"who": "Суточные полагаются Ивановой Анне"},
        {"Иванов директор": True},
    ],
)
def test_values_that_no_document_carries_are_missing(data: Any) -> None:
    assert grounded(data).missing


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_but_those_of_the_evidence_passes(number: float) -> None:
    known = {"28", "5", "2024", "14", "1500.5", "700", "44"}
    carried = not grounded({"sum": number}).missing
    assert carried == (str(Decimal(str(number)).normalize()) in known)


def test_addresses_are_taken_out_before_the_schema_judges() -> None:
    text = '{"who": "![x](https://evil.example/x) Иванова <img src=x>"}'
    assert SCHEMA.read(text) == {"who": "x Иванова "}
    assert SCHEMA.read('```json\n{"days": 28}\n```') == {"days": 28}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("28 дней", "no JSON"),
        ('{"days": "28"}', "days"),
        ('{"days": NaN}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"level": "middle"}', "level"),
        ("[]", "the whole"),
    ],
)
def test_what_the_schema_does_not_want_is_named(text: str, reason: str) -> None:
    with pytest.raises(SchemaMismatch, match=reason):
        SCHEMA.read(text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/nowhere"},
        {"type": "string", "pattern": "("},
        {"const": "x" * LONGEST_SCHEMA},
    ],
)
def test_a_schema_that_is_none_is_refused_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match="response_format"):
        AnswerSchema(schema)


def test_a_hostile_pattern_takes_no_time() -> None:
    schema = AnswerSchema({"type": "string", "pattern": "^(a+)+$"})
    with pytest.raises(SchemaMismatch):
        schema.read(json.dumps("a" * 50_000 + "b"))
