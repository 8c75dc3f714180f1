"""CPU time of a search by stage, in process: `python -m benchmarks.retrieval.stages`.

Reads OPORA_DATA_DIR, which `benchmarks.retrieval.prepare` has made, hands `POST /v1/search` to the
application without a socket, one question at a time, and prints one JSON object: for each caller,
for each stage, the milliseconds of CPU time of each question.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from starlette.types import Message

from app.main import create_app
from app.services.retrieval import Retrieval
from app.settings import Settings, load_settings
from app.telemetry import configure_logging
from app.wiring import build_services
from benchmarks.retrieval.corpus import questions_of
from benchmarks.retrieval.database import ADMIN_KEY, READER_KEY, running_postgres
from benchmarks.retrieval.load import WARM_UP
from benchmarks.retrieval.processes import cpu_s, postmaster

REQUEST, WHOLE, SQL = "the request but sockets", "whole retrieval", "PostgreSQL beside it"
Timings = dict[str, list[float]]


@contextmanager
def cpu_clock() -> Iterator[None]:
    """Let every stopwatch of the application tell CPU time of the process instead of wall time.

    With one question at a time that is the question's own, whichever thread works for it.
    """
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("app.") and hasattr(module, "perf_counter"):
                stack.enter_context(patch.object(module, "perf_counter", time.process_time))
        yield


async def measure(settings: Settings, url: str, questions: list[list[str]]) -> dict[str, Timings]:
    """Ask each caller's part of the questions once; the first WARM_UP are not counted."""
    services = build_services(settings, url)
    app, database = create_app(services), postmaster(settings.data)
    callers = {"admin": ADMIN_KEY, "reader of 10 %": READER_KEY}
    try:
        await services.index.load()
        return {
            name: await _ask_all(app, key, part, database)
            for (name, key), part in zip(callers.items(), questions, strict=True)
        }
    finally:
        await services.close()


async def _ask_all(app: FastAPI, key: str, questions: list[str], database: int) -> Timings:
    timings: defaultdict[str, list[float]] = defaultdict(list)
    search = Retrieval.search

    async def timed(*given: Any, **named: Any) -> Any:
        started = time.process_time()
        found = await search(*given, **named)
        timings[WHOLE].append((time.process_time() - started) * 1000)
        return found

    for question in questions[:WARM_UP]:
        await _post(app, key, {"query": question})
    database_before = cpu_s(database)
    with patch.object(Retrieval, "search", timed):
        for question in questions[WARM_UP:]:
            started = time.process_time()
            answer = await _post(app, key, {"query": question})
            timings[REQUEST].append((time.process_time() - started) * 1000)
            for stage, ms in answer["timings_ms"].items():
                timings[stage].append(ms)
    timings[SQL].append((cpu_s(database) - database_before) / len(timings[REQUEST]) * 1000)
    return timings


async def _post(app: FastAPI, key: str, body: dict[str, str]) -> dict[str, Any]:
    """Call the ASGI application; return the body of its answer, which must be a 200."""
    sent: list[Message] = []
    raw = json.dumps(body).encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {
        "content-type": "application/json",
        "content-length": str(len(raw)),
        "authorization": f"Bearer {key}",
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/search",
        "raw_path": b"/v1/search",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    answer: dict[str, Any] = json.loads(b"".join(part.get("body", b"") for part in sent))
    if sent[0]["status"] != 200:
        raise SystemExit(f"a search was answered {answer}")
    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, required=True)
    options = parser.parse_args()
    settings = load_settings()
    configure_logging(settings.log)
    questions = questions_of(options.data, 2, WARM_UP + options.questions)
    with running_postgres(settings.data) as url, cpu_clock():
        print(json.dumps(asyncio.run(measure(settings, url, questions))))


if __name__ == "__main__":
    main()
