"""What every ChatModel keeps to, over the real client and the scripted one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

import pytest

from app.domain.answers import Usage
from app.domain.ports import ChatDelta, ChatModel, ChatParams, Message
from app.engines.llm.openai_client import OpenAiChatModel
from app.engines.llm.scripted import ScriptedChatModel, echo_evidence, fixed, repeat_prompt
from app.settings import LlmSettings
from tests.faults.server import Behaviour, fault_server

TEXT = "Отпуск — 28 дней [1].\nNot a day more."
LONG = "word " * 500
PROMPT = (Message("system", "Be brief."), Message("user", "How long is the leave?"))
PARAMS = ChatParams(max_tokens=1000)


@dataclass
class Speaker:
    """A model that says a given text, and the number of generations running behind it."""

    model: ChatModel
    running: Callable[[], int]

    def stream(self) -> AsyncGenerator[ChatDelta]:
        deltas = self.model.stream(PROMPT, PARAMS)
        assert isinstance(deltas, AsyncGenerator)
        return deltas

    async def stopped(self) -> bool:
        """Whether all generations end within half a second."""
        for _ in range(50):
            if not self.running():
                return True
            await asyncio.sleep(0.01)
        return False


Make = Callable[[str, float], AbstractAsyncContextManager[Speaker]]


@asynccontextmanager
async def _openai(text: str, token_delay_s: float) -> AsyncIterator[Speaker]:
    behaviour = Behaviour(text=text, models=("served", "other"), token_delay_s=token_delay_s)
    async with fault_server(behaviour) as server:
        model = OpenAiChatModel(LlmSettings(base_url=server.base_url))
        yield Speaker(model, lambda: server.running)
        await model.close()


@asynccontextmanager
async def _scripted(text: str, token_delay_s: float) -> AsyncIterator[Speaker]:
    model = ScriptedChatModel(fixed(text), model="served", token_delay_s=token_delay_s)
    yield Speaker(model, lambda: model.running)
    await model.close()


@pytest.fixture(params=[_openai, _scripted], ids=["openai", "scripted"])
def speaker(request: pytest.FixtureRequest) -> Make:
    make: Make = request.param
    return make


async def test_a_stream_is_the_text_in_pieces_and_then_the_usage(speaker: Make) -> None:
    async with speaker(TEXT, 0) as it:
        deltas = [delta async for delta in it.stream()]
    assert "".join(delta.text for delta in deltas) == TEXT
    assert len(deltas) > 3
    assert all(delta.usage is None and delta.finish_reason is None for delta in deltas[:-1])
    assert deltas[-1].text == ""
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens > 3


async def test_complete_is_the_whole_text_with_its_usage(speaker: Make) -> None:
    async with speaker(TEXT, 0) as it:
        whole = await it.model.complete(PROMPT, PARAMS)
    assert (whole.text, whole.finish_reason) == (TEXT, "stop")
    assert whole.usage != Usage()


async def test_an_empty_answer_is_reported_as_it_is(speaker: Make) -> None:
    async with speaker("", 0) as it:
        whole = await it.model.complete(PROMPT, PARAMS)
    assert (whole.text, whole.finish_reason) == ("", "stop")


async def test_check_names_the_served_model(speaker: Make) -> None:
    async with speaker(TEXT, 0) as it:
        assert await it.model.check() == "served"
        assert it.model.model == "served"


async def test_closing_the_stream_stops_the_generation(speaker: Make) -> None:
    async with speaker(LONG, 0.01) as it:
        async with aclosing(it.stream()) as deltas:
            assert (await anext(deltas)).text
            assert it.running() == 1
        assert await it.stopped()


async def test_cancelling_complete_stops_the_generation(speaker: Make) -> None:
    async with speaker(LONG, 0.01) as it:
        call = asyncio.create_task(it.model.complete(PROMPT, PARAMS))
        await asyncio.sleep(0.1)
        assert it.running() == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await it.stopped()


async def test_many_streams_run_side_by_side(speaker: Make) -> None:
    async with speaker(TEXT, 0.005) as it:
        calls = [it.model.complete(PROMPT, PARAMS) for _ in range(20)]
        assert {whole.text for whole in await asyncio.gather(*calls)} == {TEXT}


PASSAGES = """Passages:
[1] Leave policy — 3. How long
| no sentence |
Leave is 28 days a year. It is paid.
[2] Travel. Trips are paid in advance.

Question: how long is the leave?"""


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (PASSAGES, "Leave is 28 days a year. [1]"),
        ("[1] Отпуск 28 дней. Он оплачивается.\n\nВопрос?", "Отпуск 28 дней. [1]"),
        ("[1] no full stop here", "no full stop here [1]"),
        (
            "[1] The car park opens at 8.\n[2] Trips are paid.\n\nWho pays trips?",
            "Trips are paid. [2]",
        ),
        ("No passages at all.", ""),
    ],
)
def test_echo_evidence_quotes_the_passage_that_the_question_names(prompt: str, answer: str) -> None:
    assert echo_evidence([Message("user", prompt)]) == answer


async def test_scripted_keeps_to_limits_and_remembers_what_it_was_asked() -> None:
    model = ScriptedChatModel(repeat_prompt)
    prompt = [Message("user", "one two three. four")]
    cut = await model.complete(prompt, ChatParams(max_tokens=2))
    assert (cut.text, cut.finish_reason) == ("one two", "length")
    stopped = await model.complete(prompt, ChatParams(max_tokens=9, stop=(".",)))
    assert (stopped.text, stopped.finish_reason) == ("one two three", "stop")
    assert [params.max_tokens for _, params in model.requests] == [2, 9]
