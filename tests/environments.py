"""Environments beside the default one, for what conflicts with it or is heavy."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def is_built(folder: Path, recipe: str) -> bool:
    """Whether the folder is whole and was built by this recipe."""
    stamp = folder / "stamp"
    return stamp.exists() and stamp.read_text() == recipe


def keep_built(folder: Path, recipe: str, build: Callable[[Path], object]) -> None:
    """Build a folder unless it is there by this recipe.

    It is built aside and renamed when whole, so an interrupted run leaves nothing half-made; a
    second caller waits for the first.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if is_built(folder, recipe):
            return
        building = folder.with_suffix(".building")
        _remove(building)
        build(building)
        (building / "stamp").write_text(recipe)
        _remove(folder)
        building.rename(folder)


def keep_environment(folder: Path, lock: Path) -> Path:
    """Keep an environment with what a lock names; return its interpreter."""
    recipe = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    keep_built(folder, recipe, lambda building: install(building, lock))
    return interpreter(folder)


def install(folder: Path, lock: Path) -> Path:
    """Make a virtual environment with what a lock names; return its interpreter."""
    print(f"installing {lock}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # The lock is whole: --no-deps keeps pip from bringing another build of torch.
    pip = [str(interpreter(folder)), "-m", "pip", "install", "-qq", "--no-compile"]
    options = ["--only-binary=:all:", "--no-deps", "--requirement", str(lock)]
    subprocess.run([*pip, *options], check=True)
    return interpreter(folder)


def interpreter(folder: Path) -> Path:
    """An environment's interpreter."""
    return folder / "bin" / "python"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
