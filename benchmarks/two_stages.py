"""What a second stage finds and what it costs, on a set of questions that need several documents.

`python -m benchmarks.two_stages --data DIR` indexes a set in the shared JSONL schema in a
throw-away database and looks which of the gold documents stand in the prompt:

- of one stage, and of one stage with twice the budget, which is what a second stage must beat;
- of two stages whose draft is always refused, so that only the question's parts are searched;
- with a model, for fewer questions: of two stages with its drafts. There the answers are compared
  too: right is one that holds a gold string as whole words. Yes and no are left out, since an
  answer is a whole sentence.

The model is that of OPORA_LLM__BASE_URL, else the default one is started. The seed is fixed.
"""

import argparse
import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.cli.throwaway import indexed
from app.domain.answers import AbstentionReason, Answer, AnswerStatus
from app.domain.ports import ChatModel
from app.engines.llm.launch import start_model_server
from app.engines.llm.openai_client import OpenAiChatModel
from app.engines.llm.scripted import ScriptedChatModel, fixed
from app.quality.datasets import read_dataset
from app.quality.evaluate import EVERYTHING
from app.quality.metrics import interval
from app.services.answering import Answering, Finished, Retrieved
from app.services.drafts import Question
from app.services.rewriting import Rewriter
from app.services.verification import Verification
from app.settings import Settings, load_settings
from app.telemetry import configure_logging
from app.wiring import Services, has_chosen_model
from benchmarks.samples import holds

SEED = 20261122
START_TIMEOUT_S = 600
REFUSAL = "NO ANSWER"

Row = dict[str, Any]


@dataclass
class Outcome:
    """How one question ended: the gold documents in each prompt, and the last result."""

    recalls: list[float] = field(default_factory=list)
    right: bool = False
    status: str = ""
    reason: str | None = None
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--searched", type=int, default=150, help="questions without the model")
    parser.add_argument("--answered", type=int, default=40, help="questions with it; 0 for none")
    parser.add_argument("--out", type=Path, help="write every answer as JSON lines")
    options = parser.parse_args()
    settings = load_settings()
    configure_logging(settings.log.model_copy(update={"level": "warning"}))
    asyncio.run(_run(settings, options.data, options.searched, options.answered, options.out))


async def _run(
    settings: Settings, folder: Path, searched: int, answered: int, out: Path | None
) -> None:
    rows = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    judged = [row for row in rows if row["relevant"]]
    spans = [row for row in judged if row["answer_type"] != "yesno"]
    async with indexed(settings, read_dataset(folder), lambda _n: None) as (services, _rejected):
        await _compare_searches(
            services, _sample(judged, searched), [row for row in rows if row["answerable"] == "no"]
        )
        if answered:
            with _model(settings) as chat:
                await _compare_answers(services, chat, _sample(spans, answered), out)
                await chat.close()


async def _compare_searches(
    services: Services, rows: Sequence[Row], unanswerable: Sequence[Row]
) -> None:
    """Print what stands in the prompts, without a model."""
    own = services.settings.answering
    twice = {"evidence_tokens": 2 * own.evidence_tokens, "max_passages": 2 * own.max_passages}
    silent = ScriptedChatModel(fixed(REFUSAL))
    ways: dict[str, tuple[Answering, int]] = {
        "one stage": (_answering(services, silent), 1),
        "one stage, twice the budget": (_answering(services, silent, **twice), 1),
        "the question's parts after it": (_answering(services, silent), 2),
    }
    print(f"{len(rows)} questions, gold documents in the prompt, without a model")
    first: np.ndarray[Any, np.dtype[np.float64]] | None = None
    for name, (answering, stages) in ways.items():
        outcomes = [await _ask(answering, row, stages) for row in rows]
        last = np.array([outcome.recalls[-1] for outcome in outcomes])
        _print_mean(name, last)
        _print_mean(f"{name}: all of them", (last == 1).astype(float))
        first = last if first is None else first
        _print_mean(f"{name}: gained over the first", last - first)
        print(f"  {name}: refused for weak evidence {_weak(outcomes)}")
    for name, (answering, stages) in ways.items():
        outcomes = [await _ask(answering, row, stages) for row in unanswerable]
        refused = f"{_weak(outcomes)} of {len(unanswerable)}"
        print(f"  {name}: refused of those without an answer {refused}")


async def _compare_answers(
    services: Services, chat: ChatModel, rows: Sequence[Row], out: Path | None
) -> None:
    """Print the answers of the model in one stage and in two."""
    answering = _answering(services, chat)
    pairs: list[tuple[Outcome, Outcome]] = []
    for row in rows:
        one, two = await _ask(answering, row, 1), await _ask(answering, row, 2)
        pairs.append((one, two))
        print(f"{row['query_id']} {one.recalls} {two.recalls} {_said(one)} | {_said(two)}")
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                line = {"query_id": row["query_id"], "one": vars(one), "two": vars(two)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{len(rows)} questions with {chat.model}, {os.cpu_count()} cores, load average {load}")
    ones, twos = [one for one, _ in pairs], [two for _, two in pairs]
    for name, outcomes in (("one stage", ones), ("two stages", twos)):
        _print_mean(f"{name}: recall", _values(outcomes, lambda o: o.recalls[-1]))
        _print_mean(f"{name}: right", _values(outcomes, lambda o: o.right))
        wrong = sum(o.status == AnswerStatus.ANSWERED and not o.right for o in outcomes)
        print(f"  {name}: {sum(o.right for o in outcomes)} right, {wrong} answered otherwise")
        for key in ("total", "draft", "retrieve_2", "choose_evidence_2", "generate"):
            times = [o.timings_ms[key] for o in outcomes if key in o.timings_ms]
            if times:
                print(f"  {name}: {key} {np.median(times):.0f} ms (median of {len(times)})")
        prompt = np.median([o.prompt_tokens for o in outcomes])
        written = np.median([o.completion_tokens for o in outcomes])
        print(f"  {name}: {prompt:.0f} prompt tokens, {written:.0f} written (medians)")
    gained = _values(twos, lambda o: o.recalls[-1]) - _values(ones, lambda o: o.recalls[-1])
    _print_mean("recall gained", gained)
    _print_mean("right gained", _values(twos, lambda o: o.right) - _values(ones, lambda o: o.right))


async def _ask(answering: Answering, row: Row, stages: int) -> Outcome:
    outcome = Outcome()
    async for event in answering.ask(EVERYTHING, Question(row["question"], stages=stages)):
        if isinstance(event, Retrieved):
            told = {passage.document_id for passage in event.passages}
            told |= {name for passage in event.passages for name in passage.duplicates}
            outcome.recalls.append(
                len(told.intersection(row["relevant"])) / max(len(row["relevant"]), 1)
            )
        elif isinstance(event, Finished):
            result = event.result
            is_answer = isinstance(result, Answer)
            outcome.status = AnswerStatus.ANSWERED if is_answer else AnswerStatus.ABSTAINED
            outcome.reason = None if isinstance(result, Answer) else result.reason
            outcome.text = result.text
            outcome.right = is_answer and holds(result.text, row["answers"])
            outcome.prompt_tokens = result.usage.prompt_tokens
            outcome.completion_tokens = result.usage.completion_tokens
            outcome.timings_ms = result.timings_ms
    return outcome


def _answering(services: Services, chat: ChatModel, **changes: object) -> Answering:
    settings = services.settings.answering.model_copy(update=changes)
    return Answering(
        services.database,
        services.retrieval,
        chat,
        Rewriter(chat, 0),
        Verification(settings.min_support),
        settings,
        1,
        canonical_order=has_chosen_model(services.settings),
    )


@contextmanager
def _model(settings: Settings) -> Iterator[ChatModel]:
    """The configured model server, or the one that is started for this run."""
    if settings.llm.base_url is not None:
        yield OpenAiChatModel(settings.llm)
        return
    server = start_model_server(settings, lambda _done, _total: None)
    try:
        server.wait_ready(START_TIMEOUT_S)
        yield OpenAiChatModel(settings.llm, server.base_url)
    finally:
        server.stop()


def _weak(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.reason == AbstentionReason.WEAK_EVIDENCE for outcome in outcomes)


def _sample(rows: Sequence[Row], size: int) -> list[Row]:
    return random.Random(SEED).sample(list(rows), min(size, len(rows)))


def _values(
    outcomes: Sequence[Outcome], of: Callable[[Outcome], float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(of(outcome)) for outcome in outcomes])


def _print_mean(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    mean = interval(values)
    print(f"  {name:46s} {mean.value:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})", flush=True)


def _said(outcome: Outcome) -> str:
    return f"{'right' if outcome.right else outcome.status} {outcome.text[:80]!r}"


if __name__ == "__main__":
    main()
