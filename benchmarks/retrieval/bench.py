"""Starts the parts of the benchmark, each in a process and an environment of its own."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.telemetry import log_tail
from benchmarks.retrieval.database import ADMIN_KEY, running_postgres
from benchmarks.retrieval.load import Target
from benchmarks.retrieval.processes import ONE_THREAD, free_port, postmaster, server
from benchmarks.retrieval.stages import Timings

_NO_CHAT_MODEL = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True)
class Size:
    """How many chunks, and how many of them at most are real text."""

    chunks: int
    most_real: int

    @property
    def options(self) -> tuple[str, ...]:
        """As the parts' command lines want it."""
        return ("--size", str(self.chunks), "--real", str(self.most_real))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `benchmarks.retrieval.prepare` made; see there."""

    data_dir: str
    vectors: str
    chunks: int
    real: int
    embedder: str


@dataclass(frozen=True, slots=True)
class Bench:
    """One way to run the parts: the evaluation sets, the cache, an interpreter and a model."""

    data: Path
    cache: Path
    python: str
    model: str | None = None

    def prepare(self, size: Size) -> Prepared:
        """Make the data directory of a size, or find it."""
        made = self._run("prepare", [*size.options, "--cache", str(self.cache)], {})
        return Prepared(**json.loads(made))

    def stages(self, made: Prepared, questions: int) -> dict[str, Timings]:
        """CPU milliseconds of each question by caller and stage."""
        told = self._run("stages", ["--questions", str(questions)], _on(made))
        timings: dict[str, Timings] = json.loads(told)
        return timings

    @contextmanager
    def opora(self, made: Prepared, name: str) -> Iterator[Target]:
        """`opora app` over the embedded PostgreSQL of a data directory."""
        data_dir, port = Path(made.data_dir), free_port()
        log = self.cache / "logs" / "opora.log"
        with running_postgres(data_dir) as url:
            settings = {"OPORA_DATABASE__URL": url, "OPORA_HTTP__PORT": str(port)}
            environment = self._environment(_on(made) | settings)
            command = [self.python, "-m", "app.cli", "app"]
            with server(command, environment, port, "/healthz", log) as process:
                yield Target(
                    name,
                    f"http://127.0.0.1:{port}/v1/search",
                    {"app": process.pid, "PostgreSQL": postmaster(data_dir)},
                    {"Authorization": f"Bearer {ADMIN_KEY}"},
                )

    @contextmanager
    def peer(self, module: str, name: str, made: Prepared, size: Size) -> Iterator[Target]:
        """A peer's server over the same texts, vectors and model."""
        port = free_port()
        log = self.cache / "logs" / f"{module}.log"
        command = self._command(f"peers.{module}", [*size.options, "--vectors", made.vectors])
        command += ["--model", str(self.model), "--port", str(port)]
        with server(command, self._environment({}), port, "/openapi.json", log) as process:
            yield Target(name, f"http://127.0.0.1:{port}/search", {"app": process.pid}, {})

    def _run(self, module: str, options: Sequence[str], settings: dict[str, str]) -> str:
        """Run a module of this package, pass on what it prints, and return its last line."""
        last, log_path = "", self.cache / "logs" / f"{module}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with (
            log_path.open("wb") as log,
            subprocess.Popen(
                self._command(module, options),
                env=self._environment(settings),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                print(last, end="", flush=True)
                last = line
        if process.returncode != 0:
            raise SystemExit(f"{module} ended with {process.returncode}; {log_tail(log_path)}")
        return last

    def _command(self, module: str, options: Sequence[str]) -> list[str]:
        start = [self.python, "-m", f"benchmarks.retrieval.{module}", "--data", str(self.data)]
        return [*start, *options]

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        """The environment of this process, its settings of Opora exchanged for the given ones."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("OPORA_")}
        model = {"OPORA_EMBEDDER__MODEL": self.model} if self.model else {}
        chat = {"OPORA_LLM__BASE_URL": _NO_CHAT_MODEL}
        return outer | ONE_THREAD | chat | model | settings


def _on(made: Prepared) -> dict[str, str]:
    return {"OPORA_DATA_DIR": made.data_dir}
