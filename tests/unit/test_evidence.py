"""Evidence: what of the passages stands in the prompt."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.evidence import choose_evidence, estimate_tokens, heading, render
from tests.unit.passages import passage, unlike

QUESTION = "За сколько дней подаётся заявление на отпуск?"
FILLER = "Рабочий день начинается в девять часов утра в каждом отделе. "
KEY = "Заявление на отпуск подаётся за четырнадцать дней. "


def test_all_that_fits_goes_in_whole_and_numbered() -> None:
    passages = [passage(KEY.strip()), passage("Второй.", 2, context="| Срок | Дни |")]
    chosen = choose_evidence(QUESTION, passages, 1000, unlike)
    assert [excerpt.text for excerpt in chosen] == [p.text for p in passages]
    assert render(chosen) == (
        "[1] Положение об отпусках — Сроки\nЗаявление на отпуск подаётся за четырнадцать дней.\n\n"
        "[2] Положение об отпусках — Сроки\n| Срок | Дни |\nВторой."
    )
    assert heading(passages[0]) == "Положение об отпусках — Сроки"


def test_sentence_with_the_questions_words_is_kept() -> None:
    long = FILLER * 20 + KEY + FILLER * 20
    chosen = choose_evidence(QUESTION, [passage(long)], 120, unlike)
    assert len(chosen) == 1
    assert KEY.strip() in chosen[0].text
    assert len(chosen[0].text) < len(long) / 2


def test_list_item_brings_its_introduction() -> None:
    items = "".join(f"- пункт о рабочем времени номер {n};\n" for n in range(40))
    text = f"Заявления подаются так:\n- на отпуск за 14 дней;\n{items}"
    chosen = choose_evidence("отпуск заявление", [passage(text)], 70, unlike)
    assert chosen[0].text.startswith("Заявления подаются так:\n- на отпуск за 14 дней;")


def test_table_row_brings_its_header() -> None:
    rows = "".join(f"| Город {n} | {n} руб. |\n" for n in range(60))
    text = f"| Город | Суточные |\n| --- | --- |\n{rows}"
    chosen = choose_evidence("Суточные: Город 41", [passage(text)], 90, unlike)
    assert chosen[0].text.startswith("| Город | Суточные |\n| --- | --- |")
    assert "| Город 41 |" in chosen[0].text
    assert "…" in chosen[0].text  # rows are left out between them


def test_nothing_to_choose_from() -> None:
    assert choose_evidence(QUESTION, [], 100, unlike) == []
    assert choose_evidence(QUESTION, [passage(" \n ")], 100, unlike) == []
    assert choose_evidence(QUESTION, [passage(FILLER)], 1, unlike) == []


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([FILLER, KEY, "- пункт;\n", "| a | b |\n", "\n\n"]), max_size=25),
        max_size=4,
    ),
    budget=st.integers(0, 400),
)
def test_spans_are_in_order_within_the_text_and_the_budget(
    texts: list[list[str]], budget: int
) -> None:
    passages = [passage("".join(pieces), n, score=0.5) for n, pieces in enumerate(texts)]
    chosen = choose_evidence(QUESTION, passages, budget, unlike)
    order = [passages.index(excerpt.passage) for excerpt in chosen]
    assert order == sorted(order)
    for excerpt in chosen:
        end = 0
        for start, stop in excerpt.spans:
            assert end <= start < stop <= len(excerpt.passage.text)
            end = stop
        assert excerpt.text.strip()
    # Each estimate is rounded and has 1 to spare.
    spans = sum(len(excerpt.spans) for excerpt in chosen)
    assert estimate_tokens(render(chosen)) <= budget + 4 * len(chosen) + 2 * spans + 2
