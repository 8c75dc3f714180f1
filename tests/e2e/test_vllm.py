"""The app over a real vLLM on CPU: a streamed answer with its usage, and a caller who leaves."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from time import monotonic

import aiohttp
import pytest

from app.domain.errors import ModelContextExceeded, ModelServerRefused
from app.domain.ports import ChatDelta, ChatParams, Message
from app.engines.llm.openai_client import OpenAiChatModel
from app.settings import LlmSettings
from tests.conftest import ADMIN_KEY
from tests.e2e.conftest import LEAVE_EN
from tests.e2e.running import Client, environment, ready, running, until
from tests.e2e.test_leaving import DOORS, asking
from tests.faults.server import free_port
from tests.vllm import server

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not server.is_prepared(server.cache_folder()),
        reason="vLLM is not installed; `python -m tests.vllm.server prepare` does it",
    ),
]

QUESTION = "How many calendar days of leave do employees get a year?"


@pytest.fixture(scope="session")
def vllm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM that serves SmolLM2; it takes minutes to start, so there is one."""
    port = free_port()
    process = server.start(port, tmp_path_factory.mktemp("vllm") / "vllm.log")
    yield f"http://127.0.0.1:{port}/v1"
    server.stop(process)


@pytest.fixture(scope="session")
async def over_vllm(
    vllm_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    http: aiohttp.ClientSession,
) -> AsyncIterator[Client]:
    """A caller of an Opora whose chat model is that vLLM."""
    folder = tmp_path_factory.mktemp("over-vllm")
    documents = folder / "documents"
    documents.mkdir()
    (documents / "leave-policy.txt").write_text(LEAVE_EN)
    settings = environment(
        folder / "data",
        admin_key=ADMIN_KEY,
        http__port=free_port(),
        database__url=new_database(),
        embedder__model="hash",
        llm__base_url=vllm_url,
        answering__max_answer_tokens=400,
        answering__min_evidence=0,  # every question goes to the model
    )
    command = ("serve", "--first-documents", str(documents))
    with running(command, settings, folder / "serve.log") as process:
        base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"
        await ready(process, base_url, http)
        client = Client(base_url, ADMIN_KEY, http)

        async def live() -> bool:
            return len((await client.get("/v1/documents?status=live")).json["items"]) == 1

        await until(live, 60)
        yield client


async def requests_running(http: aiohttp.ClientSession, vllm_url: str) -> float:
    """How many requests vLLM says it is generating."""
    async with http.get(vllm_url.removesuffix("/v1") + "/metrics") as response:
        metrics = await response.text()
    found = re.search(rf"^{server.RUNNING_METRIC}\{{[^}}]*\}} (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_client_streams_text_with_its_usage(vllm_url: str) -> None:
    chat = OpenAiChatModel(LlmSettings(base_url=vllm_url))
    assert await chat.check() == server.SERVED_MODEL
    messages = [Message("user", "Write one short sentence about the sea.")]
    deltas: list[ChatDelta] = []
    async with aclosing(chat.stream(messages, ChatParams(max_tokens=24))) as stream:
        deltas.extend([delta async for delta in stream])
    size = await chat.measure(messages, ChatParams(max_tokens=24))
    await chat.close()
    texts = [delta.text for delta in deltas if delta.text]
    assert len(texts) > 3  # it came in pieces
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.prompt_tokens > 5
    assert (size.tokens, size.is_exact) == (deltas[-1].usage.prompt_tokens, True)
    assert size.context_tokens is not None
    assert 0 < deltas[-1].usage.completion_tokens <= 24
    assert deltas[-1].finish_reason in ("stop", "length")


async def test_answer_over_vllm_ends_well(over_vllm: Client) -> None:
    async def warm() -> bool:
        return bool((await over_vllm.get("/readyz")).json["ready"])

    await until(warm, 300)
    events = await over_vllm.ask_stream(QUESTION)
    assert (events[0].name, events[-1].name) == ("retrieved", "finished"), events[-1]
    assert events[0].data["passages"][0]["text"].startswith("Employees get 28")
    answer = events[-1].data
    assert answer["status"] in ("answered", "abstained")
    assert answer["model"] == server.SERVED_MODEL
    assert answer["usage"]["prompt_tokens"] > 0
    assert answer["timings_ms"]["first_token"] > 0
    for citation in answer["citations"]:
        assert citation["quote"] in LEAVE_EN


@pytest.mark.parametrize("door", DOORS)
async def test_leaving_stops_vllm(
    over_vllm: Client,
    vllm_url: str,
    http: aiohttp.ClientSession,
    door: str,
) -> None:
    async def generates() -> bool:
        return await requests_running(http, vllm_url) == 1

    async def rests() -> bool:
        return await requests_running(http, vllm_url) == 0

    path, body = DOORS[door]
    # It is told to be long, so that there is time to leave.
    question = "Write down every detail about the leave of employees, at great length."
    asked = {"question": question, "messages": [{"role": "user", "content": question}]}
    async with asking(
        over_vllm, path, {name: asked.get(name, body[name]) for name in body}
    ) as leave:
        await until(generates, 120)
        left_at = monotonic()
        await leave()
        await until(rests, 5)
    print(f"{door}: vLLM has stopped {monotonic() - left_at:.2f} s after its caller left")


async def test_vllm_refuses_by_typed_errors(vllm_url: str) -> None:
    chat = OpenAiChatModel(LlmSettings(base_url=vllm_url))
    with pytest.raises(ModelContextExceeded):
        await chat.complete([Message("user", "the sea " * 50_000)], ChatParams(max_tokens=8))
    with pytest.raises(ModelServerRefused, match="does not exist"):
        await chat.complete([Message("user", "Hello.")], ChatParams(max_tokens=8, model="gpt-9"))
    await chat.close()
