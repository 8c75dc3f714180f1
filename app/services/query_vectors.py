"""The vectors of the last questions."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from app.domain.ports import Embedder, Vectors

_REMEMBERED = 2048


class QueryVectors:
    """Embeds questions, and the same question only once.

    Not for speed alone: an engine's last digits depend on what it computes beside a text, and the
    same question shall find the same. One thread at a time.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._known: OrderedDict[str, Vectors] = OrderedDict()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self.embedder.embed_queries(new), strict=True))
        vectors = np.stack([self._known[text] for text in texts])
        for text in texts:
            self._known.move_to_end(text)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return vectors
