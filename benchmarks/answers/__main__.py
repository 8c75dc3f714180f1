"""What Opora adds to vLLM: waiting, CPU and lost throughput, and what the prompts' order gives.

  make bench-answers

A real vLLM on CPU with SmolLM2-135M (16 requests side by side), an app and PostgreSQL; the English
sample documents and questions; an assistant that lets unsupported sentences leave, marked, so that
a model of this size streams at all. vLLM alone gets the very messages that the app sends. Both ways
run warm (each prompt was asked before), in turns, and are seen by the same client.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import aiohttp
from pydantic import SecretStr

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.domain.access import PUBLIC, AccessScope, Scope
from app.domain.assistants import Assistant, Unsupported
from app.domain.ports import ChatParams, Message
from app.engines.llm.openai_client import OpenAiChatModel
from app.services.drafts import Question
from app.settings import LlmSettings, Settings
from app.wiring import build_services, prepare_database
from benchmarks.answers.bare import Streamed, ask_vllm, prefix_cache
from benchmarks.answers.prompts import final_prompts
from benchmarks.retrieval.processes import cpu_s, free_port
from tests.e2e.running import Client, Process, environment, ready, running
from tests.vllm import server as vllm

KEY = "opora_admin-key-of-the-benchmark"
SAMPLES = Path(__file__).parents[2] / "samples"
ASSISTANT = Assistant(
    "bench", instructions="Write ten sentences at least.", unsupported=Unsupported.MARK
)
LONG, SHORT = 160, 12  # tokens of an answer at most
EVIDENCE_TOKENS = 3000  # as docker-compose.yml sets it: passages stay whole
CONCURRENCIES = (1, 16)
ROUNDS = 2


@dataclass
class Run:
    """Some answers of one way, and the wall time of all."""

    answers: list[Streamed] = field(default_factory=list)
    timings: list[dict[str, float]] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    def median_ms(self, name: str) -> float:
        """Of a moment of `Streamed`."""
        found: list[float] = [v for a in self.answers if (v := getattr(a, name)) is not None]
        return statistics.median(found) * 1000

    def stage_ms(self, name: str) -> float:
        """Median of a stage as the app timed it."""
        return statistics.median(timing.get(name, 0.0) for timing in self.timings)


@dataclass(frozen=True)
class _Cost:
    """The mean of some answers."""

    cpu_ms: float
    tokens: float


async def run(
    ask: Callable[[int], Awaitable[Streamed]], count: int, concurrency: int, into: Run
) -> None:
    """Ask `count` questions, so many side by side."""
    free = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with free:
            into.answers.append(await ask(number))

    begun = perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    into.wall_s += perf_counter() - begun


class Bench:
    """The running parts."""

    def __init__(
        self,
        client: Client,
        app: Process,
        vllm_url: str,
        questions: Sequence[str],
        prompts: Sequence[Sequence[Message]],
    ) -> None:
        self._client, self._app, self._url = client, app, vllm_url
        self._questions, self._prompts = questions, prompts

    async def opora(self, concurrency: int, into: Run) -> None:
        """Ask all questions of the app."""

        async def ask(number: int) -> Streamed:
            begun = perf_counter()
            first_sentence = None
            body = {
                "question": self._questions[number % len(self._questions)],
                "assistant": ASSISTANT.name,
                "stream": True,
            }
            done: Any = None
            async for event in self._client.events("POST", "/v1/ask", json=body):
                if event.name == "token" and first_sentence is None:
                    first_sentence = perf_counter() - begun
                assert event.name != "failed", event.data
                done = event.data
            total = perf_counter() - begun
            timings = done["timings_ms"]
            into.timings.append(timings)
            before = timings["total"] - timings["generate"]
            first_token = (before + timings["first_token"]) / 1000
            tokens = done["usage"]["completion_tokens"]
            return Streamed(first_token, first_sentence, total, tokens)

        await run(ask, self._count(concurrency), concurrency, into)

    def _count(self, concurrency: int) -> int:
        """How many to ask: all, and again where they are fewer than two at each place."""
        return max(len(self._questions), 2 * concurrency)

    async def alone(self, concurrency: int, max_tokens: int, into: Run) -> None:
        """Ask vLLM with the same messages."""
        session = self._client.session

        async def ask(number: int) -> Streamed:
            return await ask_vllm(
                session, self._url, self._prompts[number % len(self._prompts)], max_tokens
            )

        await run(ask, self._count(concurrency), concurrency, into)

    async def compare(self) -> Run:
        """Print what Opora adds at each concurrency; return its run of one at a time."""
        await self.opora(4, Run())
        print("| at once | | first token ms | first sentence ms | tokens/s | of vLLM alone |")
        print("| --- | --- | --- | --- | --- | --- |")
        single = Run()
        for concurrency in CONCURRENCIES:
            alone, over = Run(), Run()
            for _ in range(ROUNDS):
                await self.alone(concurrency, LONG, alone)
                await self.opora(concurrency, over)
            speed = over.tokens / over.wall_s / (alone.tokens / alone.wall_s)
            for name, one, share in (("vLLM alone", alone, ""), ("Opora", over, f"{speed:.1%}")):
                print(
                    f"| {concurrency} | {name} | {one.median_ms('first_token_s'):.0f} "
                    f"| {one.median_ms('first_sentence_s'):.0f} "
                    f"| {one.tokens / one.wall_s:.1f} | {share} |",
                    flush=True,
                )
            if concurrency == 1:
                single = over
        return single

    async def stages(self, single: Run) -> None:
        """Print the app's times by stage and its CPU by token."""
        names = sorted({name for timing in single.timings for name in timing})
        print("\nmedian ms by stage, one at a time: ", end="")
        print(", ".join(f"{name} {single.stage_ms(name):.1f}" for name in names))
        short, long = await self._cpu(SHORT), await self._cpu(LONG)
        more = (long.cpu_ms - short.cpu_ms) / (long.tokens - short.tokens) * 100
        verifying = sum(t["verify"] for t in single.timings) / single.tokens * 100
        print(
            f"CPU-ms of the app an answer: {short.cpu_ms:.1f} with {short.tokens:.0f} tokens, "
            f"{long.cpu_ms:.1f} with {long.tokens:.0f}; 100 tokens more cost {more:.1f}, "
            f"of which verifying {verifying:.1f} (its wall time)"
        )
        print(f"the client of vLLM alone: {await self._client_cpu():.1f} CPU-ms for 100 tokens")

    async def _cpu(self, max_tokens: int) -> _Cost:
        """What an answer costs the app through the OpenAI door, which takes `max_tokens`."""
        tokens, begun = 0, cpu_s(self._app.popen.pid)
        for question in self._questions:
            body = {
                "model": ASSISTANT.name,
                "messages": [{"role": "user", "content": question}],
                "max_tokens": max_tokens,
            }
            answered = await self._client.post("/v1/chat/completions", body)
            assert answered.status == 200, answered.raw
            tokens += answered.json["usage"]["completion_tokens"]
        used = cpu_s(self._app.popen.pid) - begun
        asked = len(self._questions)
        return _Cost(used / asked * 1000, tokens / asked)

    async def _client_cpu(self) -> float:
        chat = OpenAiChatModel(LlmSettings(base_url=self._url))
        tokens, begun = 0, process_time()
        for prompt in self._prompts:
            done = await chat.complete(prompt, ChatParams(max_tokens=LONG))
            tokens += done.usage.completion_tokens
        used = process_time() - begun
        await chat.close()
        return used / tokens * 100_000


async def prefix_hits(
    session: aiohttp.ClientSession,
    url: str,
    orders: Mapping[str, Sequence[Sequence[Message]]],
) -> None:
    """Print what share of prompt tokens vLLM finds in its prefix cache, by order of passages."""
    for name, prompts in orders.items():
        shuffled = list(prompts)
        random.Random(3).shuffle(shuffled)
        queries, hits = await prefix_cache(session, url)
        for prompt in shuffled:
            await ask_vllm(session, url, prompt, 1, cache_salt=name)
        queries_after, hits_after = await prefix_cache(session, url)
        looked_up = queries_after - queries
        print(
            f"prefix cache, passages {name}: {(hits_after - hits) / looked_up:.1%} of "
            f"{looked_up:.0f} prompt tokens"
        )


async def measure(limit: int) -> None:
    """Start everything, measure, print."""
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    questions = [one["question"] for one in asked if one["lang"] == "en"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opora-")))
        port = free_port()
        options = (*vllm.SERVER_OPTIONS, "--max-num-seqs", str(max(CONCURRENCIES)))
        print("starting vLLM", flush=True)
        stack.callback(vllm.stop, vllm.start(port, folder / "vllm.log", options=options))
        vllm_url = f"http://{vllm.HOST}:{port}/v1"
        postgres = start_embedded(folder / "data")
        stack.callback(postgres.cleanup)
        url = postgres.get_uri()
        upgrade(url)
        own = Settings(
            data_dir=folder / "data",
            admin_key=SecretStr(KEY),
            llm=LlmSettings(base_url=vllm_url),
        )
        await prepare_database(own, url)
        settings = environment(
            folder / "data",
            admin_key=KEY,
            http__port=free_port(),
            database__url=url,
            llm__base_url=vllm_url,
            http__max_concurrent_answers=32,  # one caller gets three quarters of them
            answering__min_evidence=0,
            answering__evidence_tokens=EVIDENCE_TOKENS,
            answering__max_answer_tokens=LONG,
        )
        worker = stack.enter_context(running(("worker",), settings, folder / "worker.log"))
        app = stack.enter_context(running(("app",), settings, folder / "app.log"))
        async with aiohttp.ClientSession(trust_env=False) as session:
            client = Client(f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}", KEY, session)
            await ready(app, client.base_url, session)
            await fill(client)
            worker.stop()
            prompts = await recorded(own, url, questions)
            sent = prompts["in canonical order"]
            if limit:
                bench = Bench(client, app, vllm_url, questions[:limit], sent[:limit])
                print(f"{limit} questions, answers of {LONG} tokens at most", flush=True)
                await bench.stages(await bench.compare())
            await prefix_hits(session, vllm_url, prompts)
    load = os.getloadavg()[0]
    print(f"load average {load:.1f} on {os.cpu_count()} cores")


async def fill(client: Client) -> None:
    """Upload the English samples, and make the assistant."""
    for path in sorted((SAMPLES / "documents" / "en").iterdir()):
        await client.ingest(path.read_bytes(), path.name)
    body = {
        "name": ASSISTANT.name,
        "instructions": ASSISTANT.instructions,
        "unsupported": ASSISTANT.unsupported,
    }
    made = await client.post("/v1/assistants", body)
    assert made.status == 201, made.raw


async def recorded(
    settings: Settings, url: str, questions: Sequence[str]
) -> dict[str, list[Sequence[Message]]]:
    """The prompts in both orders; the app sends those in canonical order."""
    admin = AccessScope("admin", frozenset({PUBLIC}), frozenset(Scope))
    services = build_services(settings, url)
    try:
        await services.index.load()
        asked = [Question(text, assistant=ASSISTANT) for text in questions]
        answering = settings.answering.model_copy(
            update={"min_evidence": 0.0, "evidence_tokens": EVIDENCE_TOKENS}
        )
        return {
            name: await final_prompts(services, admin, asked, answering, is_canonical)
            for name, is_canonical in (("in canonical order", True), ("best first", False))
        }
    finally:
        await services.chat.close()
        await services.database.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=8, help="0: the cache alone")
    options = parser.parse_args()
    if not vllm.is_prepared(vllm.cache_folder()):
        raise SystemExit("vLLM is not installed; `python -m tests.vllm.server prepare` does it")
    asyncio.run(measure(options.questions))


if __name__ == "__main__":
    main()
