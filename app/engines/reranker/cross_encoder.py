"""Any CrossEncoder of sentence-transformers; needs the `sentence-transformers` extra."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError, RerankerUnavailable
from app.domain.ports import Scores
from app.engines.batching import of_like_length
from app.engines.torch_models import import_torch, load_model

_BATCH_TOKENS = {"cpu": 512, "cuda": 32768}  # with padding
_UNLIMITED = 8192  # tokens, for a model that names no limit


class CrossEncoderReranker:
    """A model from a local folder or the hub: safetensors only, no code from the model's author."""

    def __init__(self, model: str, device: str = "auto", threads: int = 1) -> None:
        """Prepare a reranker that loads its model on first need.

        Args:
            model: A folder, or the name of a model on the hub, with one output.
            device: `cuda` or `cuda:N` in float16, `cpu` in float32, or `auto`.
            threads: CPU threads of torch, for the whole process.
        """
        self._name = model
        self._device = device
        self._threads = threads
        # The tokenizer keeps its settings in itself and breaks when two threads use it.
        self._lock = threading.RLock()
        self._model: Any = None

    @property
    def model(self) -> str:
        """The folder's name, or that on the hub."""
        folder = Path(self._name).expanduser()
        return folder.name if folder.is_dir() else self._name

    def load(self) -> None:
        """Load the model now rather than with the first question.

        Raises:
            ConfigurationError: The extra is missing, or there is no such model or device, or it has
                several outputs.
        """
        with self._lock:
            if self._model is not None:
                return
            sentence_transformers, torch = import_torch("OPORA_RERANKER__MODEL")
            torch.set_num_threads(self._threads)
            if self._device == "auto":
                self._device = "cuda" if torch.cuda.is_available() else "cpu"
            model = load_model(
                sentence_transformers.CrossEncoder,
                torch,
                self._name,
                self._device,
                "reranker",
                activation_fn=torch.nn.Sigmoid(),
            )
            if model.num_labels != 1:
                raise ConfigurationError(
                    f"the reranker {self._name!r} has {model.num_labels} outputs, not one: it is a "
                    "classifier"
                )
            self._model = model

    def score(self, question: str, texts: Sequence[str]) -> Scores:
        """Return float32 (n,) in [0, 1], higher is better.

        Raises:
            ConfigurationError: The model cannot be loaded.
            RerankerUnavailable: It fails, for want of memory say.
        """
        self.load()
        try:
            return self._score(question, texts)
        except RuntimeError as error:
            raise RerankerUnavailable(f"the reranker {self.model!r} failed: {error}") from error

    def _score(self, question: str, texts: Sequence[str]) -> Scores:
        scores = np.empty(len(texts), np.float32)
        if not texts:
            return scores
        with self._lock:
            pairs = self._model.tokenizer(
                [question] * len(texts), list(texts), truncation=False, verbose=False
            )["input_ids"]
        most = self._model.max_seq_length or _UNLIMITED
        budget = _BATCH_TOKENS["cuda" if self._device.startswith("cuda") else "cpu"]
        for places in of_like_length([min(len(tokens), most) for tokens in pairs], budget):
            with self._lock:
                scores[places] = self._model.predict(
                    [(question, texts[place]) for place in places],
                    batch_size=len(places),
                    show_progress_bar=False,
                )
        return scores
