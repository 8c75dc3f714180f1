"""CPU time of processes, and how servers of the benchmark are started and ended."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
_START_TIMEOUT_S = 900
_STOP_TIMEOUT_S = 30


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of its living children and of its waited-for ones."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:  # a backend that has just ended; its parent counts it
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def postmaster(data: Path) -> int:
    """The process that owns the embedded PostgreSQL of a data directory."""
    return int((data / "postgres" / "postmaster.pid").read_text().split()[0])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    command: Sequence[str], environment: dict[str, str], port: int, path: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that runs until the end of the block, once it answers below 500 at a path."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        _wait(process, port, path, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            if connection.getresponse().status < 500:
                return
        except (OSError, HTTPException):
            time.sleep(0.2)
        finally:
            connection.close()
    raise SystemExit(f"{process.args!r} does not answer on port {port}; see {log}")
