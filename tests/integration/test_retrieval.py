"""What search makes of the found chunks, over real rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.domain.access import PUBLIC
from app.domain.documents import Passage, SearchFilters
from app.domain.errors import EmbedderUnavailable, RerankerUnavailable
from app.domain.follow_ups import Asked
from app.domain.ports import Scores, Vectors
from app.engines.embedder.deterministic import HashEmbedder
from app.engines.reranker.overlap import OverlapReranker
from app.services.retrieval import Retrieval, SearchMode, SearchOptions
from app.settings import RerankerSettings, RetrievalSettings
from tests.integration.house import ADMIN, House, member

LEAVE = "Ежегодный отпуск длится двадцать восемь календарных дней."
SICK = "Больничный лист передают в бухгалтерию в день выхода на работу."
TRAVEL = "Суточные в командировке составляют семьсот рублей за день."


@asynccontextmanager
async def retrieval(
    house: House,
    *,
    reranker: OverlapReranker | None = None,
    **settings: object,
) -> AsyncIterator[Retrieval]:
    """A retrieval of its own settings over the house's index."""
    made = Retrieval(
        house.services.database,
        house.services.index,
        RetrievalSettings.model_validate(settings),
        reranker,
        RerankerSettings(),
        house.services.glossary.expansions,
    )
    yield made
    made.close()


async def found(house: House, question: str, **options: object) -> tuple[Passage, ...]:
    chosen = replace(SearchOptions(), **options)  # type: ignore[arg-type]
    result = await house.services.retrieval.search(ADMIN, Asked(question), 10, chosen)
    return result.passages


def long_document(*sentences: str) -> str:
    """Paragraphs that fill a chunk each."""
    return "\n\n".join(" ".join([sentence] * 30) for sentence in sentences)


async def test_found_neighbours_become_one_exact_passage(house: House) -> None:
    text = long_document(LEAVE, SICK, TRAVEL)
    document_id = await house.add(text)
    assert (await house.view(document_id)).version.chunks > 1
    async with retrieval(house, joined_tokens=100_000) as one:
        result = await one.search(ADMIN, Asked("отпуск больничный суточные"), 10)
    (passage,) = result.passages
    assert (passage.char_start, passage.text) == (0, text)
    assert passage.coverage == 1.0
    async with retrieval(house, joined_tokens=0) as none:
        result = await none.search(ADMIN, Asked("отпуск больничный суточные"), 10)
    assert len(result.passages) == (await house.view(document_id)).version.chunks
    for passage in result.passages:
        assert passage.text == text[passage.char_start : passage.char_end]


async def test_copies_are_named_once_and_only_to_those_who_may_read_them(house: House) -> None:
    first = await house.add(LEAVE)
    second = await house.add(LEAVE.upper(), readers=["user:anna"])
    (passage,) = await found(house, "ежегодный отпуск")
    assert {passage.document_id, *passage.duplicates} == {first, second}
    result = await house.services.retrieval.search(member("boris"), Asked("ежегодный отпуск"), 10)
    (passage,) = result.passages
    assert (passage.document_id, passage.duplicates) == (first, ())


async def test_a_quoted_phrase_comes_first_and_shuts_out_nothing(house: House) -> None:
    words = await house.add("Отпуск, правила, порядок, отпуск, порядок. О порядке отпуска, отпуск.")
    phrase = await house.add(
        "О разном, о прочем и о многом другом. Правила отпуска здесь изложены среди иных вещей."
    )
    loose = [p.document_id for p in await found(house, "отпуск порядок правило отпуска")]
    assert loose == [words, phrase]
    quoted = await found(house, "порядок «правило отпуска» отпуск")
    assert [p.document_id for p in quoted] == [phrase, words]
    assert all(0 <= p.score <= 1 for p in quoted)
    unknown = await found(house, "отпуск «звёздный корабль»")
    assert {p.document_id for p in unknown} == {words, phrase}


async def test_the_wrong_keyboard_layout_is_repaired_and_said(house: House) -> None:
    document_id = await house.add(LEAVE)
    result = await house.services.retrieval.search(ADMIN, Asked("jngecr"), 10)
    assert result.passages[0].document_id == document_id
    assert result.query.text == "отпуск"


async def test_the_glossary_finds_the_long_form(house: House) -> None:
    document_id = await house.add("Добровольное медицинское страхование оплачивает компания.")
    await house.add(LEAVE)
    assert await found(house, "ДМС", mode=SearchMode.LEXICAL) == ()
    await house.services.glossary.replace(
        "admin", "term,expansions\nДМС,добровольное медицинское страхование\n".encode()
    )
    await house.services.glossary.catch_up()
    hits = await found(house, "ДМС", mode=SearchMode.LEXICAL)
    assert [p.document_id for p in hits] == [document_id]


async def test_recency_breaks_ties_where_it_is_switched_on(house: House) -> None:
    older = await house.add(LEAVE + " Казань.")
    newer = await house.add(LEAVE + " Самара 2.")
    plain = await found(house, "календарных дней")
    assert {p.document_id for p in plain} == {older, newer}
    recent = await found(house, "календарных дней", prefer_recent=True)
    scores = {p.document_id: p.score for p in recent}
    before = {p.document_id: p.score for p in plain}
    assert scores[newer] - before[newer] == pytest.approx(0.02, abs=1e-3)


async def test_the_reranker_decides_and_its_absence_is_said(house: House) -> None:
    await house.add(LEAVE)
    best = await house.add(TRAVEL)
    async with retrieval(house, reranker=OverlapReranker()) as reranked:
        result = await reranked.search(ADMIN, Asked("суточные рублей день"), 10)
    assert result.passages[0].document_id == best
    assert "rerank" in result.timings_ms
    assert "rerank_skipped" not in result.timings_ms

    class Broken(OverlapReranker):
        def score(self, question: str, texts: object) -> Scores:
            raise RerankerUnavailable("down")

    async with retrieval(house, reranker=Broken()) as broken:
        result = await broken.search(ADMIN, Asked("суточные рублей день"), 10)
    assert result.passages[0].document_id == best
    assert "rerank_skipped" in result.timings_ms


async def test_lexical_search_works_while_the_embedder_is_down(house: House) -> None:
    await house.add(LEAVE)

    class Down(HashEmbedder):
        def embed_queries(self, texts: object) -> Vectors:
            raise EmbedderUnavailable("down")

    house.index.embedder = Down()
    async with retrieval(house) as down:
        lexical = SearchOptions(mode=SearchMode.LEXICAL)
        assert len((await down.search(ADMIN, Asked("отпуск"), 5, lexical)).passages) == 1
        with pytest.raises(EmbedderUnavailable):
            await down.search(ADMIN, Asked("отпуск"), 5)


async def test_a_follow_up_is_searched_with_what_it_leans_on(house: House) -> None:
    leave = await house.add(LEAVE)
    await house.add(TRAVEL)
    asked = Asked("А сколько он длится?", "Какой у нас отпуск?", {"отпуск": 0.5})
    result = await house.services.retrieval.search(ADMIN, asked, 5)
    assert result.passages[0].document_id == leave
    assert result.query.text == "Какой у нас отпуск? А сколько он длится?"


async def test_a_translation_adds_its_words(house: House) -> None:
    travel = await house.add("The daily allowance for a business trip is 45 euros.")
    await house.add(LEAVE)
    asked = Asked("Какие суточные?", translated="What is the daily allowance?")
    result = await house.services.retrieval.search(ADMIN, asked, 5)
    assert result.passages[0].document_id == travel
    assert result.passages[0].coverage == 1.0


@pytest.mark.parametrize("mode", list(SearchMode))
@pytest.mark.parametrize(
    "query", ["и в на", "🙂 🙂", "...", "\x01\x02", "отпуск " * 12_500, "«»\"'", "ъ", "0"]
)
async def test_odd_questions_find_something_or_nothing(
    house: House, query: str, mode: SearchMode
) -> None:
    await house.add(LEAVE)
    hits = await found(house, query, mode=mode)
    assert all(0 <= p.score <= 1 for p in hits)
    assert hits == await found(house, query, mode=mode)


async def test_filters_hold_in_both_legs(house: House) -> None:
    english = await house.add("Leave lasts twenty-eight days in a year, отпуск.")
    russian = await house.add(LEAVE, readers=[PUBLIC])
    for mode in SearchMode:
        for language, expected in (("ru", russian), ("en", english)):
            hits = await found(house, "отпуск", mode=mode, filters=SearchFilters(language=language))
            assert [p.document_id for p in hits] == [expected]


async def test_what_others_may_read_repairs_no_question(house: House) -> None:
    await house.add("Sponge cakes and other secrets.", readers=["user:anna"])
    await house.add(LEAVE)
    for scope, understood in ((member("anna"), "sponge"), (member("boris"), "ызщтпу")):
        result = await house.services.retrieval.search(scope, Asked("ызщтпу"), 5)
        assert result.query.text == understood
