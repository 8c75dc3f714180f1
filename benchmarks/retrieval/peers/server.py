"""What both peers share: the texts, their vectors, and FastAPI on one uvicorn worker."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from app.domain.ports import Vectors
from benchmarks.retrieval.corpus import build_corpus

LIMIT = 10


class Query(BaseModel):
    """A search; `mode` is `hybrid` or `dense`."""

    query: str
    mode: str = "hybrid"


class Found(BaseModel):
    """A found text; its score where the peer tells one."""

    text: str
    score: float | None = None


Search = Callable[[str], list[Found]]


def serve(build: Callable[[str, list[str], Vectors], dict[str, Search]]) -> None:
    """Build a peer's indexes from the command line's model and vectors, and serve them.

    Args:
        build: Takes the model's folder, the texts and float32 (n, dim), rows L2-normalised;
            returns how to search in each mode.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--real", type=int, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = build_corpus(options.data, options.size, options.real)
    vectors = corpus.vectors(np.load(options.vectors)[: corpus.real])
    searches = build(options.model, corpus.chunks, vectors)
    app = FastAPI()

    @app.post("/search")
    def search(body: Query) -> list[Found]:
        return searches[body.mode](body.query)

    uvicorn.run(app, host="127.0.0.1", port=options.port, access_log=False)
