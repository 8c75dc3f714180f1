"""The glossary's file, and what it makes of a question."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidLines
from app.domain.glossary import (
    LONGEST_TEXT,
    MOST_EXPANSIONS,
    MOST_TERMS,
    Entry,
    Glossary,
    read_glossary,
    write_glossary,
)

SAMPLE = Path(__file__).parents[2] / "samples" / "glossary.csv"
HEADER = "term,expansions\n"


def broken_lines(file: str | bytes) -> list[tuple[int, str]]:
    """What is said about each broken line."""
    data = file.encode() if isinstance(file, str) else file
    with pytest.raises(InvalidLines) as caught:
        read_glossary(data)
    return list(caught.value.lines)


@pytest.mark.parametrize(
    "file",
    [
        "term,expansions\nДМС,страховка; полис ДМС\n",
        "\ufeffterm,expansions\r\nДМС,страховка|полис ДМС\r\n",
        "Term; Expansions\n\n ДМС ;страховка | полис  ДМС\n \n",
        'term;expansions\n"ДМС";"страховка;полис\u00a0ДМС"',
        "term,expansions,language\nДМС,страховка;;страховка;ДМС;полис ДМС,\n",
    ],
)
def test_spellings_of_one_file(file: str) -> None:
    assert read_glossary(file.encode()) == (Entry("ДМС", ("страховка", "полис ДМС")),)


def test_language_is_kept() -> None:
    file = "term,expansions,language\nДМС,полис,RU\nHR,people team,en\nSLA,срок,\n"
    assert [entry.language for entry in read_glossary(file.encode())] == ["ru", "en", None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",страховка", "term is empty"),
        ("ДМС,", "'ДМС' has no expansions"),
        ("ДМС,ДМС; ;", "'ДМС' has no expansions"),
        ("ДМС", "has 1 columns, the header has 2"),
        ("ДМС,страховка,полис", "has 3 columns, the header has 2"),
        (f"{'д' * (LONGEST_TEXT + 1)},страховка", f"longer than {LONGEST_TEXT} characters"),
        (f"ДМС,{'д' * (LONGEST_TEXT + 1)}", f"longer than {LONGEST_TEXT} characters"),
        (f"ДМС,{'д' * 200_000}", "longer than 10000 characters"),
        (
            "ДМС," + ";".join(f"слово {n}" for n in range(MOST_EXPANSIONS + 1)),
            f"more than {MOST_EXPANSIONS} expansions",
        ),
        ("до,до востребования", "'до' stands in line 2 already"),
        ("До,до востребования", "'До' stands in line 2 already"),
        ("Д\0МС,страховка", "control character U+0000"),
        ("Д\tМС,страховка", "control character U+0009"),
        ("Д\u0085МС,страховка", "control character U+0085"),
        ('"ДМС,страховка', "quotes do not pair up"),
        ('ДМС,"страховка', "quotes do not pair up"),
        ('"ДМС"а,страховка', "quotes do not pair up"),
        ("—,страховка", "'—' holds no word"),
        ("ДМС,?!", "'?!' holds no word"),
    ],
)
def test_broken_line_is_named_by_number(line: str, reason: str) -> None:
    [(number, said)] = broken_lines(f"{HEADER}до,перед\n\n{line}\nИТ,техника\n")
    assert number == 4
    assert reason in said


def test_broken_encoding_is_named_by_number() -> None:
    good, bad = "ДМС,страховка\n".encode(), "ИТ,техника\n".encode("cp1251")
    [(number, said)] = broken_lines(HEADER.encode() + good + bad)
    assert number == 3
    assert "UTF-8" in said
    [(number, said)] = broken_lines((HEADER + "ДМС,страховка\n").encode("utf-16"))
    assert (number, "UTF-8" in said) == (1, True)


def test_unknown_language_is_named_by_number() -> None:
    [(number, said)] = broken_lines("term,expansions,language\nДМС,полис,de\n")
    assert number == 2
    assert "'de'" in said


@pytest.mark.parametrize(
    "file",
    [
        "",
        "\n\n",
        "\ufeff",
        "ДМС,страховка\n",
        "term\nДМС\n",
        "expansions,term\nа,б\n",
        "term,expansions,note\nа,б,в\n",
        "term\texpansions\nДМС\tполис\n",
        '--boundary\r\nContent-Disposition: form-data; name="file"\r\n\r\nterm,expansions\r\n',
    ],
)
def test_without_its_header_a_file_is_refused(file: str) -> None:
    [(number, _)] = broken_lines(file)
    assert number == 1


def test_file_without_a_term_is_refused() -> None:
    assert broken_lines(HEADER) == [(1, "no term follows the header")]


def test_first_twenty_broken_lines_are_named() -> None:
    file = HEADER + "ДМС\n" * 30
    assert [number for number, _ in broken_lines(file)] == list(range(2, 22))
    with pytest.raises(InvalidLines, match=r"line 21: .*; and 10 lines more"):
        read_glossary(file.encode())


def test_too_many_terms_are_refused() -> None:
    rows = [f"слово {number},то же самое" for number in range(MOST_TERMS)]
    file = "\n".join([HEADER.strip(), *rows])
    assert len(read_glossary(file.encode())) == MOST_TERMS
    assert broken_lines(file + "\nещё,одно\n") == [
        (MOST_TERMS + 2, f"more than {MOST_TERMS} terms")
    ]


TEXT = st.text("аБвX y-1,\"'", min_size=1, max_size=10).map(
    lambda text: " ".join(f"w {text}".split())
)


@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["ru", "en", None])), min_size=1))
def test_what_is_written_is_read_again(rows: list[tuple[str, str, str | None]]) -> None:
    entries = tuple(
        Entry(f"{number} {term}", (expansion, "same"), language)
        for number, (term, expansion, language) in enumerate(rows)
    )
    assert read_glossary(write_glossary(entries).encode()) == entries


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for file in (data, HEADER.encode() + data):
        try:
            assert read_glossary(file)
        except InvalidLines as error:
            assert error.lines


def glossary(*rows: tuple[str, ...]) -> Glossary:
    return Glossary(
        [Entry(term, expansions) for term, *rest in rows for expansions in [tuple(rest)]]
    )


COMPANY = glossary(
    ("ДМС", "добровольное медицинское страхование", "voluntary health insurance"),
    ("отпуск по БиР", "декретный отпуск"),
    ("декретный отпуск сотрудницы склада", "форма 7"),
    ("ПО", "программное обеспечение"),
    ("US", "United States"),
    ("ГОСТ", "государственный стандарт"),
    ("44-ФЗ", "закон о контрактной системе"),
    ("ноутбук", "лэптоп", "laptop"),
)


@pytest.mark.parametrize(
    ("question", "expansions"),
    [
        (
            "Как оформить ДМС?",
            ("добровольное медицинское страхование", "voluntary health insurance"),
        ),
        ("без добровольного медицинского страхования", ("ДМС", "voluntary health insurance")),
        ("Voluntary health insurances", ("ДМС", "добровольное медицинское страхование")),
        ("Сколько длится отпуск по БИР?", ("декретный отпуск",)),
        ("о декретных отпусках", ("отпуск по БиР",)),
        ("декретном отпуске сотрудницы склада", ("форма 7",)),  # the longest counts
        ("лицензии на ПО", ("программное обеспечение",)),
        ("ИТ/ПО-аудит", ("программное обеспечение",)),
        ("трансфер по Казани", ()),
        ("По какому адресу?", ()),
        ("tell us more", ()),
        ("taxes in the US?", ("United States",)),
        ("по ГОСТу и без ГОСТа", ("государственный стандарт",)),
        ("по гостам", ()),
        ("закупки по 44-фз", ("закон о контрактной системе",)),
        ("мой лэптоп", ("ноутбук", "laptop")),
        ("лэптоп или ноутбук", ("laptop",)),  # not what the question says itself
        (
            "ДМС на ноутбук",
            (
                "добровольное медицинское страхование",
                "voluntary health insurance",
                "лэптоп",
                "laptop",
            ),
        ),
        ("страхование", ()),
        ("", ()),
        ("?!", ()),
    ],
)
def test_expansions_of_a_question(question: str, expansions: tuple[str, ...]) -> None:
    assert COMPANY.expansions(question) == expansions


def test_what_small_letters_hide_is_not_given() -> None:
    assert COMPANY.expansions("программное обеспечение") == ()  # its key would be that of «по»


def test_small_letters_may_be_named() -> None:
    found = glossary(("ДМС", "дмс", "полис")).expansions
    assert found("как получить дмс") == found("как получить ДМС") == ("полис",)


def test_inflections_of_one_word_are_one_text() -> None:
    found = glossary(("отгул", "отгула", "отгулы", "отгулов", "отгулу", "день отдыха")).expansions
    assert found("про отгулы") == ("день отдыха",)


def test_common_words_are_not_looked_for() -> None:
    assert glossary(("это", "данный предмет")).expansions("что это такое") == ()


def test_text_of_several_lines_stands_for_each_of_them_until_they_are_many() -> None:
    rows = [("ТО", "техобслуживание"), ("осмотр", "техобслуживание"), ("ремонт", "техобслуживание")]
    assert glossary(*rows).expansions("график техобслуживания") == ("осмотр", "ремонт")
    assert glossary(*rows, ("уход", "техобслуживание")).expansions("техобслуживание") == ()


def test_expansions_are_bounded_and_always_the_same() -> None:
    rows = [(f"слово{n}", f"первое {n}", f"второе {n}") for n in range(30)]
    question = " ".join(f"слово{n}" for n in range(30))
    found = glossary(*rows).expansions(question)
    assert len(found) == 16
    assert found[:3] == ("первое 0", "второе 0", "первое 1")
    assert found == glossary(*rows).expansions(question)


def test_glossary_of_the_samples() -> None:
    entries = read_glossary(SAMPLE.read_bytes())
    assert len(entries) == 10
    assert "dormant unit" in Glossary(entries).expansions("когда машина становится спящей единицей")
    assert "planned maintenance" in Glossary(entries).expansions("цена ТО")
    assert Glossary(entries).expansions("то есть") == ()
