"""Any NLI classifier of sentence-transformers; needs the `sentence-transformers` extra."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError, EntailmentUnavailable
from app.domain.ports import Scores
from app.engines.torch_models import import_torch, load_model

_BATCH = 8


class CrossEncoderEntailment:
    """A model from a local folder: safetensors only, no code from the model's author."""

    def __init__(self, folder: Path, device: str = "auto", threads: int = 1) -> None:
        """Prepare a model that is loaded on first need.

        Args:
            folder: Where the model lies; one of its labels is `entailment`.
            device: `cuda` or `cuda:N` in float16, `cpu` in float32, or `auto`.
            threads: CPU threads of torch, for the whole process.
        """
        self._folder = folder
        self._device = device
        self._threads = threads
        self._lock = threading.RLock()  # a tokenizer breaks when two threads use it
        self._model: Any = None
        self._label = 0

    @property
    def model(self) -> str:
        """The name of the folder that really holds it."""
        return self._folder.resolve().name

    def load(self) -> None:
        """Load the model now rather than with the first sentence.

        Raises:
            ConfigurationError: The extra is missing, there is no such model or device, or none of
                its labels is `entailment`.
        """
        with self._lock:
            if self._model is not None:
                return
            sentence_transformers, torch = import_torch(
                "the folder `entailment` in OPORA_MODELS_DIR"
            )
            torch.set_num_threads(self._threads)
            device = self._device
            if not device.startswith(("cpu", "cuda")):
                device = "cuda" if torch.cuda.is_available() else "cpu"
            model = load_model(
                sentence_transformers.CrossEncoder,
                torch,
                str(self._folder),
                device,
                "entailment model",
            )
            labels = {str(name).lower(): int(n) for n, name in model.config.id2label.items()}
            if "entailment" not in labels:
                raise ConfigurationError(
                    f"the model in {str(self._folder)!r} has no label `entailment`, but "
                    f"{sorted(labels)}: it is no NLI model"
                )
            self._label = labels["entailment"]
            self._model = model

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """Return the probability of entailment, float32 (n,) in [0, 1].

        Raises:
            ConfigurationError: The model cannot be loaded.
            EntailmentUnavailable: It fails, for want of memory say.
        """
        pairs = list(zip(premises, hypotheses, strict=True))
        self.load()
        if not pairs:
            return np.empty(0, np.float32)
        try:
            with self._lock:
                found = self._model.predict(
                    pairs, batch_size=_BATCH, apply_softmax=True, show_progress_bar=False
                )
        except RuntimeError as error:
            raise EntailmentUnavailable(
                f"the entailment model {self.model!r} failed: {error}"
            ) from error
        scores: Scores = np.asarray(found, np.float32)[:, self._label]
        return scores
