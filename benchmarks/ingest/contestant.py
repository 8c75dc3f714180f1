"""One contestant in a process of its own: it makes the chunks searchable and answers questions.

`python -m benchmarks.ingest.contestant NAME ...` runs in peers-env. Its last line is one JSON
object: `cpu_s` by part, and `best`, the places of the ten best chunks for each question. The model
is loaded and has worked once before the clock starts.
"""

import argparse
import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import numpy as np

from app.domain.text import index_keys
from benchmarks.ingest.opora import build, opened_store, put, search
from benchmarks.ingest.texts import documents_of, questions_of
from benchmarks.retrieval.corpus import Text

_BEST = 10
_WARM = ["A sentence to warm up with."] * 4
_STORED_DIMENSION = 384
_LONG_CHUNKS = 500


@dataclass(frozen=True)
class Outcome:
    """CPU seconds by part; int (questions, 10) places, or none; how many documents were stored."""

    cpu_s: dict[str, float]
    best: list[list[int]]
    documents: int = 0


Contestant = Callable[[str, list[Text], list[str]], Outcome]


def exact(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """Torch in float32, one call of the library, and a product of matrices."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(model, device="cpu")
    loaded.encode(_WARM)
    started = process_time()
    passages = loaded.encode(_all_chunks(documents), normalize_embeddings=True)
    spent = process_time() - started
    products = loaded.encode(questions, normalize_embeddings=True) @ passages.T
    return Outcome({"embed": spent}, np.argsort(-products, axis=1)[:, :_BEST].tolist())


def opora(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """Embed, publish durably, and build a generation of both legs."""

    async def run() -> Outcome:
        async with opened_store(model) as store:
            store.embedder.embed_passages(_WARM)
            index_keys(f"{_WARM[0]} Слово, чтобы согреться.")
            database, marks = store.database_cpu_s(), [process_time()]
            vectors = store.embedder.embed_passages(_all_chunks(documents))
            marks.append(process_time())
            await put(store, documents, vectors)
            marks.append(process_time())
            await build(store)
            marks.append(process_time())
            embed, publish, index = np.diff(marks).tolist()
            parts = {"embed": embed, "publish": publish, "index": index}
            parts["PostgreSQL"] = store.database_cpu_s() - database
            return Outcome(parts, (await search(store, questions)).tolist())

    return asyncio.run(run())


def store(_model: str, documents: list[Text], _questions: list[str]) -> Outcome:
    """Opora without its embedder: random vectors, published durably, document by document."""

    async def run() -> Outcome:
        async with opened_store("hash") as opened:
            count = len(_all_chunks(documents))
            random = np.random.default_rng(6)
            vectors = random.normal(size=(count, _STORED_DIMENSION)).astype(np.float32)
            database, started = opened.database_cpu_s(), process_time()
            await put(opened, documents, vectors)
            parts = {"publish": process_time() - started}
            parts["PostgreSQL"] = opened.database_cpu_s() - database
            return Outcome(parts, [], len(documents))

    return asyncio.run(run())


def store_long(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """The same chunks in long documents."""
    chunks = _all_chunks(documents)
    parts = [tuple(chunks[n : n + _LONG_CHUNKS]) for n in range(0, len(chunks), _LONG_CHUNKS)]
    return store(model, [Text(part[0][:40], part) for part in parts], questions)


def langchain(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """LangChain: HuggingFaceEmbeddings into FAISS in memory."""
    from langchain_community.vectorstores import FAISS
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(
        model_name=model,
        model_kwargs={"device": "cpu"},
        encode_kwargs={"normalize_embeddings": True},
    )
    embeddings.embed_documents(_WARM)
    chunks = _all_chunks(documents)
    places = [{"place": place} for place in range(len(chunks))]
    started = process_time()
    held = FAISS.from_texts(chunks, embeddings, places)
    spent = process_time() - started
    found = [held.similarity_search(question, _BEST) for question in questions]
    return Outcome({"all": spent}, [[hit.metadata["place"] for hit in hits] for hits in found])


def llamaindex(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """LlamaIndex: HuggingFaceEmbedding into its own vector store in memory."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    embedding = HuggingFaceEmbedding(model_name=model, device="cpu")
    embedding.get_text_embedding_batch(_WARM)
    nodes = [TextNode(text=t, id_=str(n)) for n, t in enumerate(_all_chunks(documents))]
    started = process_time()
    index = VectorStoreIndex(nodes=nodes, embed_model=embedding)
    spent = process_time() - started
    retriever = index.as_retriever(similarity_top_k=_BEST)
    found = [retriever.retrieve(question) for question in questions]
    return Outcome({"all": spent}, [[int(hit.node_id) for hit in hits] for hits in found])


def txtai(model: str, documents: list[Text], questions: list[str]) -> Outcome:
    """txtai: an index with its texts in SQLite."""
    from txtai import Embeddings

    embeddings = Embeddings(path=model, content=True, gpu=False)
    embeddings.index(_WARM)
    chunks = _all_chunks(documents)
    started = process_time()
    embeddings.index(chunks)
    spent = process_time() - started
    found = embeddings.batchsearch(questions, _BEST)
    return Outcome({"all": spent}, [[int(hit["id"]) for hit in hits] for hits in found])


CONTESTANTS: dict[str, Contestant] = {
    "exact": exact,
    "opora": opora,
    "store": store,
    "store-long": store_long,
    "langchain": langchain,
    "llamaindex": llamaindex,
    "txtai": txtai,
}


def _all_chunks(documents: list[Text]) -> list[str]:
    return [chunk for text in documents for chunk in text.chunks]


def main() -> None:
    """Run one contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chunks", type=int, required=True)
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    documents = documents_of(options.data, options.chunks)
    outcome = CONTESTANTS[options.name](options.model, documents, questions_of(options.data))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
