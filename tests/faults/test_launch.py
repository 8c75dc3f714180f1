"""What `opora serve` starts as its model server, and how it ends with its starter."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import ConfigurationError, OperatorError
from app.engines.llm.launch import ModelServer, start_model_server
from app.settings import LlmSettings, Settings
from tests.faults.server import free_port

SAY_AND_DIE = "import os, sys; print(sys.argv[1:], os.environ.get('HF_HUB_OFFLINE')); sys.exit(7)"
SERVE_HEALTH = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
print(os.getpid(), flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins on PATH; the machine's own vLLM and GPU are out of sight."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _program(folder: Path, name: str, code: str) -> None:
    (folder / name).write_text(f"#!{sys.executable}\n{code}")
    (folder / name).chmod(0o755)


def _start(tmp_path: Path, **llm: Any) -> ModelServer:
    settings = Settings(data_dir=tmp_path / "data", llm=LlmSettings(port=free_port(), **llm))
    return start_model_server(settings, lambda _done, _total: None)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_alive(pid)


def test_vllm_that_is_not_installed(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="vLLM is neither importable nor on PATH"):
        _start(tmp_path, server="vllm", model="m")


def test_vllm_needs_a_model(programs: Path, tmp_path: Path) -> None:
    _program(programs, "vllm", SAY_AND_DIE)
    with pytest.raises(ConfigurationError, match="OPORA_LLM__MODEL: vLLM needs"):
        _start(tmp_path, server="vllm")


def test_auto_takes_vllm_where_a_gpu_is(programs: Path, tmp_path: Path) -> None:
    _program(programs, "vllm", SAY_AND_DIE)
    _program(programs, "nvidia-smi", "")
    folder = tmp_path / "model"
    folder.mkdir()
    server = _start(tmp_path, model=str(folder))
    with pytest.raises(OperatorError, match="exit code 7") as caught:
        server.wait_ready(20)
    server.stop()
    said = caught.value.message
    assert f"['serve', '--model', '{folder}', '--host', '127.0.0.1', '--port'" in said
    assert said.endswith("'--max-model-len', '4096'] 1")


def test_llamacpp_does_not_know_the_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'gpt' is neither a model file nor"):
        _start(tmp_path, server="llamacpp", model="gpt")


def test_a_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        llm = LlmSettings(port=listener.getsockname()[1])
        with pytest.raises(OperatorError, match="is taken by another program"):
            start_model_server(Settings(data_dir=tmp_path, llm=llm), lambda _done, _total: None)


def test_a_server_that_never_gets_ready_is_stopped(programs: Path, tmp_path: Path) -> None:
    _program(programs, "vllm", "import time; print('loading', flush=True); time.sleep(600)")
    server = _start(tmp_path, server="vllm", model="m")
    with pytest.raises(OperatorError, match=r"not ready within 1 s; its log .*(?s:.)*loading"):
        server.wait_ready(1)
    assert server.process.poll() is not None


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_server_ends_with_its_tether(programs: Path, tmp_path: Path, end: str) -> None:
    _program(programs, "vllm", SERVE_HEALTH)
    server = _start(tmp_path, server="vllm", model="m")
    server.wait_ready(20)
    pid = int(server.log_path.read_text().split()[0])
    assert _is_alive(pid)
    if end == "kill":
        os.kill(server.process.pid, signal.SIGKILL)
        assert _ends(pid)
    server.stop()
    server.stop()
    assert _ends(pid)
