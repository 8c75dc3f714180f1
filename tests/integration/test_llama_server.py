"""The real llama.cpp server with the real default model, as `opora serve` starts it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from app.domain.errors import OperatorError
from app.domain.ports import ChatParams, Message
from app.engines.llm.catalogue import find_model
from app.engines.llm.launch import ModelServer, start_model_server
from app.engines.llm.llama_server import EXIT_MODEL_UNUSABLE, EXIT_PORT_BUSY
from app.engines.llm.openai_client import OpenAiChatModel
from app.settings import LlmSettings, Settings
from tests.faults.server import free_port

START_TIMEOUT_S = 120.0
PROMPT = [Message("user", "Say hello.")]
START_AND_DIE = """
import os, sys
from app.engines.llm.launch import start_model_server
from app.settings import LlmSettings, Settings
llm = LlmSettings(server="llamacpp", port=int(sys.argv[1]), parallel=1)
server = start_model_server(Settings(data_dir=sys.argv[2], llm=llm), lambda done, total: None)
server.wait_ready(120)
print(server.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """llama.cpp with the default model, fetched when the models cache lacks it."""
    llm = LlmSettings(server="llamacpp", port=free_port(), context_tokens=1024)
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), llm=llm)
    running = start_model_server(settings, lambda _done, _total: None)
    try:
        running.wait_ready(START_TIMEOUT_S)
        yield running
    finally:
        running.stop()
    assert running.process.returncode == 0


def _running(server: ModelServer) -> int:
    """How many generations llama.cpp itself counts."""
    port = int(server.base_url.split(":")[2].split("/")[0])
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return int(next(line.split()[1] for line in lines if line.startswith("llamacpp:requests_proc")))


async def test_a_streamed_answer_with_usage(server: ModelServer) -> None:
    model = OpenAiChatModel(LlmSettings(), server.base_url)
    assert await model.check() == find_model().name
    deltas = [delta async for delta in model.stream(PROMPT, ChatParams(max_tokens=4))]
    assert "".join(delta.text for delta in deltas).strip()
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.prompt_tokens > 3
    assert 1 <= deltas[-1].usage.completion_tokens <= 4
    assert deltas[-1].finish_reason in ("stop", "length")
    await model.close()


async def test_closing_the_stream_stops_llama(server: ModelServer) -> None:
    model = OpenAiChatModel(LlmSettings(), server.base_url)
    prompt = [Message("user", "Count from 1 to 500 in words.")]
    async with aclosing(model.stream(prompt, ChatParams(max_tokens=400))) as deltas:
        await anext(deltas)
        assert await asyncio.to_thread(_running, server) == 1
    async with asyncio.timeout(10):
        while await asyncio.to_thread(_running, server):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await model.close()


def test_a_busy_port_is_one_clear_sentence(server: ModelServer, tmp_path: Path) -> None:
    port = int(server.base_url.split(":")[2].split("/")[0])
    settings = Settings(data_dir=tmp_path, llm=LlmSettings(server="llamacpp", port=port))
    with pytest.raises(OperatorError, match=f"port {port} of 127.0.0.1 is taken.*OPORA_LLM__PORT"):
        start_model_server(settings, lambda _done, _total: None)


def test_it_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    port = free_port()
    starter = subprocess.run(
        [sys.executable, "-c", START_AND_DIE, str(port), str(tmp_path)],
        capture_output=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    assert starter.returncode == -signal.SIGKILL, starter.stderr.decode()
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                break
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _serve(model: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.engines.llm.llama_server", "--alias", "x"]
    command += ["--model", str(model), "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_server_alone_says_what_is_wrong(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(os.urandom(5000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = _serve(junk, listener.getsockname()[1])
    assert taken.returncode == EXIT_PORT_BUSY
    assert taken.stderr.count("\n") == 1
    broken = _serve(junk, free_port())
    assert broken.returncode == EXIT_MODEL_UNUSABLE
    assert "llama.cpp cannot serve" in broken.stderr
    missing = _serve(tmp_path / "none.gguf", free_port())
    assert (missing.returncode, missing.stderr.count("\n")) == (EXIT_MODEL_UNUSABLE, 1)


def test_a_server_that_dies_at_its_start_shows_its_log(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(os.urandom(5000))
    llm = LlmSettings(server="llamacpp", model=str(junk), port=free_port())
    server = start_model_server(Settings(data_dir=tmp_path, llm=llm), lambda _done, _total: None)
    with pytest.raises(OperatorError, match=r"exit code 4; its log .*(?s:.)*cannot serve"):
        server.wait_ready(60)
    server.stop()
