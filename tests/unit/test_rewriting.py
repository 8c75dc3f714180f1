"""The chat model's help for search, and search without it: slow, failing or talking nonsense."""

import pytest

from app.domain.errors import ModelServerUnavailable
from app.domain.follow_ups import Turn, in_context
from app.engines.llm.scripted import ScriptedChatModel, fixed
from app.services.rewriting import REST_S, Rewriter

HISTORY = [Turn("Сколько дней отпуска у стажёра?", "Стажёру положено 28 дней.")]
QUESTION = "А у директора Петрова в 2026 году?"
REWRITTEN = "Сколько дней отпуска у директора Петрова в 2026 году?"
QUICK = 60.0


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_follow_up_is_rewritten() -> None:
    chat = ScriptedChatModel(fixed(f"«{REWRITTEN}»\n"))
    timings_ms: dict[str, float] = {}
    asked = await Rewriter(chat, QUICK).stand_alone(QUESTION, HISTORY, timings_ms)
    assert asked == in_context(REWRITTEN, HISTORY)
    assert asked.text == REWRITTEN
    assert timings_ms.keys() == {"rewrite"}
    messages, params = chat.requests[0]
    assert HISTORY[0].answer in messages[-1].content
    assert messages[-1].content.endswith(QUESTION)
    assert params.temperature == 0


@pytest.mark.parametrize(
    ("question", "history"),
    [(QUESTION, []), ("Когда открыта столовая для сотрудников?", HISTORY), ("а " * 400, HISTORY)],
    ids=["nothing before it", "stands alone", "far too long"],
)
async def test_what_needs_no_rewriting_costs_no_call(question: str, history: list[Turn]) -> None:
    chat = ScriptedChatModel()
    timings_ms: dict[str, float] = {}
    asked = await Rewriter(chat, QUICK).stand_alone(question, history, timings_ms)
    assert asked == in_context(question, history)
    assert not chat.requests
    assert not timings_ms


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        QUESTION,
        "Директору Петрову положено 35 дней отпуска в 2026 году.",
        "How many days of leave does director Petrov get in 2026?",
        "Сколько дней отпуска у директора в 2026 году?",
        "Сколько дней отпуска у директора Петрова?",
        "Когда в Казани для Петрова в 2026 году строят метро, мосты, школы и стажёров?",
        "Сколько дней отпуска у Петрова в 2026 году?\nОтвет: 35.",
        "Сколько дней отпуска у директора Петрова " + "и стажёра " * 100,
    ],
    ids=["empty", "same", "answer", "language", "name", "number", "invented", "lines", "endless"],
)
async def test_nonsense_is_not_searched_for(nonsense: str) -> None:
    rewriter = Rewriter(ScriptedChatModel(fixed(nonsense)), QUICK)
    timings_ms: dict[str, float] = {}
    assert await rewriter.stand_alone(QUESTION, HISTORY, timings_ms) == in_context(
        QUESTION, HISTORY
    )
    assert timings_ms.keys() == {"rewrite", "rewrite_skipped"}


async def test_a_slow_model_is_left_behind_and_then_left_alone() -> None:
    chat, clock = ScriptedChatModel(fixed(REWRITTEN), token_delay_s=3600), Clock()
    rewriter = Rewriter(chat, 0.01, clock=clock)
    timings_ms: dict[str, float] = {}
    assert await rewriter.stand_alone(QUESTION, HISTORY, timings_ms) == in_context(
        QUESTION, HISTORY
    )
    assert timings_ms["rewrite_skipped"] > 0
    assert chat.running == 0, "the model works on for nobody"

    timings_ms = {}
    assert await rewriter.translate(QUESTION, timings_ms) is None
    assert timings_ms == {"translate_skipped": 0.0}
    assert len(chat.requests) == 1

    clock.now += REST_S
    await rewriter.translate(QUESTION, timings_ms)
    assert len(chat.requests) == 2


async def test_a_dead_model_server_is_no_error_of_a_search() -> None:
    chat = ScriptedChatModel(fail_with=ModelServerUnavailable("gone"))
    timings_ms: dict[str, float] = {}
    rewriter = Rewriter(chat, QUICK)
    assert await rewriter.stand_alone(QUESTION, HISTORY, timings_ms) == in_context(
        QUESTION, HISTORY
    )
    assert timings_ms.keys() == {"rewrite", "rewrite_skipped"}
    assert await rewriter.translate(QUESTION, timings_ms) is None
    assert len(chat.requests) == 1


@pytest.mark.parametrize(
    ("question", "said", "translation"),
    [
        ("Когда Пристли открыл кислород?", "When did Priestley?", "When did Priestley?"),
        ("When was it found?", "Когда это нашли?", "Когда это нашли?"),
        ("Сколько их в 2026 году?", "How many of them in 2026?", "How many of them in 2026?"),
        ("Сколько их в 2026 году?", "How many of them?", None),
        ("Сколько их в 2026 году?", "Сколько их в 2026 году?", None),
        ("Сколько стоит обед?", "", None),
        ("Сколько стоит обед?", "How much is lunch?\nIt is free.", None),
        ("Сколько стоит обед?", "How " * 200, None),
    ],
)
async def test_translations(question: str, said: str, translation: str | None) -> None:
    rewriter = Rewriter(ScriptedChatModel(fixed(said)), QUICK)
    timings_ms: dict[str, float] = {}
    assert await rewriter.translate(question, timings_ms) == translation
    assert ("translate_skipped" in timings_ms) is (translation is None)


async def test_the_model_is_never_asked_where_it_is_switched_off() -> None:
    chat = ScriptedChatModel(fixed(REWRITTEN))
    timings_ms: dict[str, float] = {}
    off = Rewriter(chat, 0)
    assert (await off.stand_alone(QUESTION, HISTORY, timings_ms)).question == QUESTION
    assert await off.translate(QUESTION, timings_ms) is None
    assert await Rewriter(chat, QUICK).translate("12345?", timings_ms) is None
    only_translating = Rewriter(chat, QUICK, rewrites=False)
    assert (await only_translating.stand_alone(QUESTION, HISTORY, timings_ms)).question == QUESTION
    assert not chat.requests
    assert not timings_ms
