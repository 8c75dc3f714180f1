"""The short form of the mutation benchmark: 100 true sentences, each altered in each way."""

import random
from collections import Counter

import numpy as np
import pytest

from app.domain.verification import evidence_facts, missing_facts, read_facts
from benchmarks.mutations import MUTATIONS, names_in
from benchmarks.verification import auroc

RUSSIAN = [
    f"{who} {verb} {what}"
    for who, verb, what in (
        ("Главный бухгалтер Иванова", "подписала", "приказ № 14 от 5 марта 2024 года."),
        ("Вместе с тем Петров", "получил", "премию в размере 35 000 рублей."),
        ("Как сообщил Сидоров,", "отдел закрыл", "сделку в Казани 12.04.2023."),
        ("По словам Ким,", "склад принимает", "товар с 9 до 18 часов."),
        ("Компания Ромашка", "открыла", "офис в Омске в 2019 году."),
    )
] + [
    template.format(place=place, count=count, year=year)
    for place, count, year in (
        ("Москве", 14, 2021), ("Перми", 28, 2018), ("Твери", 31, 2022), ("Уфе", 45, 2016),
        ("Самаре", 60, 2020),
    )
    for template in (
        "Офис в {place} закрывается через {count} дней после уведомления.",
        "С {year} года сотрудники в {place} получают доплату {count} процентов.",
        "Договор со складом в {place} не продлевается после {year} года.",
        "Сотруднику в {place} выдаётся пропуск на {count} месяцев.",
        "Заявление для филиала в {place} подаётся до 3 марта {year} года.",
        "Вход на склад в {place} разрешён без пропуска до {count} минут.",
        "Средний чек магазина в {place} составляет {count} 500 рублей.",
        "Ответственный в {place} проверяет журнал каждые {count} часов.",
        "Аренда в {place} подорожала на {count} %.",
    )
]  # fmt: skip
ENGLISH = [
    "On Monday Smith was given 14 days to answer.",
    "The contract with Acme was signed on March 5, 2021.",
    "Our office in Berlin is open from 9:00 to 18:00.",
    "The refund is paid within 30 days by Johnson.",
    "Since 2019 the team in Oslo has not shared the room.",
] + [
    template.format(place=place, count=count, year=year)
    for place, count, year in (
        ("Paris", 14, 2021), ("Madrid", 28, 2018), ("Prague", 31, 2022), ("Lisbon", 45, 2016),
        ("Vienna", 60, 2020),
    )
    for template in (
        "The office in {place} is closed after {count} days.",
        "Since {year} employees in {place} are paid a bonus of {count} percent.",
        "The lease in {place} is not renewed after {year}.",
        "A badge for {place} is valid for {count} months.",
        "Requests for {place} must be filed before March 3, {year}.",
        "Visitors in {place} may stay for {count} minutes.",
        "The shop in {place} was sold for ${count},500.",
        "The log in {place} is checked every {count} hours.",
        "Travel to {place} can be booked {count} days ahead.",
    )
]  # fmt: skip


def test_altered_facts_are_caught_and_true_ones_are_not() -> None:
    chance = random.Random(5)
    sentences = RUSSIAN + ENGLISH
    assert len(set(sentences)) == 100
    names = sorted({name for sentence in sentences for name in names_in(sentence)})
    tried, caught = Counter[str](), Counter[str]()
    for sentence in sentences:
        assert missing_facts(read_facts(sentence), evidence_facts(sentence)) == []
        for kind, alter in MUTATIONS.items():
            altered = alter(sentence, chance, names)
            if altered is not None:
                assert altered != sentence
                tried[kind] += 1
                caught[kind] += bool(missing_facts(read_facts(altered), evidence_facts(sentence)))
    assert min(tried[kind] for kind in MUTATIONS) >= 30, tried
    for kind in ("digit", "date"):
        assert caught[kind] >= 0.99 * tried[kind], (kind, caught, tried)
    for kind in ("name", "negation"):
        assert caught[kind] >= 0.9 * tried[kind], (kind, caught, tried)


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [([3, 4], [1, 2], 1), ([1, 2], [3, 4], 0), ([1, 1], [1, 1], 0.5), ([1, 3], [2, 2], 0.5)],
)
def test_auroc(good: list[float], bad: list[float], expected: float) -> None:
    assert auroc(np.array(good, float), np.array(bad, float)) == expected
