"""How well each layer of the check of a sentence tells the supported from the unsupported.

`python -m benchmarks.verification DIR...` reads sets in the shared JSONL schema and prints, as far
as a set has what is needed:

- claims that people labelled (`claims.jsonl`): AUROC of each layer and of all, and precision and
  recall of "unsupported" at the default threshold; a text of several sentences is as good as its
  mean sentence, and unsupported where a sentence is;
- mutations: sentences of `corpus.jsonl` (1,000 over all sets), each with one digit, date, name or
  negation altered, against their paragraph; and how many of the unaltered ones are refused;
- short answers (`queries.jsonl` with `corpus.jsonl`): the gold answers that pass, and the gold
  answers of other paragraphs that do.

Nothing but the default embedder is needed. `SEED` chooses other sentences and mutations.
"""

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.citations import Sentence, Support, find_support, nearest_quote, read_sentences
from app.domain.evidence import Excerpt
from app.domain.text import sentences
from app.domain.verification import Layers, calibrated_support
from app.engines.embedder.universal import UniversalSentenceEncoder
from app.settings import AnsweringSettings
from benchmarks.mutations import MUTATIONS, names_in
from tests.unit.passages import passage

SEED = int(os.environ.get("SEED", "7"))
SENTENCES = 1000
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
MIN_SUPPORT = AnsweringSettings().min_support

Row = dict[str, Any]
Floats = NDArray[np.float64]


class Similarity:
    """Cosine similarities by the default embedder."""

    def __init__(self) -> None:
        self._embedder = UniversalSentenceEncoder()

    def __call__(self, text: str, others: Sequence[str]) -> list[float]:
        """Those of one text to some others."""
        vectors = self._embedder.embed_passages([text, *others])
        return [float(score) for score in vectors[1:] @ vectors[0]]


def main() -> None:
    """Print what each set allows."""
    folders = [Path(name) for name in sys.argv[1:]]
    similarity = Similarity()
    for folder in folders:
        if (folder / "claims.jsonl").exists():
            print_claims(folder, similarity)
    print_mutations([f for f in folders if f.name.startswith("xquad")])
    for folder in folders:
        if folder.name.startswith("xquad"):
            print_short_answers(folder, similarity)


def auroc(good: Floats, bad: Floats) -> float:
    """The chance that a good one scores above a bad one, a tie counting half.

    Args:
        good: float64 (n,), scores of the supported.
        bad: float64 (m,), scores of the unsupported.
    """
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, "left") + np.searchsorted(ordered, good, "right")
    return float(below.sum() / (2 * len(good) * len(bad)))


def print_claims(folder: Path, similarity: Similarity) -> None:
    """Layers over labelled claims."""
    rows = [r for r in _read(folder / "claims.jsonl") if r["label"] in ("supported", "unsupported")]
    layers = np.array([_measured(row, similarity) for row in rows])
    good = np.array([row["label"] == "supported" for row in rows])
    print(f"\n{folder.name}: {good.sum()} supported, {(~good).sum()} unsupported claims")
    for place, name in enumerate(("facts", "words", "embedding", "all")):
        column = layers[:, place]
        told = f"  {name:10} AUROC {auroc(column[good], column[~good]):.3f}"
        if name in ("facts", "all"):
            refused = column < (1 if name == "facts" else MIN_SUPPORT)
            told += _precision_recall(refused, ~good)
        print(told)
    for threshold in THRESHOLDS:
        passes = layers[:, 4] >= threshold
        print(
            f"  support >= {threshold:.2f}: {passes[~good].mean():6.1%} of the unsupported let "
            f"through, {1 - passes[good].mean():6.1%} of the supported lost"
        )


def _measured(row: Row, similarity: Similarity) -> tuple[float, float, float, float, float]:
    """Facts, words, embedding and support in the mean, and the least support."""
    excerpt = _excerpt(row["context"])
    found = []
    for sentence in read_sentences(row["response"]):
        nearest = nearest_quote(sentence, "", [excerpt])
        if nearest is None:
            found.append((1.0, 0.0, 0.0, 0.0))
            continue
        quote, words = nearest
        cosine = similarity(sentence.text, [quote])[0]
        support = find_support(sentence, "", [excerpt], _unasked)
        facts = float(isinstance(support, Support))
        score = calibrated_support(Layers(facts, words, cosine), across_languages=False)
        found.append((facts, words, cosine, score))
    table = np.array(found or [(1.0, 0.0, 0.0, 0.0)])
    means = table.mean(axis=0)
    return means[0], means[1], means[2], means[3], table[:, 3].min()


def print_mutations(folders: Sequence[Path]) -> None:
    """How many altered sentences are refused."""
    chance = random.Random(SEED)
    pairs = [
        (document["text"][start:end], document["text"])
        for folder in folders
        for document in _read(folder / "corpus.jsonl")
        for start, end in sentences(document["text"])
        if 30 <= end - start <= 400 and document["text"][start:end].rstrip().endswith(".")
    ]
    if not pairs:
        return
    names = sorted({name for sentence, _ in pairs for name in names_in(sentence)})
    chosen = chance.sample(pairs, min(SENTENCES, len(pairs)))
    tried: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    begun = process_time()
    for sentence, text in chosen:
        altered = {kind: alter(sentence, chance, names) for kind, alter in MUTATIONS.items()}
        for kind, claim in {"unaltered": sentence, **altered}.items():
            if claim is not None:
                tried[kind] += 1
                refused[kind] += not _passes(claim, text)
    spent_ms = (process_time() - begun) * 1000 / sum(tried.values())
    print(f"\nmutations of {len(chosen)} sentences, {spent_ms:.2f} CPU-ms each")
    for kind, count in tried.items():
        print(f"  {kind:10} {count:5}, refused {refused[kind] / count:6.1%}")


def print_short_answers(folder: Path, similarity: Similarity) -> None:
    """How many gold answers pass beside their question."""
    texts = {document["doc_id"]: document["text"] for document in _read(folder / "corpus.jsonl")}
    rows = [row for row in _read(folder / "queries.jsonl") if row["answers"] and row["relevant"]]
    answers = [row["answers"][0] for row in rows]
    passed = {True: 0, False: 0}
    for place, row in enumerate(rows):
        text = texts[next(iter(row["relevant"]))]
        other = answers[(place + len(rows) // 2) % len(rows)]
        for answer, is_right in ((answers[place], True), (other, False)):
            ask = partial(_passes, question=row["question"], similarity=similarity)
            passed[is_right] += ask(f"{answer.rstrip('.')}.", text)
    print(
        f"\n{folder.name}: {len(rows)} short answers; {passed[True] / len(rows):.1%} of the right "
        f"and {passed[False] / len(rows):.1%} of the wrong ones pass"
    )


def _unasked(_text: str, others: Sequence[str]) -> list[float]:
    return [0.0 for _ in others]


def _passes(claim: str, text: str, question: str = "", similarity: Any = _unasked) -> bool:
    found = find_support(Sentence(claim, ()), question, [_excerpt(text)], similarity)
    return isinstance(found, Support) and found.score >= MIN_SUPPORT


def _excerpt(text: str) -> Excerpt:
    return Excerpt(replace(passage(text, title=""), heading_path=()), ((0, len(text)),))


def _precision_recall(refused: NDArray[np.bool_], bad: NDArray[np.bool_]) -> str:
    caught = float((refused & bad).sum())
    precision, recall = caught / max(int(refused.sum()), 1), caught / int(bad.sum())
    balanced = (recall + float((~refused & ~bad).sum()) / int((~bad).sum())) / 2
    return f", precision {precision:.3f}, recall {recall:.3f}, balanced accuracy {balanced:.3f}"


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


if __name__ == "__main__":
    main()
