"""A reranker behind a server that speaks the protocol of Jina and Cohere, such as vLLM."""

from collections.abc import Sequence

import msgspec
import numpy as np

from app.domain.errors import RerankerUnavailable
from app.domain.ports import Scores
from app.engines.json_server import JsonServer, JsonServerError


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Answer(msgspec.Struct):
    results: list[_Result]


class HttpReranker:
    """Posts to `<base_url>/rerank`."""

    def __init__(
        self, base_url: str, model: str, api_key: str | None = None, timeout_s: float = 5
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            base_url: What `/rerank` is put after.
            model: The name that the server knows its model by.
            api_key: Sent as a Bearer key.
            timeout_s: Longest silence of the server, in seconds.
        """
        self._server = JsonServer(base_url, api_key, timeout_s)
        self._model = model

    @property
    def model(self) -> str:
        """The served model's name."""
        return self._model

    def score(self, question: str, texts: Sequence[str]) -> Scores:
        """Return float32 (n,) in [0, 1], higher is better.

        Raises:
            RerankerUnavailable: The server does not answer, or not with one score in [0, 1] for
                each text.
        """
        if not texts:
            return np.empty(0, np.float32)
        body = {"model": self._model, "query": question, "documents": list(texts)}
        try:
            results = self._server.post("/rerank", body, _Answer).results
        except JsonServerError as error:
            raise RerankerUnavailable(
                f"no scores from the server; see OPORA_RERANKER__BASE_URL: {error}"
            ) from error
        if sorted(result.index for result in results) != list(range(len(texts))):
            raise RerankerUnavailable(
                f"the reranker answers nonsense: {len(results)} scores for {len(texts)} texts, or "
                "not one for each"
            )
        scores = np.empty(len(texts), np.float32)
        for result in results:
            scores[result.index] = result.relevance_score
        if not ((scores >= 0) & (scores <= 1)).all():
            raise RerankerUnavailable("the reranker answers nonsense: scores outside of 0 to 1")
        return scores
