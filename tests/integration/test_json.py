"""JSON becomes text that keeps what belongs together."""

import json
from pathlib import Path

import pytest

from app.domain.errors import DocumentTooComplex, EmptyDocument
from tests.integration.parsing import read_text, shape


def test_json_keys_are_headings_and_records_tables(tmp_path: Path) -> None:
    value = {
        "title": "Прайс-лист",
        "valid": True,
        "discount": 1.50,
        "contacts": {"phone": "8-800", "mail": None},
        "prices": [{"товар": "Балка", "цена": 450}, {"товар": "Стойка", "цена": 12e3}],
        "notes": ["первая", "вторая"],
        "sections": [
            {"name": "Доставка", "text": "Долго. " * 60, "days": [1, 2]},
            {"name": "Оплата", "text": "Сразу."},
        ],
    }
    text = json.dumps(value, ensure_ascii=False).replace("1.5,", "1.50,")
    parsed = read_text(tmp_path, "a.json", text.encode("cp1251"))
    assert parsed.title == "Прайс-лист"
    assert shape(parsed) == [
        ("paragraph", 0, "title: Прайс-лист\nvalid: true\ndiscount: 1.50"),
        ("heading", 1, "contacts"),
        ("paragraph", 0, "phone: 8-800"),
        ("heading", 1, "prices"),
        ("table", 0, "| товар | цена |\n| --- | --- |\n| Балка | 450 |\n| Стойка | 12000.0 |"),
        ("paragraph", 0, "notes:"),
        ("list_item", 0, "- первая"),
        ("list_item", 0, "- вторая"),
        ("heading", 1, "sections"),
        ("heading", 2, "Доставка"),
        ("paragraph", 0, "name: Доставка"),
        ("paragraph", 0, "text:"),
        ("paragraph", 0, ("Долго. " * 60).strip()),
        ("paragraph", 0, "days:"),
        ("list_item", 0, "- 1"),
        ("list_item", 0, "- 2"),
        ("heading", 2, "Оплата"),
        ("paragraph", 0, "name: Оплата\ntext: Сразу."),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_json_lines_are_one_table(tmp_path: Path, name: str) -> None:
    parsed = read_text(tmp_path, name, '{"имя": "Анна", "лет": 30}\n\n{"имя": "Иван"}\n')
    assert parsed.text == "| имя | лет |\n| --- | --- |\n| Анна | 30 |\n| Иван |  |"


def test_what_is_no_json_is_kept_as_text(tmp_path: Path) -> None:
    parsed = read_text(tmp_path, "a.json", '{"a": "Анна", // примечание\n}')
    assert "примечание" in parsed.text
    assert parsed.flags == ("plain_text_fallback",)


def test_json_limits(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="nested"):
        read_text(tmp_path, "a.json", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(EmptyDocument):
        read_text(tmp_path, "a.json", '{"": [null, ""]}')
