"""Which blend of the two search legs finds best, on open sets.

`python -m benchmarks.fusion_weights --dataset DIR... [--hard DIR...] [--rewritten DIR...]` cuts and
embeds each set once with the configured embedder, takes the best 50 chunks of each leg for every
question, and prints nDCG@10 and recall@1 of many ways to blend them; a document counts at its best
chunk. `--vectors` keeps the vectors from one run to the next.

A chunk that one leg alone proposes takes the lowest value that the other leg gives; in blends that
are `looked up` its cosine is computed, and its BM25 score counts 0. The normalisations are those of
Bruch, Gai, Ingber (2023), "An Analysis of Fusion Functions for Hybrid Retrieval", section 4.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.cli.throwaway import CutDocument, cut
from app.domain.errors import DocumentRejected
from app.domain.ports import Embedder, Ids, Vectors
from app.domain.text import index_keys, search_keys, with_beginnings
from app.engines.lexical.bm25 import Bm25Index
from app.quality.datasets import Dataset, read_dataset
from app.quality.metrics import DEPTH, Values, interval, per_question
from app.settings import IngestionSettings, load_settings
from app.wiring import build_embedder

CANDIDATES = 50
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MEASURES = ("nDCG@10", "recall@1")
_RRF_K = 60  # Cormack, Clarke, Buettcher (2009)
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Leg:
    """The scores that a leg gives all candidates, float64 (candidates,), and which it proposed."""

    scores: Values
    proposed: NDArray[np.bool_]
    worst: float
    best: float

    def ranks(self) -> Values:
        """The place of each candidate among the proposed, from 1; infinite for the others."""
        order = np.argsort(np.argsort(-np.where(self.proposed, self.scores, -np.inf)))
        return np.where(self.proposed, order + 1.0, np.inf)

    def stretched(self) -> Values:
        """Best candidate 1, last one 0."""
        known = self.scores[self.proposed]
        low, high = float(known.min()), float(known.max())
        return (self.scores - low) / (high - low or 1)

    def from_worst(self) -> Values:
        """Best candidate 1, the worst score that there can be 0."""
        return (self.scores - self.worst) / (self.scores.max() - self.worst or 1)

    def from_zero(self) -> Values:
        """Best candidate 1, score 0 is 0."""
        return np.maximum(self.scores, 0) / (self.scores.max() or 1)

    def of_best_possible(self) -> Values:
        """The share of the best score that there can be."""
        return np.maximum(self.scores, 0) / (self.best or 1)

    def standardised(self) -> Values:
        """Mean 0 and deviation 1 over the proposed."""
        known = self.scores[self.proposed]
        return (self.scores - float(known.mean())) / (float(known.std()) or 1)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both legs propose for one question: chunk numbers, int64 (candidates,)."""

    chunks: Ids
    dense: Leg
    lexical: Leg


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset with the document of each chunk and the candidates of each question."""

    dataset: Dataset
    owners: list[str]
    candidates: list[Candidates]


Normalise = Callable[[Leg], Values]
Blend = Callable[[Candidates], Values]
NORMALISATIONS: dict[str, Normalise] = {
    "min-max": Leg.stretched,
    "theoretical minimum": Leg.from_worst,
    "zero minimum": Leg.from_zero,
    "theoretical limits": Leg.of_best_possible,
    "z-score": Leg.standardised,
}


def main() -> None:
    """Print a table for each measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, nargs="+", default=[])
    parser.add_argument("--hard", type=Path, nargs="+", default=[])
    parser.add_argument("--rewritten", type=Path, nargs="+", default=[])
    parser.add_argument("--vectors", type=Path, help="folder to keep vectors in")
    options = parser.parse_args()
    datasets = [read_dataset(folder) for folder in options.dataset]
    datasets += [read_dataset(folder, hard=True) for folder in options.hard]
    datasets += [read_dataset(folder, rewritten=True) for folder in options.rewritten]
    settings = load_settings()
    embedder = build_embedder(settings.embedder)
    prepared = [prepare(d, embedder, settings.ingestion, options.vectors) for d in datasets]
    results = {
        name: [judge(one, blend) for one in prepared]
        for name, blend in track(blends().items(), "judging")
    }
    console = Console(width=60 + 20 * len(prepared))
    for measure in MEASURES:
        console.print(table(measure, prepared, results))
    console.print("< below the better leg, << by more than the 95 % interval of the difference")


def prepare(
    dataset: Dataset, embedder: Embedder, limits: IngestionSettings, vectors: Path | None
) -> Prepared:
    """Cut, embed and search."""
    documents = list(_cut_all(dataset, embedder, limits))
    texts = [text for document in documents for text in document.texts()]
    owners = [document.document_id for document in documents for _ in document.drafts]
    asked = [question.text for question in dataset.questions]
    name = str(embedder.fingerprint)
    passages = _kept(vectors, name, texts, embedder.embed_passages)
    questions = _kept(vectors, f"{name} questions", asked, embedder.embed_queries)
    lexical = Bm25Index()
    lexical.add(np.arange(len(texts)), [index_keys(text) for text in texts])
    candidates = [
        _candidates(lexical, question, passages @ vector)
        for question, vector in zip(asked, questions, strict=True)
    ]
    return Prepared(dataset, owners, candidates)


def _cut_all(dataset: Dataset, embedder: Embedder, limits: IngestionSettings) -> list[CutDocument]:
    documents = []
    for document in track(dataset.documents, f"{dataset.name}: cutting"):
        try:
            documents.append(cut(document, embedder, limits))
        except DocumentRejected as error:
            print(f"{document.document_id}: {error.message}")
    return documents


def _candidates(lexical: Bm25Index, question: str, cosines: Vectors) -> Candidates:
    keys = with_beginnings(Counter(search_keys(question)))
    dense = np.argsort(-cosines, kind="stable")[:CANDIDATES]
    found, scores = lexical.search(keys, CANDIDATES)
    chunks = np.union1d(dense, found)
    bm25 = np.zeros(len(chunks))
    bm25[np.searchsorted(chunks, found)] = scores
    return Candidates(
        chunks,
        Leg(cosines[chunks].astype(np.float64), np.isin(chunks, dense), -1.0, 1.0),
        Leg(bm25, np.isin(chunks, found), 0.0, lexical.best_possible(keys)),
    )


def blends() -> dict[str, Blend]:
    """Every way to turn two legs into one score, by name."""
    found: dict[str, Blend] = {
        "lexical": lambda c: np.where(c.lexical.proposed, c.lexical.scores, -np.inf),
        "dense": lambda c: np.where(c.dense.proposed, c.dense.scores, -np.inf),
        "reciprocal ranks": lambda c: (
            1 / (_RRF_K + c.dense.ranks()) + 1 / (_RRF_K + c.lexical.ranks())
        ),
    }
    for looked_up in (False, True):
        for name, normalise in NORMALISATIONS.items():
            for weight in WEIGHTS:
                shown = f"{name}{', looked up' * looked_up} {weight}"
                found[shown] = _weighted(normalise, weight, looked_up)
    return found


def _weighted(normalise: Normalise, weight: float, looked_up: bool) -> Blend:
    def leg(one: Leg) -> Values:
        if not one.proposed.any():
            return np.zeros(len(one.scores))
        values = normalise(one)
        return values if looked_up else np.where(one.proposed, values, values[one.proposed].min())

    return lambda c: weight * leg(c.dense) + (1 - weight) * leg(c.lexical)


def judge(prepared: Prepared, blend: Blend) -> dict[str, Values]:
    """Return the per-question values of a blend."""
    rankings = []
    for candidates in prepared.candidates:
        scores = blend(candidates)
        order = [at for at in np.argsort(-scores, kind="stable") if scores[at] > -np.inf]
        owners = dict.fromkeys(prepared.owners[candidates.chunks[at]] for at in order)
        rankings.append(list(owners)[:DEPTH])
    return per_question([q.relevant for q in prepared.dataset.questions], rankings)


def table(
    measure: str, prepared: Sequence[Prepared], results: dict[str, list[dict[str, Values]]]
) -> Table:
    """One row for each blend, one column for each set, then the gains over the better leg."""
    names = [one.dataset.name for one in prepared]
    made = Table("", *names, "mean gain", "worst", title=measure)
    for name, by_set in results.items():
        cells, gains = [], []
        for at, values in enumerate(by_set):
            legs = [results[leg][at][measure] for leg in ("lexical", "dense")]
            gain = values[measure] - max(legs, key=np.mean)
            mark = "" if gain.mean() >= 0 else "<" if interval(gain).high >= 0 else "<<"
            cells.append(f"{values[measure].mean():.4f} {mark}")
            gains.append(gain.mean())
        made.add_row(name, *cells, f"{np.mean(gains):+.4f}", f"{min(gains):+.4f}")
    return made


def _kept(
    folder: Path | None, name: str, texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors]
) -> Vectors:
    """Embed, or read what an earlier run has embedded."""
    digest = hashlib.sha256("\0".join([name, *texts]).encode()).hexdigest()[:24]
    path = folder / f"{digest}.npy" if folder else None
    if path and path.exists():
        kept: Vectors = np.load(path)
        return kept
    starts = range(0, len(texts), _BATCH)
    batches = [embed(texts[start : start + _BATCH]) for start in track(starts, "embedding")]
    vectors = np.concatenate(batches)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return vectors


if __name__ == "__main__":
    main()
