"""Any sentence-transformers model, on GPU or CPU; needs the `sentence-transformers` extra."""

import hashlib
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import ConfigurationError
from app.domain.ports import EmbedderFingerprint, Vectors
from app.engines.batching import of_like_length
from app.engines.embedder.openvino_model import Forward, NotCompiled, compile_model
from app.engines.embedder.unit_rows import unit_rows
from app.engines.torch_models import import_torch, load_model

# With padding. On a CPU more gains nothing and pads more: benchmarks/embedders.py.
_BATCH_TOKENS = {"cpu": 256, "cuda": 32768}
_UNLIMITED = 8192  # tokens, for a model that names no limit
_PASSAGE_PROMPTS = ("document", "passage", "corpus")  # names in use, as sentence-transformers looks


class SentenceTransformerEmbedder:
    """A model from a local folder or the hub: safetensors only, no code from the model's author.

    Its vectors are comparable whatever it runs on, so the fingerprint does not tell: those in
    bfloat16 had a cosine of 0.9999 at least to those in float32. What else is in the batch changes
    float32 vectors by less than 1e-6, bfloat16 ones by up to 1e-3.
    """

    def __init__(
        self,
        model: str,
        revision: str = "main",
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        """Prepare an embedder that loads its model on first need.

        Args:
            model: A folder, or the name of a model on the hub.
            revision: Branch, tag or commit on the hub; a folder's revision is its content.
            query_prefix: Put before each question; None is the model's own `query` prompt.
            passage_prefix: Put before each passage; None is its `document` or `passage` prompt.
            device: `cuda` or `cuda:N` in float16; `cpu` in float32; `openvino`, on the CPU too, in
                bfloat16 where the processor has it; `auto` takes the first that is there of `cuda`,
                `openvino` and `cpu`.
            threads: CPU threads of torch, for the whole process, and of OpenVINO.
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
        self._forward: Forward | None = None
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
            sentence_transformers, torch = import_torch("OPORA_EMBEDDER__MODEL")
            torch.set_num_threads(self._threads)
            if self._device == "auto":
                self._device = _best_device(torch)
            folder = Path(self._name).expanduser()
            local = folder.is_dir()
            model = load_model(
                sentence_transformers.SentenceTransformer,
                torch,
                self._name,
                self._device if self._device.startswith("cuda") else "cpu",
                "embedding model",
                revision=None if local else self._revision,
            )
            self._query_prefix = _prompt(self._query_prefix, model, ("query",))
            self._passage_prefix = _prompt(self._passage_prefix, model, _PASSAGE_PROMPTS)
            self._fingerprint = EmbedderFingerprint(
                model=folder.name if local else self._name,
                revision=content_hash(folder) if local else self._commit_of(model),
                dimension=model.get_embedding_dimension(),
                pooling=_pooling_of(model),
                query_prefix=self._query_prefix,
                passage_prefix=self._passage_prefix,
            )
            self._forward = self._forward_of(model, torch)
            self._model = model

    def _forward_of(self, model: Any, torch: Any) -> Forward:
        """The way from the model's inputs to its vectors: compiled, or torch without `encode`."""
        if self._device == "openvino":
            try:
                return compile_model(model, self._threads)
            except (ImportError, NotCompiled) as error:
                raise ConfigurationError(
                    f"OpenVINO cannot run {self._name!r}; set OPORA_EMBEDDER__DEVICE=cpu: {error}"
                ) from error
        model.eval()

        def forward(features: Any) -> Any:
            with torch.inference_mode():
                moved = {
                    name: value.to(model.device) if torch.is_tensor(value) else value
                    for name, value in features.items()
                }
                return model(moved)["sentence_embedding"].float().cpu().numpy()

        return forward

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
        return self._embed(self.fingerprint.query_prefix, texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), rows L2-normalised."""
        return self._embed(self.fingerprint.passage_prefix, texts)

    def _embed(self, prefix: str, texts: Sequence[str]) -> Vectors:
        self.load()
        assert self._forward is not None
        whole = [prefix + text for text in texts]
        rows = np.empty((len(whole), self.fingerprint.dimension), np.float32)
        if not whole:
            return rows
        with self._lock:
            lengths = [min(length, self.max_tokens) for length in self._lengths(whole)]
        budget = _BATCH_TOKENS["cuda" if self._device.startswith("cuda") else "cpu"]
        for places in of_like_length(lengths, budget):
            with self._lock:
                features = self._model.preprocess([whole[place] for place in places])
                rows[places] = self._forward(features)
        return unit_rows(rows)


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "openvino" if find_spec("openvino") else "cpu"


def _prompt(setting: str | None, model: Any, names: Sequence[str]) -> str:
    """The configured prefix, else the model's own prompt of the first name that has one."""
    if setting is not None:
        return setting
    return next((prompt for name in names if (prompt := model.prompts.get(name))), "")


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
