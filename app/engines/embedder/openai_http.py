"""Any embedding model behind an OpenAI-compatible server, such as vLLM or llama.cpp."""

import re
import threading
from collections.abc import Sequence

import msgspec
import numpy as np

from app.domain.errors import EmbedderUnavailable
from app.domain.ports import EmbedderFingerprint, Vectors
from app.engines.embedder.unit_rows import unit_rows
from app.engines.json_server import JsonServer, JsonServerError

_TEXTS_PER_REQUEST = 64
_TIMEOUT_S = 60
_PIECE = re.compile(r"[^\W\d_]{1,4}|\d{1,2}|[^\w\s]|_")


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


class OpenAiEmbedder:
    """Posts texts to `<base_url>/embeddings`.

    The server keeps its tokenizer to itself, so tokens are estimated: a piece of at most four
    letters or two digits, or a sign, counts as one. Multilingual vocabularies need fewer.
    """

    max_tokens = 512  # what the common embedding models read at least

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        revision: str = "main",
        query_prefix: str = "",
        passage_prefix: str = "",
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            base_url: Ends in `/v1`.
            model: The name that the server knows its model by.
            api_key: Sent as a Bearer key.
            revision: What the operator calls the model's present weights; a served name does not
                tell when they change.
            query_prefix: Put before each question.
            passage_prefix: Put before each passage.
        """
        self._server = JsonServer(base_url, api_key, _TIMEOUT_S)
        self._model = model
        self._revision = revision
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._lock = threading.Lock()
        self._dimension: int | None = None

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """What is stored beside each vector; asks the server for its dimension, once.

        Raises:
            EmbedderUnavailable: The server does not answer.
        """
        with self._lock:
            if self._dimension is None:
                self._dimension = self._request(["dimension"]).shape[1]
            dimension = self._dimension
        return EmbedderFingerprint(
            model=self._model,
            revision=self._revision,
            dimension=dimension,
            pooling="server",
            query_prefix=self._query_prefix,
            passage_prefix=self._passage_prefix,
        )

    def count_tokens(self, text: str) -> int:
        """How many tokens the text has at most, as estimated, two marks included."""
        return 2 + sum(1 for _ in _PIECE.finditer(text))

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised.

        Raises:
            EmbedderUnavailable: The server does not answer, or answers nonsense.
        """
        return self._embed([self._query_prefix + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised; raises as `embed_queries`."""
        return self._embed([self._passage_prefix + text for text in texts])

    def _embed(self, texts: list[str]) -> Vectors:
        dimension = self.fingerprint.dimension
        rows = np.empty((len(texts), dimension), np.float32)
        for start in range(0, len(texts), _TEXTS_PER_REQUEST):
            batch = [self._head(text) for text in texts[start : start + _TEXTS_PER_REQUEST]]
            found = self._request(batch)
            if found.shape[1] != dimension:
                raise self._nonsense(f"{found.shape[1]} numbers in a vector, before {dimension}")
            rows[start : start + len(batch)] = found
        return unit_rows(rows)

    def _head(self, text: str) -> str:
        """What fits in `max_tokens`; never nothing, for which servers answer an error."""
        for number, piece in enumerate(_PIECE.finditer(text), start=3):
            if number > self.max_tokens:
                return text[: piece.start()]
        return text.strip() or "."

    def _request(self, texts: list[str]) -> Vectors:
        """Return float32 (n, dim) as the server gives them, in the order of the texts."""
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        try:
            rows = self._server.post("/embeddings", body, _Answer).data
        except JsonServerError as error:
            raise EmbedderUnavailable(
                f"no embeddings from the server; see OPORA_EMBEDDER__BASE_URL: {error}"
            ) from error
        if sorted(row.index for row in rows) != list(range(len(texts))):
            raise self._nonsense(f"{len(rows)} vectors for {len(texts)} texts, or not one for each")
        if len({len(row.embedding) for row in rows}) != 1 or not rows[0].embedding:
            raise self._nonsense("vectors of different lengths, or empty ones")
        rows.sort(key=lambda row: row.index)
        vectors = np.array([row.embedding for row in rows], np.float32)
        if not np.isfinite(vectors).all():
            raise self._nonsense("numbers that are not finite")
        return vectors

    def _nonsense(self, what: str) -> EmbedderUnavailable:
        return EmbedderUnavailable(f"the embeddings server answers nonsense: {what}")
