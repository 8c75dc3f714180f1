"""`make bench-retrieval`: CPU time of a search by stage, over HTTP, and beside two peers.

Needs the open sets that --data names. The first run embeds and fills databases under
.cache/bench-retrieval; later runs find them there. Every figure is CPU time unless its column says
otherwise, and wall time is printed only when the load average is not above the number of cores.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.retrieval import report
from benchmarks.retrieval.bench import Bench, Prepared, Size
from benchmarks.retrieval.corpus import missing_sets, questions_of
from benchmarks.retrieval.environment import CACHE, REPOSITORY, model_folder, peers_python
from benchmarks.retrieval.load import CONCURRENCY, WARM_UP, Cost, Target, measure
from benchmarks.retrieval.stages import Timings

MOST_REAL = 20_000
PEERS_SIZE = Size(20_000, most_real=4_000)  # their model costs 6 times the default one's CPU
PEERS = {"langchain": "LangChain, FAISS + BM25", "txtai": "txtai"}
OWN = "Opora, the peers' model"


def main() -> int:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--sizes", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    options = parser.parse_args()
    if missing := missing_sets(options.data):
        print(f"skipped: {options.data} has no {', '.join(missing)}; name the sets with --data")
        return 2
    report.print_machine(REPOSITORY)
    questions = questions_of(options.data, len(CONCURRENCY) + 1, WARM_UP + options.questions)
    bench = Bench(options.data.resolve(), CACHE / "bench-retrieval", sys.executable)
    report.print_versions(Path(bench.python))
    stages: dict[int, dict[str, Timings]] = {}
    costs: list[Cost] = []
    for chunks in options.sizes:
        made = bench.prepare(Size(chunks, MOST_REAL))
        _say(made)
        stages[chunks] = bench.stages(made, options.questions)
        report.print_stages(stages[chunks])
        report.print_costs_head()
        with bench.opora(made, f"Opora, {chunks} chunks") as target:
            costs += at_each_concurrency(target, questions)
    if not options.no_peers:
        costs += beside_peers(bench, questions)
    if options.json:
        figures = {"stages": stages, "http": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


def beside_peers(bench: Bench, questions: list[list[str]]) -> list[Cost]:
    """Opora and two peers with the same model, texts and vectors, one after the other."""
    python = peers_python()
    report.print_versions(python)
    bench = replace(bench, python=str(python), model=str(model_folder(python)))
    made = bench.prepare(PEERS_SIZE)
    _say(made)
    report.print_costs_head()
    costs = []
    with bench.opora(made, OWN) as target:
        costs += both_modes(target, questions)
    for module, name in PEERS.items():
        with bench.peer(module, name, made, PEERS_SIZE) as target:
            costs += both_modes(target, questions)
    report.print_verdict(costs, OWN, CONCURRENCY[-1])
    return costs


def both_modes(target: Target, questions: list[list[str]]) -> list[Cost]:
    """Hybrid search at each concurrency, and dense search alone at the highest."""
    costs = at_each_concurrency(target, questions)
    dense = replace(target, mode="dense")
    return [*costs, ask(dense, questions[-1], CONCURRENCY[-1])]


def at_each_concurrency(target: Target, questions: list[list[str]]) -> list[Cost]:
    """Hybrid search; each time with new questions, so that no cache answers them."""
    return [
        ask(target, part, concurrency)
        for part, concurrency in zip(questions, CONCURRENCY, strict=False)
    ]


def ask(target: Target, questions: list[str], concurrency: int) -> Cost:
    """Measure, and print at once."""
    cost = measure(target, questions, concurrency)
    report.print_cost(cost)
    return cost


def _say(made: Prepared) -> None:
    print(
        f"\n{made.chunks} chunks, {made.real} of them real and {made.chunks - made.real} mixtures "
        f"of two with the normalised sum of their vectors; {made.embedder}"
    )
    report.print_load()


if __name__ == "__main__":
    sys.exit(main())
