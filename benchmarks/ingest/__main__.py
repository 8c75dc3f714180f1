"""`make bench-ingest`: chunks per CPU-second beside three libraries with one model and its chunks.

Each runs alone, in a process of its own with one thread, on all-MiniLM-L6-v2. What is counted is
the CPU time from texts to a searchable index; Opora's includes PostgreSQL, which writes durably,
its BM25 leg and its index files, where the libraries hold vectors in memory. The overlap is the
share of the ten best chunks that are those of torch in float32, over 200 questions.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.ingest.texts import CORPORA, QUESTIONS
from benchmarks.retrieval import report
from benchmarks.retrieval.environment import REPOSITORY, model_folder, peers_python
from benchmarks.retrieval.processes import ONE_THREAD

PEERS = {"langchain": "LangChain", "llamaindex": "LlamaIndex", "txtai": "txtai"}
NAMES = {"exact": "torch float32", "opora": "Opora", **PEERS}


def main() -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--stored", type=int, default=20_000, help="chunks of the storing alone")
    parser.add_argument("--rounds", type=int, default=2, help="each counts by its best")
    options = parser.parse_args()
    missing = [name for name in (*CORPORA, *QUESTIONS) if not (options.data / name).is_dir()]
    if missing:
        print(f"skipped: {options.data} has no {', '.join(missing)}; name the sets with --data")
        return 2
    python = peers_python()
    report.print_machine(REPOSITORY)
    report.print_versions(python)
    print(f"bfloat16: {'yes' if has_bfloat16() else 'no'}\n")
    found: dict[str, Any] = {}
    for _ in range(options.rounds):  # in turns; a busy machine only adds to the CPU time
        for name in NAMES:
            outcome = contest(python, name, options.data, options.chunks)
            if name not in found or _cpu_s(outcome) < _cpu_s(found[name]):
                found[name] = outcome
    print(f"{'':14}{'chunks per CPU-s':>18}{'top 10 shared':>16}   CPU seconds")
    rates = {name: options.chunks / _cpu_s(found[name]) for name in NAMES}
    for name, label in NAMES.items():
        shared = overlap(found[name]["best"], found["exact"]["best"])
        print(f"{label:14}{rates[name]:18.1f}{shared:16.4f}   {parts(found[name])}")
    best = max(PEERS, key=lambda name: rates[name])
    print(f"\nOpora: {rates['opora'] / rates[best]:.2f} times the best of them, {PEERS[best]}")
    print("storing alone, durably:")
    for name, chunks in (("store-long", options.stored), ("store", options.stored // 10)):
        found = contest(python, name, options.data, chunks)
        documents = found["documents"]
        rate = chunks / sum(found["cpu_s"].values())
        print(
            f"{chunks} chunks of {documents} documents: {rate:.0f} per CPU-second, {parts(found)}"
        )
    return 0


def contest(python: Path, name: str, data: Path, chunks: int) -> Any:
    """Run one contestant and return its outcome."""
    command = [str(python), "-m", "benchmarks.ingest.contestant", name, "--data", str(data)]
    command += ["--chunks", str(chunks), "--model", str(model_folder(python))]
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPORA_")}
    done = subprocess.run(
        command, env=own | ONE_THREAD, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _cpu_s(outcome: Any) -> float:
    return float(sum(outcome["cpu_s"].values()))


def overlap(found: list[list[int]], wanted: list[list[int]]) -> float:
    """The mean share of the best chunks in common."""
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)]
    return sum(shares) / len(shares)


def parts(found: Any) -> str:
    """CPU seconds by part."""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["cpu_s"].items())


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16."""
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


if __name__ == "__main__":
    sys.exit(main())
