"""Starts the model server that `opora serve` brings along when no other one is configured."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from app.domain.errors import ConfigurationError, OperatorError
from app.engines.llm.catalogue import Report, fetch, find_model
from app.engines.llm.llama_server import HOST, busy_port_message, port_is_busy
from app.engines.llm.tether import GRACE_S
from app.settings import Settings
from app.telemetry import get_logger, log_tail

POLL_S = 0.1

log = get_logger(__name__)


@dataclass
class ModelServer:
    """A running model server; it ends with `stop` or when this process does, however that ends."""

    process: subprocess.Popen[bytes]
    base_url: str
    log_path: Path

    def wait_ready(self, timeout_s: float) -> None:
        """Block until the server answers.

        Raises:
            OperatorError: It ended, or was not ready in time and was stopped.
        """
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            code = self.process.poll()
            if code is not None:
                raise OperatorError(
                    f"the model server ended at its start with exit code {code}; "
                    + log_tail(self.log_path)
                )
            if time.monotonic() > deadline:
                self.stop()
                raise OperatorError(
                    f"the model server was not ready within {timeout_s:g} s; "
                    + log_tail(self.log_path)
                )
            time.sleep(POLL_S)
        log.info("model_server.ready", base_url=self.base_url)

    def stop(self) -> None:
        """End the server and what it is generating; may be called twice."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_S + 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        port = int(self.base_url.rpartition(":")[2].partition("/")[0])
        connection = HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def start_model_server(settings: Settings, report: Report) -> ModelServer:
    """Start vLLM or llama.cpp as `settings.llm.server` says, on the loopback interface.

    Args:
        settings: Server, model, port, context, folders.
        report: Told (done, total) bytes while the default model is fetched.

    Returns:
        The server, which may still be loading: see `ModelServer.wait_ready`.

    Raises:
        ConfigurationError: The server or the model that the settings ask for is not to be had.
        OperatorError: The port is taken, or the default model cannot be fetched.
    """
    if port_is_busy(settings.llm.port):
        raise OperatorError(busy_port_message(settings.llm.port))
    vllm = _vllm_command()
    if settings.llm.server == "vllm" or (settings.llm.server == "auto" and vllm and _has_gpu()):
        command = _vllm(settings, vllm)
    else:
        command = _llama(settings, report)
    log_path = settings.data / "logs" / "model-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "app.engines.llm.tether", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    log.info("model_server.started", pid=process.pid, port=settings.llm.port, log=str(log_path))
    return ModelServer(process, f"http://{HOST}:{settings.llm.port}/v1", log_path)


def _llama(settings: Settings, report: Report) -> list[str]:
    """Serve the catalogue's model, or a GGUF file that the settings name."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigurationError(
            "llama.cpp is not installed; install Opora with its `cpu` extra, or set "
            "OPORA_LLM__BASE_URL to a model server"
        )
    name = settings.llm.model
    if name and Path(name).is_file():
        path = Path(name)
    else:
        model = find_model(name)
        path = fetch(model.name, settings.models, settings.models_source, report)
        name = model.name
    options = {
        "--model": path,
        "--alias": name,
        "--port": settings.llm.port,
        "--context": settings.llm.context_tokens,
        "--parallel": settings.llm.parallel,
        "--threads": _usable_cpus(),
    }
    words = [str(word) for option in options.items() for word in option]
    # Threads that wait must sleep: spinning, they take the cores from the app and from each other
    # (on a busy machine with 2 cores an answer cost half of the CPU time and came 4 times faster).
    passive = ["env", "OMP_WAIT_POLICY=PASSIVE", *_borrowed_openmp(settings.data)]
    return [*passive, sys.executable, "-m", "app.engines.llm.llama_server", *words]


def _borrowed_openmp(data: Path) -> list[str]:
    """Lend llama.cpp the libgomp in the wheel of FAISS where the system has none."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        found = next(Path(sysconfig.get_path("platlib")).glob("faiss_cpu.libs/libgomp-*"), None)
        if found is None:
            raise ConfigurationError(
                "llama.cpp needs the system library libgomp.so.1; install it (Debian: libgomp1)"
            ) from None
        link = data / "lib" / "libgomp.so.1"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(found)
        return [f"LD_LIBRARY_PATH={link.parent}"]
    return []


def _vllm(settings: Settings, program: list[str] | None) -> list[str]:
    model = settings.llm.model
    if program is None:
        raise ConfigurationError(
            "OPORA_LLM__SERVER: vLLM is neither importable nor on PATH; install it, or set "
            "OPORA_LLM__SERVER=llamacpp or OPORA_LLM__BASE_URL"
        )
    if model is None:
        raise ConfigurationError(
            "OPORA_LLM__MODEL: vLLM needs the folder or hub id of a model; set it, or set "
            "OPORA_LLM__SERVER=llamacpp for the small default model"
        )
    environment = ["VLLM_NO_USAGE_STATS=1"]
    if Path(model).is_dir():
        environment.append("HF_HUB_OFFLINE=1")
    place = ["--host", HOST, "--port", str(settings.llm.port)]
    size = ["--max-model-len", str(settings.llm.context_tokens)]
    return ["env", *environment, *program, "--model", model, *place, *size]


def _vllm_command() -> list[str] | None:
    """Return how vLLM's server is run here, None when it is not installed."""
    if importlib.util.find_spec("vllm") is not None:
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    script = shutil.which("vllm")
    return [script, "serve"] if script else None


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def _usable_cpus() -> int:
    """Count the CPUs that this process may use: its affinity and, in a container, its quota."""
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.exists():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cpus = min(cpus, round(int(quota) / int(period)))
    return max(1, cpus)
