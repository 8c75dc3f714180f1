"""How models of sentence-transformers are loaded: safetensors only, no code of their authors."""

from pathlib import Path
from typing import Any

from app.domain.errors import ConfigurationError


def import_torch(setting: str) -> tuple[Any, Any]:
    """Return the modules `sentence_transformers` and `torch`.

    Raises:
        ConfigurationError: The extra is missing; the message names the setting that asks for it.
    """
    try:
        import sentence_transformers
        import torch
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is missing: install Opora's `sentence-transformers` extra, or leave "
            f"{setting} unset"
        ) from error
    return sentence_transformers, torch


def load_model(kind: Any, torch: Any, name: str, device: str, what: str, **options: object) -> Any:
    """Load a model from a folder, or by its name on the hub; float16 on a GPU, else float32.

    Args:
        kind: `SentenceTransformer` or `CrossEncoder`.
        torch: The module.
        name: A folder or a hub id.
        device: `cpu`, `cuda` or `cuda:N`.
        what: What it is to Opora, for the message.
        options: More for the kind's constructor.

    Raises:
        ConfigurationError: There is no such model or device.
    """
    folder = Path(name).expanduser()
    half = device.startswith("cuda")
    try:
        return kind(
            str(folder) if folder.is_dir() else name,
            device=device,
            local_files_only=folder.is_dir(),
            trust_remote_code=False,
            model_kwargs={
                "use_safetensors": True,
                "dtype": torch.float16 if half else torch.float32,
            },
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"the {what} {name!r} cannot be loaded on {device!r}: {error}"
        ) from error
