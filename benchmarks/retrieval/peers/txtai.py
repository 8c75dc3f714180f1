"""txtai: one index of vectors and BM25 terms, and one of vectors alone.

The texts lie beside it in a list: its own store of texts, one SQLite cursor for all threads, failed
here at eight searches at once ("Recursive use of cursors not allowed"), and costs more.
"""

from typing import Any

import numpy as np
from txtai import Embeddings

from app.domain.ports import Vectors
from benchmarks.retrieval.peers.server import LIMIT, Found, Search, serve


def build(model: str, texts: list[str], vectors: Vectors) -> dict[str, Search]:
    """Return a search by both legs and one by vectors alone."""
    models: dict[str, Any] = {}
    return {
        mode: _search(_index(model, texts, vectors, hybrid=mode == "hybrid", models=models), texts)
        for mode in ("hybrid", "dense")
    }


def _index(
    model: str, texts: list[str], vectors: Vectors, *, hybrid: bool, models: dict[str, Any]
) -> Any:
    embeddings = Embeddings(path=model, hybrid=hybrid, models=models, gpu=False)
    rows = dict(zip(texts, vectors, strict=True))
    # The texts are embedded already; only questions go through the model.
    embeddings.model.encode = lambda data, _category=None: np.stack([rows[text] for text in data])
    embeddings.index(enumerate(texts))
    del embeddings.model.encode
    return embeddings


def _search(embeddings: Any, texts: list[str]) -> Search:
    def search(query: str) -> list[Found]:
        found = embeddings.search(query, LIMIT)
        return [Found(text=texts[place], score=score) for place, score in found]

    return search


if __name__ == "__main__":
    serve(build)
