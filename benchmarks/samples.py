"""Asks the 60 sample questions and prints how many were found, right, wrong and abstained.

`make bench-samples` starts an Opora of its own on a throw-away database. An answer is right when
one of the question's gold strings stands in it as whole words.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.client import Client
from app.domain.errors import OporaError
from app.settings import load_settings

SAMPLES = Path(__file__).parents[1] / "samples"
START_TIMEOUT_S = 900


@dataclass
class Outcome:
    """How one question ended. `rank` is that of the document that holds the answer."""

    query_id: str
    lang: str
    answerable: bool
    question: str
    gold: list[str]
    rank: int | None
    status: str = "not asked"
    reason: str | None = None
    right: bool = False
    text: str = ""
    citations: int = 0
    first_token_s: float | None = None
    first_sentence_s: float | None = None
    total_s: float = 0.0
    prompt_tokens: int = 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrieval-only", action="store_true")
    parser.add_argument("--running", action="store_true", help="use the Opora of OPORA_* settings")
    parser.add_argument("--only", help="part of the query ids to ask")
    parser.add_argument("--out", type=Path, help="write every outcome as JSON lines")
    options = parser.parse_args()
    console = Console()
    questions = [json.loads(line) for line in (SAMPLES / "questions.jsonl").open()]
    questions = [q for q in questions if not options.only or options.only in q["query_id"]]
    with _opora(options.running) as client:
        outcomes = []
        for question in questions:
            outcome = _ask(client, question, options.retrieval_only)
            outcomes.append(outcome)
            console.print(
                f"{outcome.query_id} rank={outcome.rank} {outcome.status}"
                f"{' right' if outcome.right else ''} {outcome.total_s:.1f} s  {outcome.text!r}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    if options.out:
        lines = [json.dumps(asdict(outcome), ensure_ascii=False) for outcome in outcomes]
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(_table(outcomes))
    _print_times(outcomes, console)


@contextmanager
def _opora(running: bool) -> Iterator[Client]:
    """A client of the running Opora, or of one that is started for this run."""
    if running:
        yield Client(load_settings())
        return
    with tempfile.TemporaryDirectory(prefix="opora-bench-") as folder:
        os.environ["OPORA_DATA_DIR"] = folder
        os.environ["OPORA_HTTP__PORT"] = str(_free_port())
        os.environ["OPORA_LLM__PORT"] = str(_free_port())
        command = [sys.executable, "-m", "app.cli", "serve"]
        command += ["--first-documents", str(SAMPLES / "documents")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            for line in process.stdout:
                sys.stdout.write(line)
                if "Ctrl-C stops everything" in line:
                    break
                if time.monotonic() > deadline:
                    break
            yield Client(load_settings())
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(client: Client, question: dict[str, Any], retrieval_only: bool) -> Outcome:
    found = client.call("POST", "/v1/search", {"query": question["question"], "limit": 5})
    outcome = Outcome(
        query_id=question["query_id"],
        lang=question["lang"],
        answerable=question["answerable"] == "yes",
        question=question["question"],
        gold=question["answers"],
        rank=_rank(found["passages"], question["relevant"]),
    )
    if retrieval_only:
        return outcome
    started = time.monotonic()
    body = {"question": question["question"], "stream": True}
    for event, data in client.events("/v1/ask", body):
        if event == "token" and outcome.first_sentence_s is None:
            outcome.first_sentence_s = time.monotonic() - started
        elif event == "failed":
            raise OporaError(f"{question['query_id']}: {data['detail']}")
        elif event == "finished":
            outcome.status, outcome.reason = data["status"], data["reason"]
            outcome.text, outcome.citations = data["text"], len(data["citations"])
            outcome.prompt_tokens = data["usage"]["prompt_tokens"]
            first = data["timings_ms"].get("first_token")
            outcome.first_token_s = first / 1000 if first is not None else None
            answered = data["status"] == "answered"
            outcome.right = answered and holds(data["text"], question["answers"])
    outcome.total_s = time.monotonic() - started
    return outcome


def _rank(passages: list[dict[str, Any]], relevant: dict[str, int]) -> int | None:
    for passage in passages:
        if any((passage["source_uri"] or "").endswith(f"/{path}") for path in relevant):
            return int(passage["rank"])
    return None


def holds(text: str, answers: list[str]) -> bool:
    """Whether one of the gold strings stands in the text as whole words."""
    return any(
        re.search(rf"(?<![\w.,]){re.escape(_plain(answer))}(?!\w)", _plain(text))
        for answer in answers
    )


def _plain(text: str) -> str:
    text = re.sub(r"\[\d+\]", " ", text).lower().replace("ё", "е")
    return " ".join(text.replace("\u2011", "-").replace("–", "-").split())


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="sample questions")
    for column in ("", "questions", "document in top 5", "first", "right", "wrong", "abstained"):
        table.add_column(column, justify="right" if column else "left")
    rows = [
        ("answerable ru", [o for o in outcomes if o.answerable and o.lang == "ru"]),
        ("answerable en", [o for o in outcomes if o.answerable and o.lang == "en"]),
        ("answerable", [o for o in outcomes if o.answerable]),
        ("unanswerable", [o for o in outcomes if not o.answerable]),
    ]
    for name, group in rows:
        answered = [o for o in group if o.status == "answered"]
        right = sum(o.right for o in group)
        table.add_row(
            name,
            str(len(group)),
            str(sum(o.rank is not None for o in group)) if group and group[0].answerable else "",
            str(sum(o.rank == 1 for o in group)) if group and group[0].answerable else "",
            str(right) if group and group[0].answerable else "",
            str(len(answered) - right),
            str(sum(o.status == "abstained" for o in group)),
        )
    return table


def _print_times(outcomes: list[Outcome], console: Console) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average {load}")
    for name in ("first_token_s", "first_sentence_s", "total_s", "prompt_tokens"):
        values = [v for o in outcomes if (v := getattr(o, name))]
        if values:
            console.print(
                f"{name}: median {statistics.median(values):.1f}, worst {max(values):.1f}"
            )


if __name__ == "__main__":
    main()
