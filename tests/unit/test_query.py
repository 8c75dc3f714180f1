from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.passages import holds_phrase
from app.domain.query import LONGEST_QUESTION, SearchQuery, read_query
from app.domain.text import phrase_keys, search_keys
from app.engines.lexical.bm25 import Bm25Index
from tests.unit.identifiers import DOCUMENTS, QUESTIONS

Read = Callable[[str], SearchQuery]


def an_index(texts: list[str]) -> Bm25Index:
    index = Bm25Index()
    index.add(np.arange(len(texts), dtype=np.int64), [search_keys(text) for text in texts])
    return index


@pytest.fixture(scope="module")
def identifiers() -> Bm25Index:
    return an_index(list(DOCUMENTS.values()))


@pytest.fixture(scope="module")
def read() -> Read:
    index = an_index(
        [
            "Договор об оказании услуг и приказ об отпуске. Объём, любой срок, экология, рука.",
            "Увольнение сотрудников, соглашение, компенсация, премия, семья, 44-ФЗ",
            "Вход в VPN через GlobalProtect: настройка на MacBook",
            "Google Excel Microsoft Scrum Outlook Jira Facebook Kubernetes office windows",
            "The Panthers defense surrendered many points; the sponge did not",
            "poca",  # Latin letters that spell роса
        ]
    )
    return lambda text: read_query(text, index.frequency)


@pytest.mark.parametrize(("question", "document"), QUESTIONS)
def test_an_identifier_finds_its_document(
    identifiers: Bm25Index, question: str, document: str
) -> None:
    query = read_query(question, identifiers.frequency)
    ids, _ = identifiers.search(query.weights, 3)
    assert document in [list(DOCUMENTS)[number] for number in ids.tolist()]


def test_most_identifiers_find_their_document_first(identifiers: Bm25Index) -> None:
    names = list(DOCUMENTS)
    missed = []
    for question, document in QUESTIONS:
        query = read_query(question, identifiers.frequency)
        ids, _ = identifiers.search(query.weights, 1)
        if [names[number] for number in ids.tolist()] != [document]:
            missed.append(question)
    assert missed == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ljujdjh", "договор"),
        ("LJUJDJH", "ДОГОВОР"),
        ("ызщтпу", "sponge"),
        ("Ghbrfp j, jngecrt", "Приказ об отпуске"),
        ("ghbrfp? ljujdjh", "приказ, договор"),
        ("ghbrfp, ljujdjh", "приказ, договор"),
        ("k.,jq j,]tv", "любой объем"),
        ("'rjkjubz", "экология"),
        ("d jngecr", "в отпуск"),
        ("44-ap", "44-фз"),
        ("VPN ghbrfp", "VPN приказ"),
        ("rjvgtycfwbz VPN GlobalProtect MacBook", "компенсация VPN GlobalProtect MacBook"),
        ("Зфтерукы ыгккутвук вшв еру зщштеы,", "Panthers surrender did the points?"),
    ],
)
def test_a_wrong_layout_is_repaired(read: Read, typed: str, meant: str) -> None:
    query = read(typed)
    assert query.text == meant
    assert query.repaired
    assert query.weights == read(meant).weights


@pytest.mark.parametrize(
    "typed",
    [
        "Сколько дней отпуска?",
        "VPN",
        "her salary policy",
        "What is her salary?",
        "А если я не знаю her?",
        "настройка Kubernetes и RabbitMQ",
        "ORA-00942 E_ACCESSDENIED node.js ivan@kvant.ru",
        "Кикли, Мэннинг и Элвей",
        "ИНН СЗВ-М МГЭИК",
        "report_2024-final.xlsx",
        "C++, C#",
        "",
    ],
)
def test_a_right_layout_is_left_alone(read: Read, typed: str) -> None:
    query = read(typed)
    assert query.text == typed
    assert not query.repaired


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("dogovor", "договор"),
        ("prikaz", "приказ"),
        ("otpuske", "отпуск"),
        ("uvolneniye", "увольнение"),
        ("uvolnenie", "увольнение"),
        ("soglashenie", "соглашение"),
        ("kompensaciya", "компенсация"),
        ("premiia", "премия"),
        ("semya", "семья"),
        ("гугл", "googl"),
        ("эксель", "excel"),
        ("экселе", "excel"),
        ("скрам", "scrum"),
        ("майкрософт", "microsoft"),
        ("аутлуке", "outlook"),
        ("джира", "jira"),
        ("фейсбук", "facebook"),
        ("кубернетес", "kubernet"),
        ("роса", "poca"),
    ],
)
def test_a_word_is_found_in_the_other_alphabet(read: Read, word: str, key: str) -> None:
    query = read(word)
    assert query.respelt == (word,)
    assert list(query.weights) == [key]
    assert 0 < query.weights[key] < 1


@pytest.mark.parametrize("word", ["google", "договор", "отпуска", "surrendered"])
def test_a_known_word_keeps_its_spelling(read: Read, word: str) -> None:
    assert read(word).respelt == ()
    assert read(word).weights == dict.fromkeys(search_keys(word), 1.0)


def test_a_key_counts_as_often_as_it_stands_there(read: Read) -> None:
    assert read("отпуск, приказ и отпуска").weights == {"отпуск": 2.0, "приказ": 1.0, "и": 1.0}


def test_quoted_words_are_phrases() -> None:
    query = read_query('«приказ об отпуске» "VPN" “two words” „и так“', lambda _: 1)
    assert query.phrases == (("приказ", "об", "отпуск"), ("two", "word"), ("и", "так"))


def test_an_expansion_counts_less_than_the_term_that_it_explains() -> None:
    query = read_query(
        "оформить ДМС", lambda _: 1, lambda _: ("медицинское страхование", "оформить ДМС")
    )
    assert query.expansions == ("медицинское страхование", "оформить ДМС")
    added = {key: query.weights[key] for key in search_keys("медицинское страхование")}
    assert 0 < sum(added.values()) < query.weights["дмс"] == 1.0


def test_the_glossary_reads_the_repaired_question() -> None:
    asked = []

    def expand(text: str) -> tuple[str, ...]:
        asked.append(text)
        return ()

    read_query("ljujdjh", {"договор": 1}.get, expand)  # type: ignore[arg-type]
    assert asked == ["договор"]


@pytest.mark.parametrize(
    ("text", "language"), [("отпуск", "ru"), ("jngecr", "ru"), ("leave", "en"), ("12 ?", None)]
)
def test_the_language_is_that_of_the_repaired_question(
    read: Read, text: str, language: str | None
) -> None:
    assert read(text).language == language


@pytest.mark.parametrize("text", ["", "   ", "...", '?!«»""', "😀 👍🏽", "\x00\x07\x1b", "\u0301"])
def test_a_question_that_says_nothing_has_no_keys(read: Read, text: str) -> None:
    assert read(text).weights == {}
    assert read(text).text == text


@pytest.mark.parametrize(
    "unit", ["договор ", "ljujdjh ", "a", "«", '"a b" ', "1 ", "(1", "x.", "слово1ъ ", "№", "aб"]
)
def test_a_long_question_is_cut(read: Read, unit: str) -> None:
    query = read((unit * 100_000)[:100_000])
    assert len(query.text) <= LONGEST_QUESTION


@given(st.text(max_size=80))
def test_any_text_is_a_question(text: str) -> None:
    query = read_query(text, lambda key: len(key) % 2)
    assert all(key and weight > 0 for key, weight in query.weights.items())
    assert all(len(phrase) >= 1 for phrase in query.phrases)


@pytest.mark.parametrize("text", ["«❶ ❷»", "№❶ и №➀", "«№❶ ⓵» приказ"])
def test_digits_that_are_no_decimals_harm_nobody(text: str) -> None:
    query = read_query(text, lambda _: 1)
    assert all(query.phrases)
    assert all(key for key in query.weights)


def test_phrases_hold_no_added_keys() -> None:
    (phrase,) = read_query("«сентября 2026 года»", lambda _: 1).phrases
    assert holds_phrase(phrase_keys("от 15 сентября 2026 года"), phrase)
