"""An embedder for tests: no model, the same vectors on every machine."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from app.domain.ports import EmbedderFingerprint, Vectors
from app.domain.text import search_keys
from app.engines.embedder.unit_rows import unit_rows


class HashEmbedder:
    """A bag of search keys, hashed into few dimensions: texts that share lemmas are near.

    The sign of each key is hashed too, so that collisions cancel out on average (Weinberger et al.
    2009, "Feature Hashing for Large Scale Multitask Learning", section 2).
    """

    max_tokens = 512

    def __init__(self, dimension: int = 64) -> None:
        self._dimension = dimension

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """What is stored beside each vector."""
        return EmbedderFingerprint(
            model="hash", revision="1", dimension=self._dimension, pooling="sum"
        )

    def count_tokens(self, text: str) -> int:
        """How many words separated by white space the text has."""
        return len(text.split())

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        return self.embed_passages(texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        rows = np.zeros((len(texts), self._dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for key in search_keys(text):
                place, negative = divmod(crc32(key.encode()), 2)
                row[place % self._dimension] += -1 if negative else 1
        return unit_rows(rows)
