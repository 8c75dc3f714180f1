"""Citations: a quote is a piece of its document, and what no quote carries gets none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.citations import (
    Sentence,
    Support,
    Unsupported,
    cite,
    find_support,
    read_sentences,
    with_marker,
)
from app.domain.evidence import Excerpt, Similarity
from app.domain.verification import Layers
from tests.unit.passages import alike, passage, unlike

LEAVE = (
    "Каждому сотруднику полагается 28 календарных дней отпуска. "
    "Заявление подаётся за 14 дней. Отпуск делится на части."
)
TRIP = "Суточные в командировке составляют 700 рублей. Билеты покупает бухгалтерия."
QUESTION = "Сколько дней отпуска полагается сотруднику?"


def excerpts(*texts: str) -> list[Excerpt]:
    """Whole passages."""
    return [
        Excerpt(passage(text, number, char_start=100 * number), ((0, len(text)),))
        for number, text in enumerate(texts, start=1)
    ]


def support_of(sentence: Sentence, *texts: str, similarity: Similarity = unlike) -> Support | None:
    found = find_support(sentence, QUESTION, excerpts(*texts), similarity)
    return found if isinstance(found, Support) else None


def supported(claim: str, *markers: int) -> Support | None:
    return support_of(Sentence(claim, markers), LEAVE, TRIP)


def quote_of(support: Support | None) -> str:
    assert support is not None
    given_excerpts = excerpts(LEAVE, TRIP)
    return cite(support, given_excerpts[support.excerpt - 1], 0, 1).quote


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Отпуск — 28 дней [1].", [Sentence("Отпуск — 28 дней.", (1,))]),
        ("Отпуск — 28 дней. [1]", [Sentence("Отпуск — 28 дней.", (1,))]),
        ("One [1][2]. Two [1, 3].", [Sentence("One.", (1, 2)), Sentence("Two.", (1, 3))]),
        ("No marker.", [Sentence("No marker.", ())]),
        ("Nested [1[2]] and [[1]].", [Sentence("Nested and [].", (2, 1, 1))]),
        ("Huge [99999999999999999999].", [Sentence("Huge.", ())]),
        ("[1]", []),
        ("", []),
    ],
)
def test_sentences_lose_their_markers(text: str, read: list[Sentence]) -> None:
    assert read_sentences(text) == read


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Отпуск — 28 дней.", "Отпуск — 28 дней [2]."),
        ("Правда?!", "Правда [2]?!"),
        ("Без точки", "Без точки [2]."),
        ("И так далее…", "И так далее [2]…"),
    ],
)
def test_marker_stands_before_the_full_stop(text: str, marked: str) -> None:
    assert with_marker(text, 2) == marked
    assert read_sentences(marked)[0].markers == (2,)


def test_claim_gets_the_sentence_that_carries_it() -> None:
    support = supported("Сотруднику полагается 28 календарных дней отпуска.")
    assert support is not None
    assert (support.excerpt, support.layers) == (1, Layers(1.0, 1.0, 0.0))
    assert support.score > 0.9
    assert quote_of(support) == "Каждому сотруднику полагается 28 календарных дней отпуска."


def test_wrong_marker_is_corrected() -> None:
    assert quote_of(supported("Суточные составляют 700 рублей.", 1)).startswith("Суточные")
    assert quote_of(supported("Суточные составляют 700 рублей.", 9)).startswith("Суточные")


def test_claim_over_two_sentences_gets_both() -> None:
    quote = quote_of(supported("Полагается 28 календарных дней, заявление подаётся за 14 дней."))
    assert quote == LEAVE.partition(" Отпуск делится")[0]


@pytest.mark.parametrize(
    "claim",
    [
        "Сотруднику полагается 30 календарных дней отпуска.",
        "Сотруднику полагается 28 календарных дней и 3 дня отгула.",
        "Суточные составляют 7000 рублей.",
        "Суточные составляют 700 рублей, билеты стоят 28 рублей.",  # from another passage
    ],
)
def test_number_that_the_quote_does_not_hold_ends_all_support(claim: str) -> None:
    assert supported(claim, 1) is None
    assert support_of(Sentence(claim, (1,)), LEAVE, TRIP, similarity=alike) is None


def test_a_row_is_read_below_the_header_of_its_table() -> None:
    table = "| City | Hotel limit per night, EUR |\n| --- | --- |\n| Riga | 120 |\n| Oslo | 165 |"
    found = support_of(Sentence("The hotel limit per night is 165 EUR.", ()), table)
    assert found is not None
    assert table[found.start : found.end] == "| Oslo | 165 |"
    assert found.score > 0.5


def test_a_name_of_the_question_may_stand_elsewhere_in_the_document() -> None:
    other = "The Lessee pays a deposit of 500 EUR."
    between = "Machines are leased. They work. They are washed. They are counted."
    contract = f"The Lessee is Külmladu. {between} {other}"
    claim = Sentence("The deposit that Külmladu pays is 500 EUR.", ())
    question = "How large is the deposit of Külmladu?"

    def quote(text: str, asked: str) -> str | None:
        found = find_support(claim, asked, excerpts(text), unlike)
        return text[found.start : found.end] if isinstance(found, Support) else None

    assert quote(contract, question) == other
    assert quote(other, question) is None
    assert quote(contract, "How large is the deposit?") is None


def test_a_neighbouring_denial_of_something_else_contradicts_nothing() -> None:
    text = "Up to 5 unused days move to the next year. Days that you could not take stay."
    found = support_of(Sentence("You can take 5 unused days into the next year.", ()), text)
    assert found is not None
    assert text[found.start : found.end].startswith("Up to 5")


def test_claim_of_other_things_has_little_support() -> None:
    support = supported("Директор живёт в Казани и любит рыбалку.")
    assert support is None or support.score < 0.25


def test_repeating_the_question_is_no_answer() -> None:
    assert supported("Сотруднику полагается отпуск, сколько дней.") is None


def test_paraphrase_counts_by_meaning() -> None:
    claim = Sentence("Employees get time off.", ())
    found = support_of(claim, LEAVE, similarity=alike)
    assert found is not None
    assert (found.layers.embedding, found.across_languages) == (0.9, True)
    assert found.score > 0.9


def test_no_evidence_no_support() -> None:
    assert find_support(Sentence("Что угодно.", ()), QUESTION, [], unlike) == Unsupported()


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    pieces=st.lists(
        st.sampled_from([*LEAVE.split(), *TRIP.split(), "\n", "| a | b |", "- пункт", "№ 44-ФЗ."]),
        min_size=1,
        max_size=40,
    ),
    claim=st.lists(st.sampled_from(LEAVE.split() + TRIP.split()), min_size=1, max_size=8),
    char_start=st.integers(0, 10_000),
    markers=st.lists(st.integers(0, 3), max_size=2),
)
def test_quote_is_the_documents_own_text(
    pieces: list[str], claim: list[str], char_start: int, markers: list[int]
) -> None:
    text = " ".join(pieces)
    document = "x" * char_start + text
    given_excerpts = [Excerpt(passage(text, char_start=char_start), ((0, len(text)),))]
    sentence = Sentence(" ".join(claim), tuple(markers))
    support = find_support(sentence, QUESTION, given_excerpts, unlike)
    if isinstance(support, Unsupported):
        return
    assert 0 < support.score <= 1
    citation = cite(support, given_excerpts[0], 5, 9)
    assert citation.quote == document[citation.char_start : citation.char_end]
    assert citation.quote == citation.quote.strip() != ""
    assert citation.char_start >= char_start
    assert (citation.marker, citation.answer_start, citation.answer_end) == (1, 5, 9)
    assert (citation.document_id, citation.version, citation.chunk_id) == ("doc_1", 2, 1)
    assert (citation.title, citation.pages) == ("Положение об отпусках", (3,))
