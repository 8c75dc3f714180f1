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


def main() -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--stored", type=int, default=20_000, help="chunks of the storing alone")
    options = parser.parse_args()
    missing = [name for name in (*CORPORA, *QUESTIONS) if not (options.data / name).is_dir()]
    if missing:
        print(f"skipped: {options.data} has no {', '.join(missing)}; name the sets with --data")
        return 2
    python = peers_python()
    report.print_machine(REPOSITORY)
    report.print_versions(python)
    print(f"bfloat16: {'yes' if has_bfloat16() else 'no'}\n")
    truth = contest(python, "exact", options.data, options.chunks)
    print(f"{'':14}{'chunks per CPU-s':>18}{'top 10 shared':>16}   CPU seconds")
    rates = {}
    for name in ("exact", "opora", *PEERS):
        found = truth if name == "exact" else contest(python, name, options.data, options.chunks)
        rates[name] = options.chunks / sum(found["cpu_s"].values())
        shared = overlap(found["best"], truth["best"])
        print(f"{PEERS.get(name, name):14}{rates[name]:18.1f}{shared:16.4f}   {parts(found)}")
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
