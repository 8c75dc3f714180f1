"""LangChain: FAISS and BM25 retrievers, together in an ensemble by reciprocal rank fusion."""

from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.retrievers import BaseRetriever
from langchain_huggingface import HuggingFaceEmbeddings

from app.domain.ports import Vectors
from benchmarks.retrieval.peers.server import LIMIT, Found, Search, serve


def build(model: str, texts: list[str], vectors: Vectors) -> dict[str, Search]:
    """Return a search by both retrievers and one by FAISS alone."""
    embeddings = HuggingFaceEmbeddings(model_name=model, model_kwargs={"device": "cpu"})
    pairs = zip(texts, vectors.tolist(), strict=True)
    dense = FAISS.from_embeddings(pairs, embeddings).as_retriever(search_kwargs={"k": LIMIT})
    lexical = BM25Retriever.from_texts(texts, k=LIMIT)
    hybrid = EnsembleRetriever(retrievers=[lexical, dense], weights=[0.5, 0.5])
    return {"hybrid": _search(hybrid), "dense": _search(dense)}


def _search(retriever: BaseRetriever) -> Search:
    def search(query: str) -> list[Found]:
        return [Found(text=found.page_content) for found in retriever.invoke(query)[:LIMIT]]

    return search


if __name__ == "__main__":
    serve(build)
