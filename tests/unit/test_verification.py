"""What a sentence states must stand in its evidence, however either of them writes it."""

import pytest

from app.domain.verification import (
    FactKind,
    Layers,
    calibrated_support,
    evidence_facts,
    missing_facts,
    read_facts,
)

HELD = [
    ("Отпуск длится двадцать восемь дней.", "Отпуск длится 28 календарных дней."),
    ("Отпуск — 28 дней.", "Отпуск составляет двадцать восемь календарных дней."),
    ("Не позднее пяти дней.", "Срок — не позднее 5 дней."),
    ("Leave lasts twenty-eight days.", "Leave lasts 28 days."),
    ("It costs $1.5 million.", "The price is 1,500,000 dollars."),
    ("Лимит — 1 млн рублей.", "Лимит составляет 1 000 000 руб."),
    ("Лимит — 1,5 млн ₽.", "Лимит составляет 1 500 тыс. рублей."),
    ("Ставка — 2,5 процента.", "Ставка равна 2.5%."),
    ("Приказ от 05.03.2024.", "Приказ подписан 5 марта 2024 г."),
    ("Приказ от 2024-03-05.", "Приказ подписан пятого марта 2024 года."),
    ("The order of March 5, 2024.", "Signed on 5th of March 2024."),
    ("Приказ вышел в марте 2024 года.", "Приказ от 05.03.2024."),
    ("Отпуск с 5 по 10 марта.", "Отпуск: 5–10 марта 2024 г."),
    ("Срок от 10 до 15 дней.", "Срок — 10–15 дней."),
    ("Испытание длится две недели.", "Испытательный срок — 14 дней."),
    ("Нужно уведомить за 3 дня.", "Действует трёхдневный срок уведомления."),
    ("A 14-day notice is due.", "Notice of 14 days is due."),
    ("Офис открыт с 9 до 18 часов.", "Часы работы офиса: 9:00–18:00."),
    ("The office closes at 6 p.m.", "The office closes at 18:00."),
    ("Звоните 8 (495) 123-45-67.", "Телефон: +7 495 1234567."),
    ("По 44 ФЗ.", "Закупки идут по закону № 44-ФЗ."),
    ("Заявление подписал Иванов.", "Заявление подписано Петром Ивановым."),
    ("Отдел возглавляет Анна Ким.", "Руководитель отдела — Ким Анна."),
    ("Сотруднику нельзя курить.", "Сотруднику запрещено курить."),
    ("Employees cannot smoke.", "Employees are not allowed to smoke."),
    ("Договор недействителен.", "Договор не действителен без печати."),
    ("Dormant after 75 days without earning rent.", "It has earned no rent for 75 days."),
    ("Машина, которая не приносит аренды.", "Машина без аренды."),
    ("Это возможно.", "Это возможно не только летом."),
    ("1. Подайте заявление.", "Подайте заявление."),
    ("В XIX веке.", "В 19-м веке."),
]
LACKING = [
    ("Отпуск длится 29 дней.", "Отпуск длится 28 дней.", FactKind.NUMBER),
    ("Отпуск длится двадцать девять дней.", "Отпуск длится 28 дней.", FactKind.NUMBER),
    ("Отпуск длится 28 часов.", "Отпуск длится 28 дней.", FactKind.NUMBER),
    ("Премия — 10 рублей.", "Премия — 10 %.", FactKind.NUMBER),
    ("Лимит — 1 млрд рублей.", "Лимит — 1 млн рублей.", FactKind.NUMBER),
    ("The limit is 15 GB.", "The limit is 15 MB.", FactKind.NUMBER),
    ("В архиве 14 отделов.", "В архиве 10 отделов и 14 столов.", FactKind.NUMBER),
    ("Приказ от 05.04.2024.", "Приказ от 5 марта 2024 г.", FactKind.DATE),
    ("Приказ от 5 марта 2025 года.", "Приказ от 05.03.2024.", FactKind.DATE),
    ("Приходите в понедельник.", "Приходите во вторник.", FactKind.DATE),
    ("The order of May 5, 2024.", "The order of March 5, 2024.", FactKind.DATE),
    ("По закону 45-ФЗ.", "По закону 44-ФЗ.", FactKind.IDENTIFIER),
    ("Ошибка T-312.", "Ошибка T-311.", FactKind.IDENTIFIER),
    ("Раздел 3.1 версии 2.0.1.", "Раздел 3.10 версии 2.0.1.", FactKind.IDENTIFIER),
    ("Пишите на hr@example.org.", "Пишите на it@example.org.", FactKind.IDENTIFIER),
    ("Заявление подписал Петров.", "Заявление подписал Иванов.", FactKind.NAME),
    ("Петров подписал заявление.", "Иванов подписал заявление.", FactKind.NAME),
    ("The office is in Paris.", "The office is in Berlin.", FactKind.NAME),
    ("Оплатите НДС.", "Оплатите НДФЛ.", FactKind.NAME),
    ("Отпуск не делится на части.", "Отпуск делится на части.", FactKind.NEGATION),
    ("Отпуск делится на части.", "Отпуск не делится на части.", FactKind.NEGATION),
    ("It earned rent.", "It earned no rent.", FactKind.NEGATION),
    ("Без аренды 75 дней.", "Приносит аренду 75 дней.", FactKind.NEGATION),
    ("Курить разрешено.", "Курить запрещено.", FactKind.NEGATION),
    ("Employees can smoke.", "Employees cannot smoke.", FactKind.NEGATION),
    ("Leave isn't paid.", "Leave is paid.", FactKind.NEGATION),
    ("Вход без пропуска.", "Вход по пропуску.", FactKind.NEGATION),
    ("Договор действителен.", "Договор недействителен.", FactKind.NEGATION),
    ("Срок увеличивается.", "Срок сокращается.", FactKind.NEGATION),
]


@pytest.mark.parametrize(("claim", "quote"), HELD)
def test_the_same_in_other_words_is_held(claim: str, quote: str) -> None:
    assert missing_facts(read_facts(claim), evidence_facts(quote)) == []


@pytest.mark.parametrize(("claim", "quote", "kind"), LACKING)
def test_another_fact_is_named(claim: str, quote: str, kind: FactKind) -> None:
    assert kind in [fact.kind for fact in missing_facts(read_facts(claim), evidence_facts(quote))]


@pytest.mark.parametrize("text", sorted({text for pair in HELD for text in pair}))
def test_a_text_holds_its_own_facts(text: str) -> None:
    assert missing_facts(read_facts(text), evidence_facts(text)) == []


def test_headings_and_table_headers_are_evidence_too() -> None:
    claim = read_facts("В 2024 году Ромашка выплатила 1,5 млн рублей.")
    row = evidence_facts("| Ромашка | 1 500 |")
    header = read_facts("Выплаты за 2024 год, тыс. рублей")
    assert missing_facts(claim, row, header) == []
    assert missing_facts(claim, row)


def test_across_languages_names_and_negations_are_not_compared() -> None:
    claim = read_facts("Анна Ким не получает 28 дней.")
    assert missing_facts(claim, evidence_facts("Anna Kim gets 28 days.")) == []
    assert missing_facts(claim, evidence_facts("Anna Kim gets 29 days."))


def test_support_rises_with_each_layer_and_falls_to_0_without_the_facts() -> None:
    shares = [calibrated_support(Layers(1.0, share / 10), False) for share in range(11)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.01
    assert 0.95 < shares[10] < 1
    cosines = [calibrated_support(Layers(1.0, 0.0, share / 10), True) for share in range(11)]
    assert cosines == sorted(cosines)
    doubted, plain, believed = (
        calibrated_support(Layers(1.0, 0.7, None, entailment), False)
        for entailment in (0.1, None, 0.9)
    )
    assert doubted < plain < believed
    assert calibrated_support(Layers(0.5, 1.0), False) == 0
