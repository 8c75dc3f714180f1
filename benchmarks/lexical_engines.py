"""BM25 engines side by side over the same key streams: cost, memory, filters and answers.

Times are CPU time of one process; "worst" is the mean of the dearest tenth of the questions.

Run: python -m benchmarks.lexical_engines --data ../shared/data
tantivy is no dependency of Opora: `pip install tantivy==0.27.0` first, or its column is left out.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.domain.ports import Ids, KeyWeights
from app.domain.text import index_keys, search_keys, sentences, with_beginnings
from app.engines.lexical.bm25 import Bm25Index

CORPORA = ("mtrag_en", "handbook_sourcegraph_en", "danetqa_ru", "b24docs_ru", "xquad_ru")
QUESTIONS = {
    "ru": ("xquad_ru", "b24docs_ru", "danetqa_ru"),
    "en": ("xquad_en", "handbook_sourcegraph_en", "mtrag_en"),
}
QUESTIONS_EACH = 200
CHUNK_CHARS = 600
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001)
TOP = 50
SEED = 5


class Engine(Protocol):
    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> object: ...
    def search(self, keys: KeyWeights, k: int, allowed: Ids | None) -> Sequence[int]: ...
    def ready(self) -> None: ...
    def loading_s(self) -> float: ...


class Own:
    """The engine of Opora."""

    def __init__(self) -> None:
        self._index = Bm25Index()

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        self._index.add(ids, keys)

    def search(self, keys: KeyWeights, k: int, allowed: Ids | None) -> list[int]:
        ids: list[int] = self._index.search(keys, k, allowed)[0].tolist()
        return ids

    def ready(self) -> None:
        pass

    def loading_s(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            self._index.save(Path(folder) / "index")
            started = time.process_time()
            Bm25Index().load(Path(folder) / "index")
            return time.process_time() - started


class Tantivy:
    """tantivy over the same keys, cut at white space; the filter is a term set query."""

    def __init__(self) -> None:
        import tantivy

        self._tantivy: Any = tantivy
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("id", stored=True, indexed=True, fast=True)
        builder.add_text_field("keys", tokenizer_name="whitespace", index_option="freq")
        self._folder = tempfile.TemporaryDirectory()
        self._schema = builder.build()
        self._index: Any = tantivy.Index(self._schema, path=self._folder.name)
        self._writer = self._index.writer(heap_size=200_000_000, num_threads=1)

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        for entry, stream in zip(ids.tolist(), keys, strict=True):
            joined = " ".join(stream)
            self._writer.add_document(self._tantivy.Document(id=entry, keys=joined))

    def ready(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, keys: KeyWeights, k: int, allowed: Ids | None) -> list[int]:
        query, occur = self._tantivy.Query, self._tantivy.Occur
        terms = []
        for key, weight in keys.items():
            term = query.term_query(self._schema, "keys", key, index_option="freq")
            terms.append((occur.Should, query.boost_query(term, weight)))
        asked = query.boolean_query(terms)
        if allowed is not None:
            permitted = query.term_set_query(self._schema, "id", allowed.tolist())
            unscored = query.const_score_query(permitted, 0.0)
            asked = query.boolean_query([(occur.Must, asked), (occur.Must, unscored)])
        hits = self._searcher.search(asked, k, count=False).hits
        return [self._searcher.doc(address)["id"][0] for _, address in hits]

    def loading_s(self) -> float:
        return 0.0  # it maps its files into memory


ENGINES: dict[str, Callable[[], Engine]] = {"own": Own, "tantivy": Tantivy}


def chunks_of(data: Path) -> Iterator[str]:
    """Yield chunks of whole sentences, about CHUNK_CHARS long."""
    for name in CORPORA:
        with (data / name / "corpus.jsonl").open() as lines:
            for line in lines:
                text = json.loads(line)["text"]
                start = end = 0
                for _, sentence_end in sentences(text):
                    if sentence_end - start > CHUNK_CHARS and end > start:
                        yield text[start:end]
                        start = end
                    end = sentence_end
                if end > start:
                    yield text[start:end]


def key_streams(data: Path, count: int) -> list[list[str]]:
    """Return so many key streams; where the corpora are too small, of shuffled mixtures of two."""
    streams = [keys for chunk in chunks_of(data) if (keys := index_keys(chunk))]
    rng = np.random.default_rng(SEED)
    rng.shuffle(streams)
    real = len(streams)
    while len(streams) < count:
        first, second = (streams[place] for place in rng.integers(real, size=2))
        streams.append(first[: len(first) // 2] + second[len(second) // 2 :])
    print(f"{min(real, count)} chunks of the corpora, {max(0, count - real)} mixtures of two")
    return streams[:count]


def questions_of(data: Path) -> dict[str, list[str]]:
    """Return real questions by language."""
    rng = np.random.default_rng(SEED)
    questions = {}
    for language, names in QUESTIONS.items():
        found = []
        for name in names:
            with (data / name / "queries.jsonl").open() as lines:
                found += [json.loads(line)["question"] for line in lines]
        chosen = rng.choice(len(found), QUESTIONS_EACH, replace=False)
        questions[language] = [found[place] for place in chosen]
    return questions


def resident_bytes() -> int:
    """Return the memory that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cost(step: Callable[[Any], object], inputs: Sequence[Any]) -> str:
    """Return the mean and the worst tenth of the CPU milliseconds of a step."""
    spent = []
    for each in inputs:
        started = time.process_time()
        step(each)
        spent.append((time.process_time() - started) * 1e3)
    spent.sort()
    return f"{np.mean(spent):.2f} / {np.mean(spent[-len(spent) // 10 :]):.2f}"


def measure(name: str, streams: list[list[str]], questions: dict[str, list[str]]) -> dict[str, Any]:
    """Build one engine and ask it everything."""
    engine = ENGINES[name]()
    before = resident_bytes()
    started = time.process_time()
    for first in range(0, len(streams), 1000):
        part = streams[first : first + 1000]
        engine.add(np.arange(first, first + len(part), dtype=np.int64), part)
    engine.ready()
    adding_s = time.process_time() - started
    row: dict[str, Any] = {
        "add, µs a chunk": f"{adding_s / len(streams) * 1e6:.0f}",
        "memory, bytes a chunk": f"{(resident_bytes() - before) / len(streams):.0f}",
        "load all, s": f"{engine.loading_s():.2f}",
    }
    rng = np.random.default_rng(SEED)
    filters: dict[str, Ids | None] = {"no filter": None}
    for share in SHARES:
        picked = rng.choice(len(streams), max(1, int(len(streams) * share)), replace=False)
        filters[f"{share:.2%} allowed"] = np.sort(picked).astype(np.int64)
    search_keys("слово word")  # loads the dictionary
    asked = {}
    for language, texts in questions.items():
        row[f"{language}: keys, words new, ms"] = cost(search_keys, texts)
        row[f"{language}: keys, words known, ms"] = cost(search_keys, texts)
        asked[language] = [with_beginnings(Counter(search_keys(text))) for text in texts]
        for label, allowed in filters.items():
            search = partial(engine.search, k=TOP, allowed=allowed)
            search(asked[language][0])  # a filter comes many times, so its first time is apart
            row[f"{language}: {label}, ms"] = cost(search, asked[language])
    every = [*asked["ru"], *asked["en"]]
    row["first ten"] = [list(engine.search(keys, 10, None)) for keys in every]
    return row


def report(rows: Mapping[str, Mapping[str, Any]], count: int) -> None:
    """Print the table of one size."""
    print(f"\n{count} chunks, top {TOP}, load average {os.getloadavg()[0]:.1f}, mean / worst tenth")
    print(f"{'':32}" + "".join(f"{name:>16}" for name in rows))
    labels = [label for label in next(iter(rows.values())) if label != "first ten"]
    for label in labels:
        print(f"{label:32}" + "".join(f"{row[label]:>16}" for row in rows.values()))
    if len(rows) == 2:
        ours, theirs = (row["first ten"] for row in rows.values())
        shared = [len(set(a) & set(b)) / max(len(a), 1) for a, b in zip(ours, theirs, strict=True)]
        print(f"the same ids among the first ten: {np.mean(shared):.3f}")


def main() -> None:
    """Measure each engine in a process of its own, so that memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    needed = {*CORPORA, *QUESTIONS["ru"], *QUESTIONS["en"]}
    missing = [name for name in needed if not (options.data / name).is_dir()]
    if missing:
        sys.exit(f"skipped: {options.data} has no {', '.join(sorted(missing))}")
    if options.one:
        name, folder = options.one
        streams, questions = json.loads((Path(folder) / "streams.json").read_bytes())
        row = measure(name, streams, questions)
        (Path(folder) / f"{name}.json").write_text(json.dumps(row))
        return
    print(platform.processor() or platform.machine(), f"{os.cpu_count()} cores", sys.version)
    questions = questions_of(options.data)
    for count in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            streams = key_streams(options.data, count)
            (Path(folder) / "streams.json").write_text(json.dumps([streams, questions]))
            rows = {}
            for name in ENGINES:
                command = [sys.executable, "-m", "benchmarks.lexical_engines"]
                command += ["--data", str(options.data), "--one", name, folder]
                if subprocess.run(command, check=False).returncode == 0:
                    rows[name] = json.loads((Path(folder) / f"{name}.json").read_text())
            report(rows, count)


if __name__ == "__main__":
    main()
