"""What follow-up questions and foreign questions find, without a model and with one.

`python -m benchmarks.rewriting follow-ups DIR...` reads sets in the shared JSONL schema and ranks
their documents for each question with a history: for the question alone, for `in_context`, for the
rewriting that the set's authors wrote (what no model betters by much) and for that in context. Then
it measures the harm: each question without a history is put after one on another topic.

`... rewrite URL DIR...` lets a running model server rewrite a sample of the follow-ups, and
`... translate URL DIR OTHER_DIR` translate a sample of the questions of a set, whose ids must be
those of the set in the other language, where they are searched. The seed is fixed.
"""

import argparse
import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.follow_ups import Asked, Turn, in_context, leans
from app.domain.fusion import fuse
from app.domain.ports import KeyWeights, Scores
from app.domain.text import index_keys, search_keys, with_beginnings
from app.engines.embedder.universal import UniversalSentenceEncoder
from app.engines.lexical.bm25 import Bm25Index
from app.engines.llm.openai_client import OpenAiChatModel
from app.quality.metrics import per_question
from app.services.rewriting import Rewriter
from app.settings import LlmSettings

SEED = 7
CANDIDATES = 50
DENSE_WEIGHT = 0.25
PATIENCE_S = 60.0
METRICS = ("recall@1", "recall@5", "nDCG@10")

Query = dict[str, Any]


class Corpus:
    """The documents of a set, each as one entry of both legs."""

    def __init__(self, folder: Path, embedder: UniversalSentenceEncoder) -> None:
        documents = read(folder / "corpus.jsonl")
        texts = [f"{document['title']}\n{document['text']}" for document in documents]
        self._names = [document["doc_id"] for document in documents]
        self._embedder = embedder
        self._vectors = embedder.embed_passages(texts)
        self._index = Bm25Index()
        self._index.add(np.arange(len(texts)), [index_keys(text) for text in texts])

    def lexical(self, keys: KeyWeights) -> dict[int, float]:
        """The best documents by BM25."""
        ids, scores = self._index.search(with_beginnings(keys), CANDIDATES)
        return dict(zip(ids.tolist(), scores.tolist(), strict=True))

    def rankings(self, text: str, keys: KeyWeights) -> dict[str, list[str]]:
        """The documents' names, best first, by each leg and by both."""
        similarity = self._vectors @ self._embedder.embed_queries([text])[0]
        dense, lexical = best_of(similarity), self.lexical(keys)
        cosines = {document: float(similarity[document]) for document in lexical}
        best = self._index.best_possible(with_beginnings(keys))
        ways = {
            "dense": fuse(dense, {}, {}, best, 1.0),
            "lexical": fuse({}, lexical, {}, best, 0.0),
            "hybrid": fuse(dense, lexical, cosines, best, DENSE_WEIGHT),
        }
        return {way: [self._names[hit.chunk_id] for hit in hits] for way, hits in ways.items()}


def best_of(scores: Scores) -> dict[int, float]:
    """The best documents by their scores float32 (documents,)."""
    best = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return dict(zip(best.tolist(), scores[best].tolist(), strict=True))


def follow_ups(folders: Sequence[Path]) -> None:
    """Print what each reading of the follow-ups finds."""
    embedder = UniversalSentenceEncoder()
    readings: dict[str, Callable[[Query], Asked]] = {
        "question alone": lambda query: Asked(query["question"]),
        "in context": lambda query: in_context(query["question"], turns(query)),
        "authors' rewriting": lambda query: Asked(rewriting(query)),
        "the same in context": lambda query: in_context(rewriting(query), turns(query)),
    }
    for folder in folders:
        corpus = Corpus(folder, embedder)
        if questions := with_history(folder):
            leaning = sum(leans(query["question"]) for query in questions)
            print(f"{folder.name}: {len(questions)} follow-ups, {leaning} lean on the turns before")
            for name, reading in readings.items():
                report(name, corpus, questions, [reading(query) for query in questions])
        strangers = with_strange_history(folder)
        print(f"{folder.name}: {len(strangers)} questions, each after one on another topic")
        for name in ("question alone", "in context"):
            report(name, corpus, strangers, [readings[name](query) for query in strangers])


async def rewrite(url: str, folders: Sequence[Path], sample: int) -> None:
    """Print what the model's rewritings of leaning questions find."""
    embedder = UniversalSentenceEncoder()
    for folder in folders:
        corpus = Corpus(folder, embedder)
        leaning = [query for query in with_history(folder) if leans(query["question"])]
        questions = random.Random(SEED).sample(leaning, min(sample, len(leaning)))
        timings: list[dict[str, float]] = [{} for _ in questions]
        async with rewriter_at(url) as rewriter:
            rewritten = [
                await rewriter.stand_alone(query["question"], turns(query), timings_ms)
                for query, timings_ms in zip(questions, timings, strict=True)
            ]
        print(f"{folder.name}: {len(questions)} leaning questions")
        plain = [in_context(query["question"], turns(query)) for query in questions]
        report("in context, no model", corpus, questions, plain)
        report("the model's rewriting", corpus, questions, rewritten)
        print_cost("rewrite", timings)


async def translate(url: str, folder: Path, other: Path, sample: int) -> None:
    """Print what the questions of one set find in the other, with a translation and without."""
    corpus = Corpus(other, UniversalSentenceEncoder())
    questions = random.Random(SEED).sample(read(folder / "queries.jsonl"), sample)
    timings: list[dict[str, float]] = [{} for _ in questions]
    async with rewriter_at(url) as rewriter:
        translations = [
            await rewriter.translate(query["question"], timings_ms)
            for query, timings_ms in zip(questions, timings, strict=True)
        ]
    print(f"{folder.name} in {other.name}: {len(questions)} questions")
    own = [Asked(query["question"]) for query in questions]
    helped = [
        Asked(query["question"], earlier_keys=Counter(search_keys(translation or "")))
        for query, translation in zip(questions, translations, strict=True)
    ]
    report("question alone", corpus, questions, own)
    report("with the translation's keys", corpus, questions, helped)
    print_cost("translate", timings)


@asynccontextmanager
async def rewriter_at(url: str) -> AsyncIterator[Rewriter]:
    """A rewriter with much patience over a running model server."""
    chat = OpenAiChatModel(LlmSettings(), url)
    try:
        yield Rewriter(chat, PATIENCE_S)
    finally:
        await chat.close()


def report(name: str, corpus: Corpus, questions: Sequence[Query], asked: Sequence[Asked]) -> None:
    """Print the metrics of each leg and of both for one reading of the questions."""
    rankings = [
        corpus.rankings(one.text, Counter(search_keys(one.question)) + Counter(one.earlier_keys))
        for one in asked
    ]
    relevant = [query["relevant"] for query in questions]
    for way in ("lexical", "dense", "hybrid"):
        values = per_question(relevant, [ranking[way] for ranking in rankings])
        means = "  ".join(f"{metric} {values[metric].mean():.3f}" for metric in METRICS)
        print(f"  {name:28s}{way:9s}{means}")


def print_cost(name: str, timings: Sequence[dict[str, float]]) -> None:
    """Print how long the model took and how often its text was of no use."""
    waits = sorted(timings_ms.get(name, 0.0) / 1000 for timings_ms in timings)
    skipped = sum(f"{name}_skipped" in timings_ms for timings_ms in timings)
    print(f"  {name}: median {waits[len(waits) // 2]:.1f} s, longest {waits[-1]:.1f} s; ", end="")
    print(f"unusable: {skipped} of {len(waits)}")


def with_history(folder: Path) -> list[Query]:
    """The questions of a set that have turns before them and a known document."""
    files = (folder / "queries.jsonl", folder / "queries_multiturn.jsonl")
    queries = [query for path in files if path.exists() for query in read(path)]
    return [query for query in queries if query["history"] and query["relevant"]]


def with_strange_history(folder: Path) -> list[Query]:
    """Every question without a history, after one on another topic."""
    queries = [query for query in read(folder / "queries.jsonl") if query["relevant"]]
    queries = [query for query in queries if not query["history"]]
    chosen = random.Random(SEED)

    def stranger(query: Query) -> Query:
        while True:
            other = chosen.choice(queries)
            if not topics(query) & topics(other):
                return other

    return [
        query | {"history": [{"role": "user", "content": stranger(query)["question"]}]}
        for query in queries
    ]


def topics(query: Query) -> set[str]:
    """What the question is about: its article, where the set names one, else its documents."""
    article = query["meta"].get("article")
    return {article} if article else set(query["relevant"])


def turns(query: Query) -> list[Turn]:
    """The history as turns; an assistant's message answers the question before it."""
    found: list[Turn] = []
    for message in query["history"]:
        if message["role"] == "user":
            found.append(Turn(message["content"]))
        elif found:
            found[-1] = Turn(found[-1].question, message["content"])
    return found


def rewriting(query: Query) -> str:
    """The question as the set's authors would have it stand alone."""
    return str(query["meta"].get("rewrite") or query["question"])


def read(path: Path) -> list[Query]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.rewriting", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("follow-ups").add_argument("folders", nargs="+", type=Path)
    with_model = commands.add_parser("rewrite")
    with_model.add_argument("url", help="of a model server, ending in /v1")
    with_model.add_argument("folders", nargs="+", type=Path)
    with_model.add_argument("--sample", type=int, default=60)
    across = commands.add_parser("translate")
    across.add_argument("url", help="of a model server, ending in /v1")
    across.add_argument("folder", type=Path)
    across.add_argument("other", type=Path)
    across.add_argument("--sample", type=int, default=60)
    options = parser.parse_args()
    match options.command:
        case "follow-ups":
            follow_ups(options.folders)
        case "rewrite":
            asyncio.run(rewrite(options.url, options.folders, options.sample))
        case "translate":
            asyncio.run(translate(options.url, options.folder, options.other, options.sample))


if __name__ == "__main__":
    main()
