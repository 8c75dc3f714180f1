"""The OpenAI Python SDK over the running Opora."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client
from tests.e2e.saying import saying
from tests.faults.server import Behaviour

ASKED: list[ChatCompletionUserMessageParam] = [
    {"role": "user", "content": "Сколько дней отпуска полагается сотруднику?"}
]


@pytest.fixture
async def sdk(
    base_url: str, admin_key: str, healthy: EchoServer
) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK as its users make it."""
    async with openai.AsyncOpenAI(
        base_url=f"{base_url}/v1", api_key=admin_key, max_retries=0
    ) as client:
        yield client


def check_annotations(annotations: Any, text: str) -> None:
    assert annotations
    for annotation in annotations:
        assert annotation["type"] == "url_citation"
        citation = annotation["url_citation"]
        assert "28" in citation["quote"]
        assert "[1]" in text[citation["start_index"] : citation["end_index"]]
        assert citation["url"].endswith("polozhenie-ob-otpuskah.txt")


async def test_streams_an_answer_with_notes_and_annotations(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="opora", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    text = "".join(delta.content or "" for delta in deltas)
    body, _, notes = text.partition("\n\n---\n")
    assert "28" in body
    assert "[1]" in body
    assert notes.startswith("[1] ")
    assert "«" in notes
    annotated = [
        delta.model_extra for delta in deltas if (delta.model_extra or {}).get("annotations")
    ]
    assert len(annotated) == 1
    check_annotations((annotated[0] or {})["annotations"], text)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


async def test_answers_whole(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="opora",
        messages=[{"role": "system", "content": "Be brief."}, *ASKED],
        temperature=0.2,
        max_tokens=100,
        user="ann",
    )
    message = answer.choices[0].message
    text = message.content or ""
    assert "28" in text
    assert "\n\n---\n[1] " in text
    assert message.annotations
    check_annotations([a.model_dump() for a in message.annotations], text)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_content_may_come_in_parts(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="opora",
        messages=[
            {"role": "user", "content": "Что-то раньше."},
            {"role": "assistant", "content": "Да."},
            {"role": "user", "content": [{"type": "text", "text": str(ASKED[0]["content"])}]},
        ],
    )
    assert "28" in str(answer.choices[0].message.content)


async def test_lists_models(sdk: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == ["opora"]
    assert (await sdk.models.retrieve("opora")).owned_by == "opora"


async def test_errors_are_the_sdks_own(
    sdk: openai.AsyncOpenAI, base_url: str, healthy: EchoServer
) -> None:
    create = sdk.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        await create(model="gpt-9", messages=ASKED)
    with pytest.raises(openai.UnprocessableEntityError, match="empty"):
        await create(model="opora", messages=[{"role": "user", "content": ""}])
    with pytest.raises(openai.UnprocessableEntityError, match="user"):
        await create(model="opora", messages=[{"role": "system", "content": "x"}])
    with pytest.raises(openai.UnprocessableEntityError, match="messages"):
        await create(model="opora", messages=[])
    with pytest.raises(openai.UnprocessableEntityError, match="response_format"):
        await create(model="opora", messages=ASKED, response_format={"type": "json_object"})
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
    healthy.fault = Behaviour(status=500)
    with pytest.raises(openai.InternalServerError) as failed:
        await create(model="opora", messages=ASKED)
    assert failed.value.code == "model_server_refused"


async def test_failure_in_mid_stream_is_an_error_not_an_end(
    sdk: openai.AsyncOpenAI, healthy: EchoServer
) -> None:
    healthy.fault = Behaviour(reset_after=2)
    stream = await sdk.chat.completions.create(model="opora", messages=ASKED, stream=True)
    with pytest.raises(openai.APIError) as failed:
        async for _ in stream:
            pass
    assert failed.value.code == "model_server_unavailable"


async def test_structured_outputs_parse_and_abstentions_are_refusals(
    sdk: openai.AsyncOpenAI, healthy: EchoServer
) -> None:
    class Leave(pydantic.BaseModel):
        days: int

    with saying(healthy, '{"days": 28}'):
        parsed = await sdk.chat.completions.parse(
            model="opora", messages=ASKED, response_format=Leave
        )
    message = parsed.choices[0].message
    assert message.parsed == Leave(days=28)
    assert message.annotations
    with saying(healthy, '{"days": 99}'):
        refused = await sdk.chat.completions.parse(
            model="opora", messages=ASKED, response_format=Leave
        )
        async with sdk.chat.completions.stream(
            model="opora", messages=ASKED, response_format=Leave
        ) as stream:
            streamed = await stream.get_final_completion()
    for completion in (refused, streamed):
        assert completion.choices[0].message.refusal
        assert not completion.choices[0].message.content
        assert completion.choices[0].message.parsed is None


async def test_limits_reach_the_model_and_a_cut_answer_says_so(
    sdk: openai.AsyncOpenAI, healthy: EchoServer
) -> None:
    said = "Сотруднику полагается 28 календарных дней отпуска. Заявление подаётся за 14 дней."
    with saying(healthy, said):
        cut = await sdk.chat.completions.create(
            model="opora", messages=ASKED, max_completion_tokens=9, stop="END", temperature=0.5
        )
        sent = healthy.requests[-1]
        stream = await sdk.chat.completions.create(
            model="opora", messages=ASKED, max_tokens=9, stop=["a", "b"], stream=True
        )
        reasons = [c.choices[0].finish_reason async for c in stream if c.choices]
    assert (sent["max_tokens"], sent["stop"], sent["temperature"]) == (9, ["END"], 0.5)
    assert cut.choices[0].finish_reason == reasons[-1] == "length"
    assert "28" in str(cut.choices[0].message.content)
    assert "14" not in str(cut.choices[0].message.content).partition("---")[0]
    with pytest.raises(openai.UnprocessableEntityError, match="stop"):
        await sdk.chat.completions.create(model="opora", messages=ASKED, stop=["a"] * 5)


async def test_a_follow_up_is_understood_by_the_questions_before(
    sdk: openai.AsyncOpenAI, healthy: EchoServer
) -> None:
    healthy.requests.clear()
    answer = await sdk.chat.completions.create(
        model="opora",
        messages=[
            {"role": "system", "content": "Answer from your own knowledge."},
            *ASKED,
            {"role": "assistant", "content": "Отпуск — 99 дней [1]."},
            {"role": "user", "content": "А за сколько дней подаётся заявление?"},
        ],
    )
    prompt = str(healthy.requests[-1]["messages"])
    assert str(ASKED[0]["content"]) in prompt
    assert "99" not in prompt  # nobody can say what it stands on
    assert "own knowledge" not in prompt
    assert answer.choices[0].message.annotations


async def test_fields_that_clients_send_as_null_are_absent(
    admin: Client, healthy: EchoServer
) -> None:
    nulls = "stream stream_options stop n temperature max_tokens response_format tools user"
    body = {"model": "opora", "messages": ASKED} | dict.fromkeys(nulls.split())
    answered = await admin.post("/v1/chat/completions", body)
    assert answered.status == 200, answered.raw
