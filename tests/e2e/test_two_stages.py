"""Two stages over a running Opora: one answer, from both searches, through every door."""

import asyncio
from contextlib import suppress

from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client
from tests.e2e.saying import saying
from tests.e2e.test_assistants import assistant
from tests.e2e.test_contract import QUESTION, check_answer, check_quotes, joined

DRAFT = "Это решает Вымпелова [1]."
FINAL = "Сотруднику полагается 28 календарных дней отпуска."


async def test_the_final_answer_leaves_and_the_draft_does_not(
    admin: Client, healthy: EchoServer
) -> None:
    with saying(healthy, FINAL):
        one = (await admin.post("/v1/ask", {"question": QUESTION})).json
    body = {"question": QUESTION, "stages": 2}
    with saying(healthy, DRAFT, FINAL):
        two = (await admin.post("/v1/ask", body)).json
        draft, final = healthy.requests
    check_answer(two)
    await check_quotes(admin, two)
    assert (two["status"], "Вымпелова" in two["text"]) == ("answered", False)
    assert two["usage"]["prompt_tokens"] > one["usage"]["prompt_tokens"]
    assert {"draft", "retrieve_2", "choose_evidence_2"} <= two["timings_ms"].keys()
    assert draft["messages"][:-1] == final["messages"][:-1]
    start = draft["messages"][-1]["content"].rpartition("\n\nВопрос:")[0]
    assert final["messages"][-1]["content"].startswith(start)
    with saying(healthy, DRAFT, FINAL):
        events = await admin.ask_stream(QUESTION, stages=2)
    assert {event.name for event in events[:-1]} == {"retrieved", "token", "cited"}
    *_, last = [event.data for event in events if event.name == "retrieved"]
    finished = events[-1].data
    assert last["passages"] == finished["passages"]
    assert joined(events, "token") == finished["text"] == two["text"]


async def test_an_assistants_stages_hold_in_the_openai_door(
    admin: Client, healthy: EchoServer
) -> None:
    async with assistant(admin, "deep", stages=2) as made:
        assert made["stages"] == 2
        with saying(healthy, DRAFT, FINAL):
            message = {"role": "user", "content": QUESTION}
            body = {"model": "deep", "messages": [message]}
            completion = (await admin.post("/v1/chat/completions", body)).json
            assert len(healthy.requests) == 2
    assert "28 календарных дней" in completion["choices"][0]["message"]["content"]


async def test_leaving_during_the_draft_stops_it(admin: Client, healthy: EchoServer) -> None:
    healthy.chat.token_delay_s = 3600
    try:
        for stream in (False, True):
            body = {"question": QUESTION, "stages": 2, "stream": stream}
            asking = asyncio.create_task(admin.post("/v1/ask", body))
            async with asyncio.timeout(20):
                while not healthy.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            await healthy.idle(2)
    finally:
        healthy.chat.token_delay_s = 0
