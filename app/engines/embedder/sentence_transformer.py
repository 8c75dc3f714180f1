"""Any sentence-transformers model, on GPU or CPU; needs the `sentence-transformers` extra."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError
from app.domain.ports import EmbedderFingerprint, Vectors
from app.engines.embedder.unit_rows import unit_rows

_BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}  # with padding
_UNLIMITED = 8192  # tokens, for a model that names no limit


class SentenceTransformerEmbedder:
    """A model from a local folder or the hub: safetensors only, no code from the model's author."""

    def __init__(
        self,
        model: str,
        revision: str = "main",
        query_prefix: str = "",
        passage_prefix: str = "",
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        """Prepare an embedder that loads its model on first need.

        Args:
            model: A folder, or the name of a model on the hub.
            revision: Branch, tag or commit on the hub; a folder's revision is its content.
            query_prefix: Put before each question.
            passage_prefix: Put before each passage.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            threads: CPU threads of torch, for the whole process.
        """
        self._name = model
        self._revision = revision
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._device = device
        self._threads = threads
        # The tokenizer keeps its settings in itself and breaks when two threads use it.
        self._lock = threading.RLock()
        self._model: Any = None
        self._fingerprint: EmbedderFingerprint | None = None

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """What is stored beside each vector; loads the model."""
        self.load()
        assert self._fingerprint is not None
        return self._fingerprint

    @property
    def max_tokens(self) -> int:
        """The longest passage that the model reads whole, prefix included; loads the model."""
        self.load()
        return int(self._model.max_seq_length or _UNLIMITED)

    def load(self) -> None:
        """Load the model now rather than with the first text.

        Raises:
            ConfigurationError: The extra is missing, or there is no such model or device.
        """
        with self._lock:
            if self._model is not None:
                return
            try:
                import sentence_transformers
                import torch
            except ImportError as error:
                raise ConfigurationError(
                    f"{error.name} is missing: install Opora's `sentence-transformers` extra, or "
                    "leave OPORA_EMBEDDER__MODEL unset"
                ) from error
            torch.set_num_threads(self._threads)
            if self._device == "auto":
                self._device = "cuda" if torch.cuda.is_available() else "cpu"
            folder = Path(self._name).expanduser()
            local = folder.is_dir()
            try:
                model = sentence_transformers.SentenceTransformer(
                    str(folder) if local else self._name,
                    revision=None if local else self._revision,
                    device=self._device,
                    local_files_only=local,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True, "dtype": self._dtype(torch)},
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise ConfigurationError(
                    f"the embedding model {self._name!r} cannot be loaded on {self._device!r}: "
                    f"{error}"
                ) from error
            self._fingerprint = EmbedderFingerprint(
                model=folder.name if local else self._name,
                revision=content_hash(folder) if local else self._commit_of(model),
                dimension=model.get_embedding_dimension(),
                pooling=_pooling_of(model),
                query_prefix=self._query_prefix,
                passage_prefix=self._passage_prefix,
            )
            self._model = model

    def _dtype(self, torch: Any) -> Any:
        return torch.float16 if self._device.startswith("cuda") else torch.float32

    def _commit_of(self, model: Any) -> str:
        """The commit that a branch stood for when the model was loaded."""
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        return str(getattr(config, "_commit_hash", None) or self._revision)

    def count_tokens(self, text: str) -> int:
        """How many of the model's own tokens the text has, its marks included."""
        self.load()
        with self._lock:
            return self._lengths([text])[0]

    def _lengths(self, texts: list[str]) -> list[int]:
        encoded = self._model.tokenizer(texts, truncation=False, verbose=False)
        return [len(tokens) for tokens in encoded["input_ids"]]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        return self._embed([self._query_prefix + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        return self._embed([self._passage_prefix + text for text in texts])

    def _embed(self, texts: list[str]) -> Vectors:
        rows = np.empty((len(texts), self.fingerprint.dimension), np.float32)
        for places in self._batches(texts):
            with self._lock:
                rows[places] = self._model.encode(
                    [texts[place] for place in places],
                    prompt="",  # the model's own default prompts are not ours
                    batch_size=len(places),
                    show_progress_bar=False,
                )
        return unit_rows(rows)

    def _batches(self, texts: list[str]) -> Iterator[list[int]]:
        """Yield places of texts of like length, so many that their padded tokens fit the budget."""
        if not texts:
            return
        with self._lock:
            lengths = [min(length, self.max_tokens) for length in self._lengths(texts)]
        budget = _BATCH_TOKENS["cuda" if self._device.startswith("cuda") else "cpu"]
        batch: list[int] = []
        for place in sorted(range(len(texts)), key=lengths.__getitem__):
            if batch and (len(batch) + 1) * lengths[place] > budget:
                yield batch
                batch = []
            batch.append(place)
        yield batch


def content_hash(folder: Path) -> str:
    """Return a SHA-256 over a model folder's weights, configuration and vocabulary, shortened."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".txt", ".model"}:
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256-{digest.hexdigest()[:16]}"


def _pooling_of(model: Any) -> str:
    """Name the pooling, for a change of it changes the vectors."""
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    return "+".join(mode if isinstance(mode, str) else "+".join(mode) for mode in modes) or "none"
