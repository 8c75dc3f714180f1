"""Chunks cover the text once, stay within the budget and follow the structure."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.documents import BlockKind, ChunkDraft, ParsedDocument, index_text
from app.domain.errors import EmptyDocument
from ingestion.chunking import chunk
from ingestion.parsers.builder import TextBuilder

H, P, L, T, C = (
    BlockKind.HEADING,
    BlockKind.PARAGRAPH,
    BlockKind.LIST_ITEM,
    BlockKind.TABLE,
    BlockKind.CODE,
)


@dataclass(frozen=True)
class Limits:
    max_text_chars: int = 1_000_000
    max_blocks: int = 10_000


def count_tokens(text: str) -> int:
    """Like a word-piece model: a long word is several tokens."""
    return sum(1 + len(word) // 6 for word in re.findall(r"\w+|[^\w\s]", text))


def build(*blocks: tuple[BlockKind, str] | tuple[BlockKind, str, int]) -> ParsedDocument:
    builder = TextBuilder(Limits())
    for page, (kind, text, *level) in enumerate(blocks, 1):
        builder.add(kind, text, level[0] if level else 0, page)
    return builder.build()


def check(parsed: ParsedDocument, chunks: list[ChunkDraft], budget: int) -> None:
    covered = [0] * len(parsed.text)
    for ordinal, one in enumerate(chunks):
        assert one.ordinal == ordinal
        assert one.text == parsed.text[one.char_start : one.char_end]
        assert one.text == one.text.strip() != ""
        assert one.tokens == count_tokens(index_text("", one.heading_path, one.context, one.text))
        assert one.tokens <= budget or len(one.text) == 1
        assert one.pages
        for at in range(one.char_start, one.char_end):
            covered[at] += 1
    assert [one.char_start for one in chunks] == sorted(one.char_start for one in chunks)
    for char, times in zip(parsed.text, covered, strict=True):
        assert times == 1 or (char.isspace() and times == 0)


def words(count: int, word: str = "слово") -> str:
    return " ".join(f"{word}{n}" for n in range(count)) + "."


def table(rows: int) -> str:
    lines = [f"| Товар {n} | {n * 100} руб. |" for n in range(rows)]
    return "\n".join(["| Название | Цена |", "| --- | --- |", *lines])


TEXTS = st.text(
    alphabet=st.sampled_from("абв гд. Ёж\nxyz W!? é\u0301日本\U0001f600\t\x1c-|1"), max_size=400
)
BLOCKS = st.one_of(
    st.tuples(st.just(H), st.text("Раздел ab1.", max_size=60), st.integers(1, 4)),
    st.tuples(st.sampled_from([P, L, C]), TEXTS),
    st.tuples(st.just(P), st.sampled_from(["Список:", words(40), words(3)])),
    st.tuples(st.just(L), st.sampled_from(["- один", "- " + words(9), words(30)])),
    st.tuples(st.just(T), st.integers(0, 40).map(table)),
    st.tuples(st.just(T), TEXTS),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BLOCKS, max_size=14), st.integers(1, 90))
@example([(H, "A" * 60, 1), (H, "B" * 60, 2), (T, table(5))], 12)
@example([(H, "Раздел", 1), (P, words(200)), (H, "Другой", 1), (P, "Да.")], 32)
def test_every_visible_character_is_in_exactly_one_chunk_within_the_budget(
    blocks: list[tuple[BlockKind, str]], budget: int
) -> None:
    try:
        parsed = build(*blocks)
    except EmptyDocument:
        return
    check(parsed, chunk(parsed, count_tokens, budget), budget)


def test_a_small_document_is_one_chunk() -> None:
    parsed = build((H, "Отпуск", 1), (P, "28 дней."), (H, "Перенос", 2), (P, "По заявлению."))
    (only,) = chunk(parsed, count_tokens, 100)
    assert only.text == parsed.text
    assert only.heading_path == ()
    assert only.pages == (1, 2, 3, 4)


def test_big_sections_stand_alone_and_know_the_headings_above_them() -> None:
    parsed = build(
        (H, "Правила", 1), (H, "Отпуск", 2), (P, words(20)), (H, "Связь", 2), (P, words(20))
    )
    chunks = chunk(parsed, count_tokens, 50)
    assert [one.text.split()[0] for one in chunks] == ["Правила", "Связь"]
    assert [one.heading_path for one in chunks] == [(), ("Правила",)]


def test_small_sections_under_one_heading_share_a_chunk() -> None:
    sections = [((H, f"Пункт {n}", 2), (P, words(3))) for n in range(6)]
    parsed = build((H, "Всё", 1), *(block for pair in sections for block in pair))
    chunks = chunk(parsed, count_tokens, 30)
    assert 1 < len(chunks) < 6
    check(parsed, chunks, 30)


def test_top_level_sections_are_not_mixed_unless_tiny() -> None:
    parsed = build((H, "Один", 1), (P, words(10)), (H, "Два", 1), (P, words(10)))
    assert [one.text.split()[0] for one in chunk(parsed, count_tokens, 60)] == ["Один", "Два"]
    tiny = build((H, "Один", 1), (P, "Да."), (H, "Два", 1), (P, "Нет."))
    assert len(chunk(tiny, count_tokens, 60)) == 1


def test_the_parts_of_a_big_table_repeat_its_header() -> None:
    parsed = build((H, "Цены", 1), (P, "Прейскурант:"), (T, table(40)))
    chunks = chunk(parsed, count_tokens, 60)
    check(parsed, chunks, 60)
    assert chunks[0].text.startswith("Цены")
    assert chunks[0].context == ""
    later = chunks[1:]
    assert {one.context for one in later if "| Товар" in one.text} <= {
        "",
        "| Название | Цена |\n| --- | --- |",
    }
    assert sum(one.context != "" for one in later) >= len(later) - 1
    for one in chunks:
        assert all(line.endswith("|") for line in one.text.splitlines() if line.startswith("|"))


def test_a_heading_stays_with_what_follows_it() -> None:
    parsed = build((H, "Порядок", 1), (P, words(28)), (H, "Сроки", 2), (P, words(200)))
    chunks = chunk(parsed, count_tokens, 60)
    check(parsed, chunks, 60)
    assert not any(one.text in {"Порядок", "Сроки"} for one in chunks)


def test_a_list_is_kept_together_with_its_introduction() -> None:
    parsed = build((P, words(18)), (P, "Нужны:"), *((L, f"- {words(2)}") for _ in range(4)))
    chunks = chunk(parsed, count_tokens, 40)
    assert chunks[-1].text.startswith("Нужны:")
    assert chunks[-1].text.count("- ") == 4


def test_long_paragraphs_are_cut_between_sentences() -> None:
    parsed = build((P, " ".join(f"Предложение номер {n} кончается здесь." for n in range(30))))
    chunks = chunk(parsed, count_tokens, 40)
    assert len(chunks) > 3
    assert all(one.text.endswith("здесь.") for one in chunks)


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_a_budget_below_the_headings_still_gives_chunks(budget: int) -> None:
    parsed = build((H, words(30), 1), (H, words(30), 2), (P, words(12)))
    chunks = chunk(parsed, count_tokens, budget)
    assert "".join(re.sub(r"\s", "", one.text) for one in chunks) == re.sub(r"\s", "", parsed.text)
