"""The environments of the real clients, each with what PyPI has for its pinned version."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.environments import interpreter, keep_built

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ClientEnvironment:
    """What is installed for a client; the packages it draws in are chosen by pip."""

    name: str
    package: str
    version: str
    constraints: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies, below `.cache` or `TEST_CACHE`."""
        cache = Path(os.environ.get("TEST_CACHE") or REPOSITORY / ".cache").absolute()
        return cache / "clients" / self.name

    def prepare(self) -> Path:
        """Install it unless it is there, and return its interpreter."""
        recipe = json.dumps([self.package, self.version, self.constraints, sys.version])
        keep_built(self.folder, hashlib.sha256(recipe.encode()).hexdigest(), self._build)
        return interpreter(self.folder)

    def _build(self, folder: Path) -> None:
        print(f"installing {self.package} {self.version}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join(self.constraints))
        pip = [str(interpreter(folder)), "-m", "pip", "install", "-qq", "--no-compile"]
        wanted = [f"{self.package}=={self.version}", "--constraint", str(constraints)]
        subprocess.run([*pip, *wanted], check=True)


ENVIRONMENTS = (
    ClientEnvironment("openai-2", "openai", "2.54.0"),
    ClientEnvironment("openai-3", "openai", "3.54.0"),
    ClientEnvironment("langchain", "langchain-openai", "1.7.3"),
    ClientEnvironment("llm", "llm", "0.36"),
    # Without the constraint its torch brings gigabytes for GPUs.
    ClientEnvironment("open-webui", "open-webui", "0.12.4", ("torch==2.13.0+cpu",)),
)


if __name__ == "__main__":
    for environment in ENVIRONMENTS:
        environment.prepare()
