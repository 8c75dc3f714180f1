"""Queries per CPU-second of a server: the client's work is not counted, every server process is."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.retrieval.processes import cpu_s

CONCURRENCY = (1, 8, 32)
WARM_UP = 64


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: where to ask, and which processes its work is done in."""

    name: str
    url: str
    pids: Mapping[str, int]
    headers: Mapping[str, str]
    mode: str = "hybrid"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of a query by process; wall figures are None on a machine too busy."""

    name: str
    mode: str
    concurrency: int
    cpu_ms: Mapping[str, float]
    per_cpu_s: float
    passages: float
    load_average: float
    per_s: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What the client prints: its wall time, and of each request latency and passages found."""

    wall_s: float
    latencies_ms: list[float]
    passages: list[int]


def measure(target: Target, questions: Sequence[str], concurrency: int) -> Cost:
    """Ask every question once, so many at a time; the first WARM_UP are not counted."""
    _ask(target, questions[:WARM_UP], concurrency)
    before = {name: cpu_s(pid) for name, pid in target.pids.items()}
    told = _ask(target, questions[WARM_UP:], concurrency)
    count = len(questions) - WARM_UP
    cpu_ms = {n: (cpu_s(pid) - before[n]) / count * 1000 for n, pid in target.pids.items()}
    load = os.getloadavg()[0]
    quiet = load <= (os.cpu_count() or 1)
    return Cost(
        name=target.name,
        mode=target.mode,
        concurrency=concurrency,
        cpu_ms=cpu_ms,
        per_cpu_s=1000 / sum(cpu_ms.values()),
        passages=float(np.mean(told.passages)),
        load_average=load,
        per_s=count / told.wall_s if quiet else None,
        p95_ms=float(np.percentile(told.latencies_ms, 95)) if quiet else None,
    )


def _ask(target: Target, questions: Sequence[str], concurrency: int) -> Told:
    plan = {
        "url": target.url,
        "headers": dict(target.headers),
        "bodies": [{"query": question, "mode": target.mode} for question in questions],
        "concurrency": concurrency,
    }
    command = [sys.executable, "-m", "benchmarks.retrieval.client"]
    done = subprocess.run(
        command, input=json.dumps(plan).encode(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{target.name} at {target.url}: {done.stderr.decode()[-2000:]}")
    return Told(**json.loads(done.stdout))
