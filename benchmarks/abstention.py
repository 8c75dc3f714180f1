"""How the evidence score separates questions with an answer from those without, on open sets.

`python -m benchmarks.abstention DIR...` reads sets in the shared JSONL schema that have an
`abstain_split.json`: its documents are left out, so its questions have no answer any more. For each
threshold it prints the share of answerable questions that would be refused and of unanswerable ones
that would be caught before the model is asked. No model server is needed.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys, sentences
from app.engines.embedder.universal import UniversalSentenceEncoder
from app.engines.lexical.bm25 import Bm25Index

SENTENCES_PER_CHUNK = 8  # about what a passage of joined neighbours holds
CANDIDATES = 8
THRESHOLDS = (0.22, 0.24, 0.26, 0.28, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4)


def main() -> None:
    """Print a table for each set."""
    for folder in map(Path, sys.argv[1:]):
        if not (folder / "abstain_split.json").exists():
            print(f"{folder.name}: skipped, no abstain_split.json here")
            continue
        answerable, unanswerable = strengths(folder)
        print(f"{folder.name}: {len(answerable)} answerable, {len(unanswerable)} unanswerable")
        for threshold in THRESHOLDS:
            refused, caught = (answerable < threshold).mean(), (unanswerable < threshold).mean()
            print(f"  {threshold:.2f}: refused {refused:6.1%}, caught {caught:6.1%}")


def strengths(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evidence scores of the answerable and of the unanswerable questions."""
    split = json.loads((folder / "abstain_split.json").read_text(encoding="utf-8"))
    chunks = [
        chunk
        for document in _read(folder / "corpus.jsonl")
        if document["doc_id"] not in split["drop_doc_ids"]
        for chunk in _chunks(document)
    ]
    embedder, index = UniversalSentenceEncoder(), Bm25Index()
    keys = [search_keys(chunk) for chunk in chunks]
    index.add(np.arange(len(chunks)), keys)
    vectors = embedder.embed_passages(chunks)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for query in _read(folder / "queries.jsonl"):
        similarities = vectors @ embedder.embed_queries([query["question"]])[0]
        lexical, _ = index.search(Counter(search_keys(query["question"])), CANDIDATES)
        found = {*np.argsort(-similarities)[:CANDIDATES].tolist(), *lexical.tolist()}
        asked = set(search_keys(query["question"])) - FUNCTION_KEYS - QUESTION_KEYS
        weights = {key: index.best_possible({key: 1.0}) for key in asked}
        total = sum(weights.values()) or 1.0
        coverage = max(sum(weights[key] for key in asked.intersection(keys[i])) for i in found)
        strength = (float(similarities.max()) + coverage / total) / 2
        scores[query["query_id"] not in split["unanswerable_query_ids"]].append(strength)
    return np.array(scores[True]), np.array(scores[False])


def _chunks(document: dict[str, Any]) -> list[str]:
    spans = sentences(document["text"])
    groups = [spans[i : i + SENTENCES_PER_CHUNK] for i in range(0, len(spans), SENTENCES_PER_CHUNK)]
    return [f"{document['title']}\n{document['text'][g[0][0] : g[-1][1]]}" for g in groups]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


if __name__ == "__main__":
    main()
