import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.text import (
    guess_language,
    index_keys,
    search_keys,
    sentences,
    with_beginnings,
)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("отпусков сотрудникам", "отпуск сотрудник"),
        ("Ёлка стоит", "ЕЛКА СТОИТ"),
        ("за\u0301мок", "замок"),
        ("со\u00adтруд\u00adник", "сотрудник"),
        ("и\u0306од", "йод"),  # NFD, as macOS names files
        ("connections", "connect"),
        ("company's policies", "company policy"),
        ("cтoл", "стол"),  # Latin c and o
        ("Аpple", "apple"),  # Cyrillic А
        ("44-ФЗ", "44\u2011фз"),
        ("1 500 000", "1\u00a0500\u00a0000"),
        ("1,500,000", "1500000"),
        ("2,5", "2.5"),
        ("1 234,50", "1,234.50"),
        ("44—ФЗ", "44-ФЗ"),
        ("N 15/2", "№ 15/2"),
        ("No. 15/2", "№15/2"),
        ("п.3.2", "п. 3.2"),
        ("15/09/2026", "15.09.2026"),
        ("п. 3,2", "п. 3.2"),
        ("ＡＢＣ－１２３ ﬁle", "ABC-123 file"),
        ("café", "cafe\u0301"),
        ("ещ\u00eb", "ещё"),  # Latin e with two dots
        ("Windows™", "windows"),
        ("report_2024-final.xlsx", "report_2024_final.xlsx"),
    ],
)
def test_spellings_that_mean_the_same_have_the_same_keys(text: str, same: str) -> None:
    assert search_keys(text) == search_keys(same)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("44-ФЗ", {"44фз", "44", "фз"}),
        ("44ФЗ", {"44фз", "44", "фз"}),
        ("ГОСТ Р 34.11-2012", {"гост", "р", "34.11-2012", "34.11", "34", "11", "2012"}),
        ("№ 15/2", {"№15/2", "15/2", "15", "2"}),
        ("№15", {"№15", "15"}),
        ("ivan.petrov@kvant.ru", {"ivan.petrov@kvant.ru", "ivan", "petrov", "kvant", "ru"}),
        ("ABC-123", {"abc123", "abc", "123"}),
        ("2.13.0", {"2.13.0", "2.13", "2", "13", "0"}),
        ("15.09.2026", {"2026-09-15", "15", "09", "2026"}),
        ("2026-09-15", {"2026-09-15", "15", "09", "2026"}),
        ("user_id", {"user_id", "user", "id"}),
        ("веб-сервис", {"веб", "сервис"}),
        ("SQLзапрос", {"sql", "запрос"}),
        ("1С:Предприятие", {"1c", "1", "с", "предприятие"}),
        ("№ 44-ФЗ", {"№44фз", "44фз", "44", "фз"}),
        ("№ документа", {"документ"}),
        ("Р34.11-2012", {"p34.11-2012", "р", "34.11-2012", "34.11", "34", "11", "2012"}),
        ("v2.13.0", {"v2.13.0", "v", "2.13.0", "2.13", "2", "13", "0"}),
        ("10.12.24", {"2024-12-10", "10.12.24", "10.12", "10", "12", "24"}),
        ("45.99.2026", {"45.99.2026", "45.99", "45", "99", "2026"}),
        ("09/15/2026", {"2026-09-15", "09", "15", "2026"}),
        ("15 сентября 2026", {"2026-09-15", "15", "сентябрь", "2026"}),
        ("September 15th, 2026", {"2026-09-15", "15th", "15", "th", "septemb", "2026"}),
        ("getUserName", {"getusernam", "get", "user", "name"}),
        ("HTTPServer", {"httpserver", "http", "server"}),
        ("C++", {"c++", "c"}),
        ("C#", {"c#", "c"}),
        ("8 (495) 123-45-67", {"4951234567", "8", "495", "123-45-67", "123", "45", "67"}),
        ("84951234567", {"84951234567", "4951234567"}),
        (
            "40702 810 4 0000 0000001",
            {"40702810400000000001", "40702", "810", "4", "0000", "0000001"},
        ),
        ("Т-2", {"t2", "т", "2"}),
    ],
)
def test_identifiers_are_kept_whole_and_in_parts(text: str, keys: set[str]) -> None:
    assert set(search_keys(text)) == keys


def test_an_identifier_is_found_whatever_alphabet_its_letters_come_from() -> None:
    assert "a118/25" in set(search_keys("А-118/25")) & set(search_keys("A-118/25"))


def test_keys_keep_order_and_repetitions() -> None:
    assert search_keys("Отпуск, приказ, отпуска.") == ["отпуск", "приказ", "отпуск"]


def test_other_alphabets_are_keys_too() -> None:
    assert search_keys("Ελλάδα café") == ["ελλάδα", "cafe"]


@given(st.text())
def test_any_text_has_keys_without_white_space(text: str) -> None:
    assert all(key and len(key) <= 65 and key.split() == [key] for key in search_keys(text))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Сколько дней отпуска?", "ru"),
        ("How many days of leave?", "en"),
        ("Как настроить GlobalProtect VPN на MacBook?", "ru"),
        ("What does the street sign ул. Баумана in the office guide say?", "en"),
        ("12 345 — !", None),
        ("", None),
    ],
)
def test_language(text: str, language: str | None) -> None:
    assert guess_language(text) == language


@pytest.mark.parametrize(
    "whole",
    [
        "В 2020 г. компания выросла на 3.5 % и т.д.",
        "И. И. Иванов и А.С. Пушкин подписали приказ № 15 от 1.09.2026.",
        "См. п. 4.2 ст. 15 ТК РФ, т. е. закон.",
        "Офис: г. Казань, ул. Баумана, д. 5, кв. 3, тел. 5-15.",
        "Выручка 5 млн. руб. за год.",
        "Mr. Smith paid 1,200.50 USD, e.g. for No. 5, see Fig. 3.",
        "The U.S. Army uses version 2.13.0 of it.",
        "«Да!» — сказал он.",
        "Ждём... потом едем.",
        "Отпуск 28 дней.[1]",
        "Отпуск 28 дней. [1] [2]",
        "| 1. Да. Нет? Да | 2 |",
        "| " + "очень длинная ячейка " * 5 + "конец. Начало | 2 |",
        "1. Первый пункт",
        "Строка\nеё продолжение",
    ],
)
def test_one_sentence_stays_one(whole: str) -> None:
    assert [whole[start:end] for start, end in sentences(whole)] == [whole]


@pytest.mark.parametrize(
    "expected",
    [
        ["Первое.", "Второе!", "Третье?", "Four…", "Five."],
        ["Приказ от 1.09.2026 г.", "Он вступил в силу."],
        ["Бумага, ручки и т.д.", "Заказ оформляет секретарь."],
        ["Стоит 500 руб.", "Оплата сразу."],
        ["Было 15.", "Стало 16."],
        ["Мы ушли в 5 p.m.", "Они остались."],
        ["No.", "It is closed."],
        ["«Нет.»", "Он ушёл."],
        ["Отпуск 28 дней. [1]", "Заявление за 14 дней [2].", "Конец."],
    ],
)
def test_sentences_are_told_apart(expected: list[str]) -> None:
    text = " ".join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_lists_tables_headings_and_blank_lines_end_sentences() -> None:
    pieces = ["# Отпуск", "Список:", "1. Раз", "2) Два", "- три", "а) четыре"]
    pieces += ["| a | b |", "|---|---|", "| 1 | 2 |", "Текст после"]
    text = "\n".join(pieces) + "\n\nАбзац"
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [*pieces, "Абзац"]


@given(st.text(alphabet="аБ.!?1 \n|-[]«»(", max_size=60))
def test_sentences_cover_all_but_white_space_in_order(text: str) -> None:
    position = 0
    for start, end in sentences(text):
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip() != ""
        position = end
    assert not text[position:].strip()


def test_beginnings_link_related_words_and_count_little() -> None:
    keys = index_keys("Отпускные за 28 дней, VPN")
    assert "отпус…" in keys
    assert not any(key.startswith(("28…", "vpn…")) for key in keys)
    weights = with_beginnings({"отпуск": 2.0, "vpn": 1.0, "12345": 1.0})
    assert weights == {"отпуск": 2.0, "vpn": 1.0, "12345": 1.0, "отпус…": pytest.approx(0.4)}
