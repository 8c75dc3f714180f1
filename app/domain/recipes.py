"""How documents become chunks and vectors."""

from dataclasses import dataclass

CHUNKING = "chunks-1"
"""The way of cutting: raise it whenever `ingestion.chunking` cuts the same text differently."""


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """What an embedder is built from; which device and which key it uses is the machine's."""

    model: str
    base_url: str | None = None
    revision: str = "main"
    query_prefix: str | None = None
    passage_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A stored recipe. `fingerprint` is its embedder's.

    Chunks have at most `chunk_tokens` of the embedder's tokens, or what it reads whole if less.
    """

    recipe_id: int
    spec: EmbedderSpec
    fingerprint: str
    chunk_tokens: int
