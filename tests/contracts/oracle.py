"""Slow and plain implementations of the index ports, to judge the fast ones by."""

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Ids, KeyWeights, Scores, Vectors


class VectorOracle:
    """Vectors in a dictionary; scores in float64, rounded to float32."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.vectors: dict[int, Vectors] = {}

    @property
    def size(self) -> int:
        return len(self.vectors)

    @property
    def ids(self) -> Ids:
        return np.array(sorted(self.vectors), np.int64)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.vectors.update(zip(ids.tolist(), vectors, strict=True))

    def remove(self, ids: Ids) -> None:
        for entry in ids.tolist():
            self.vectors.pop(entry, None)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        ids = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        permitted = self.vectors.keys() if allowed is None else set(allowed.tolist())
        for number, query in enumerate(queries):
            wide = query.astype(np.float64)
            found = [
                (-np.float32((wide * vector).sum()), entry)
                for entry, vector in self.vectors.items()
                if entry in permitted
            ]
            for place, (negative, entry) in enumerate(sorted(found)[:k]):
                ids[number, place], scores[number, place] = entry, -negative
        return ids, scores

    def similarities(self, query: Vectors, ids: Ids) -> Scores:
        wide = query.astype(np.float64)
        products = [
            (wide * self.vectors[entry]).sum() if entry in self.vectors else -np.inf
            for entry in ids.tolist()
        ]
        return np.array(products, np.float64).astype(np.float32)

    def optimise(self) -> float:
        return 1.0

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            rows = np.array(list(self.vectors.values()), np.float32).reshape(-1, self.dimension)
            np.savez(file, ids=np.array(list(self.vectors), np.int64), vectors=rows)

    def load(self, path: Path) -> None:
        with np.load(path) as file:
            self.vectors = {}
            self.add(file["ids"], file["vectors"])


class LexicalOracle:
    """Key streams in a dictionary; BM25 by the book for each entry."""

    k1, b = 1.2, 0.75

    def __init__(self) -> None:
        self.entries: dict[int, list[str]] = {}

    @property
    def size(self) -> int:
        return len(self.entries)

    @property
    def ids(self) -> Ids:
        return np.array(sorted(self.entries), np.int64)

    def frequency(self, key: str) -> int:
        return sum(key in stream for stream in self.entries.values())

    def knows(self, key: str, allowed: Ids | None = None) -> bool:
        permitted = self.entries.keys() if allowed is None else set(allowed.tolist())
        return any(key in self.entries.get(entry, ()) for entry in permitted)

    def holding(self, keys: Collection[str]) -> Ids:
        holding = [entry for entry, stream in self.entries.items() if set(keys) <= set(stream)]
        return np.array(sorted(holding), np.int64)

    def held(self, ids: Ids, keys: Sequence[str]) -> NDArray[np.bool_]:
        held = [[key in self.entries.get(entry, ()) for key in keys] for entry in ids.tolist()]
        return np.array(held, np.bool_).reshape(len(ids), len(keys))

    def _weight(self, key: str) -> float:
        holding = self.frequency(key)
        rarity = math.log(1 + (self.size - holding + 0.5) / (holding + 0.5))
        return rarity * (self.k1 + 1)

    def _weights(self, keys: KeyWeights) -> dict[str, float]:
        return {key: weight * self._weight(key) for key, weight in keys.items()}

    def best_possible(self, keys: KeyWeights) -> float:
        return sum(self._weights(keys).values())

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        self.entries.update(zip(ids.tolist(), map(list, keys), strict=True))

    def remove(self, ids: Ids) -> None:
        for entry in ids.tolist():
            self.entries.pop(entry, None)

    def search(self, keys: KeyWeights, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        permitted = self.entries.keys() if allowed is None else set(allowed.tolist())
        weights = self._weights(keys)
        mean = max(sum(map(len, self.entries.values())) / max(self.size, 1), 1)
        scores = {}
        for entry in permitted & self.entries.keys():
            stream = self.entries[entry]
            norm = self.k1 * (1 - self.b + self.b * len(stream) / mean)
            held = {key: stream.count(key) for key in weights.keys() & set(stream)}
            if held:
                parts = (weights[key] * held[key] / (held[key] + norm) for key in held)
                scores[entry] = np.float32(math.fsum(parts))
        best = sorted(scores, key=lambda entry: (-scores[entry], entry))[:k]
        return np.array(best, np.int64), np.array([scores[e] for e in best], np.float32)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(list(self.entries.items())))

    def load(self, path: Path) -> None:
        self.entries = dict(json.loads(path.read_text()))
