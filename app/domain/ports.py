"""What the use cases ask of their tools. Each port has one contract suite under tests/contracts."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.answers import Usage

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]
Scores = NDArray[np.float32]
KeyWeights = Mapping[str, float]
"""The keys of a question and how much each counts; a key that stands twice counts 2."""


@dataclass(frozen=True, slots=True)
class EmbedderFingerprint:
    """What must be equal for two vectors to be comparable."""

    model: str
    revision: str
    dimension: int
    pooling: str
    query_prefix: str = ""
    passage_prefix: str = ""
    normalised: bool = True

    def __str__(self) -> str:
        """A stable name, stored with each vector and generation."""
        prefixes = f"{self.query_prefix!r}/{self.passage_prefix!r}"
        return f"{self.model}@{self.revision}:{self.dimension}:{self.pooling}:{prefixes}"


class Embedder(Protocol):
    """Turns text into vectors whose inner product is cosine similarity. Calls block."""

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """What is stored beside each vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest passage that the model reads whole, in its own tokens."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many of the model's own tokens the text has."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        ...

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        ...


class VectorIndex(Protocol):
    """Inner-product search over vectors under int64 ids. Thread-safe."""

    @property
    def size(self) -> int:
        """How many vectors it holds."""
        ...

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add or replace int64 (n,) ids with float32 (n, dim) rows."""
        ...

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        ...

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the k best ids for each query, best first, equal scores by ascending id.

        Args:
            queries: float32 (q, dim).
            k: How many; at least 1.
            allowed: Sorted int64 (m,), never changed afterwards: only these ids may be found. None
                allows all. What an index works out from an array it keeps for the next search
                with the very same array.

        Returns:
            ids int64 (q, k) and scores float32 (q, k); where fewer are found, id -1 and score -inf.
        """
        ...

    def similarities(self, query: Vectors, ids: Ids) -> Scores:
        """Return the exact inner product of a float32 (dim,) query with each of int64 (n,) ids.

        float32 (n,), -inf for an id that it does not hold.
        """
        ...

    def optimise(self) -> float:
        """Choose the structure for the present size, before a `save`.

        Returns:
            recall@10 against the exact search, measured on a sample; 1.0 where all is exact.
        """
        ...

    def save(self, path: Path) -> None:
        """Write one file."""
        ...

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file."""
        ...


class LexicalIndex(Protocol):
    """BM25 search over key streams (see app.domain.text.search_keys). Thread-safe."""

    @property
    def size(self) -> int:
        """How many entries it holds."""
        ...

    @property
    def ids(self) -> Ids:
        """Every id that it holds: sorted int64 (size,)."""
        ...

    def best_possible(self, keys: KeyWeights) -> float:
        """Return a BM25 score that no entry can exceed for these keys, to calibrate scores by."""
        ...

    def frequency(self, key: str) -> int:
        """How many entries hold the key."""
        ...

    def knows(self, key: str, allowed: Ids | None = None) -> bool:
        """Whether an entry holds the key; with `allowed` as in `search`, one of those."""
        ...

    def holding(self, keys: Collection[str]) -> Ids:
        """The entries that hold every one of the keys: sorted int64 (n,); all for no keys."""
        ...

    def held(self, ids: Ids, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each of int64 (n,) ids holds each of m keys: bool (n, m), False where unknown."""
        ...

    def add(self, ids: Ids, keys: Sequence[Sequence[str]]) -> None:
        """Add or replace int64 (n,) ids with their key streams."""
        ...

    def remove(self, ids: Ids) -> None:
        """Remove int64 (n,) ids; unknown ones are ignored."""
        ...

    def search(self, keys: KeyWeights, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Find the at most k best ids that hold one of the keys, best first.

        `allowed` as in VectorIndex. Returns ids int64 (n,), BM25 scores float32 (n,), n <= k.
        """
        ...

    def save(self, path: Path) -> None:
        """Write one file."""
        ...

    def load(self, path: Path) -> None:
        """Replace the content by that of a saved file."""
        ...


class Reranker(Protocol):
    """Reads a question and a text together and says how well the text answers it. Calls block."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    def score(self, question: str, texts: Sequence[str]) -> Scores:
        """Return float32 (n,) in [0, 1], higher is better.

        Raises:
            RerankerUnavailable: The model's server does not answer.
        """
        ...


class EntailmentModel(Protocol):
    """Says whether a text follows from another one. Calls block."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """Return for each pair the probability that the hypothesis follows: float32 (n,).

        Raises:
            EntailmentUnavailable: The model fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat prompt; role is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatParams:
    """How to generate.

    `model` names another than the configured one, `adapter` a LoRA that the server has loaded.
    """

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    model: str | None = None
    adapter: str | None = None
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """A piece of generated text; the last one carries the usage."""

    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A whole generated text."""

    text: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class PromptSize:
    """How many tokens a prompt has, by the model's own tokenizer or estimated.

    `context_tokens` is what the model reads and writes at most, None where the server does not say.
    """

    tokens: int
    context_tokens: int | None = None
    is_exact: bool = False


class ChatModel(Protocol):
    """A chat model behind an OpenAI-compatible server. Raises the Unavailable errors."""

    @property
    def model(self) -> str:
        """The served model's name."""
        ...

    def stream(
        self, messages: Sequence[Message], params: ChatParams
    ) -> AsyncGenerator[ChatDelta, None]:
        """Generate; closing the iterator stops the server's work."""
        ...

    async def complete(self, messages: Sequence[Message], params: ChatParams) -> ChatCompletion:
        """Generate and wait for the whole text; cancelling the call stops the server's work."""
        ...

    async def measure(self, messages: Sequence[Message], params: ChatParams) -> PromptSize:
        """Count the tokens of a prompt as `stream` would send it; never fails."""
        ...

    async def check(self) -> str:
        """Return the name of the model that the server really serves."""
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...


class BlobStore(Protocol):
    """The original bytes of documents, under keys made of their SHA-256. Calls block."""

    def put(self, key: str, source: Path) -> None:
        """Move a finished local file into the store; a present key is kept."""
        ...

    def local_path(self, key: str) -> Path:
        """A readable local file with the bytes."""
        ...

    def delete(self, key: str) -> None:
        """Forget the bytes; an unknown key is ignored."""
        ...
