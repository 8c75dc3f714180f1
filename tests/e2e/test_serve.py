"""`opora serve` as its user meets it: what stands in its way, its end, and its second start."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.conftest import ADMIN_KEY
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client, Process, environment, ready, running, start, until
from tests.faults.server import free_port

QUESTION = "Сколько дней отпуска полагается сотруднику?"


def serve_settings(data: Path, **more: object) -> dict[str, str]:
    """Settings under which nothing is fetched."""
    return environment(
        data,
        **{
            "http__port": free_port(),
            "embedder__model": "hash",
            "llm__base_url": f"http://127.0.0.1:{free_port()}/v1",
        }
        | more,
    )


def refused(settings: dict[str, str], tmp_path: Path, *command: str) -> str:
    """Run a command that must end with one sentence and exit code 1; return the sentence."""
    process = start(command or ("serve",), settings, tmp_path / f"{'-'.join(command)}.log")
    process.remember_family()
    try:
        assert process.popen.wait(60) == 1, process.output
    finally:
        process.popen.kill()
        process.popen.wait()
    lines = process.output.strip().splitlines()
    assert len(lines) == 1, process.output
    assert lines[0].startswith("opora: ")
    assert process.left_behind() == []
    return lines[0]


def test_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = refused(serve_settings(tmp_path / "data", http__port=port), tmp_path)
    assert f"port {port}" in said
    assert "OPORA_HTTP__PORT" in said


def test_data_directory_of_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (data / "opora.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        said = refused(serve_settings(data), tmp_path)
    assert "4711" in said
    assert str(data) in said
    assert "OPORA_DATA_DIR" in said


def test_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said = refused(serve_settings(tmp_path / "file" / "data"), tmp_path)
    assert str(tmp_path / "file" / "data") in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_directory_without_rights(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    said = refused(serve_settings(tmp_path / "closed" / "data"), tmp_path)
    assert str(tmp_path / "closed" / "data") in said


def test_setting_that_is_no_good(tmp_path: Path) -> None:
    settings = serve_settings(tmp_path / "data")
    said = refused(settings | {"OPORA_HTP__PORT": "8080"}, tmp_path)
    assert "unknown setting OPORA_HTP__PORT" in said
    said = refused(settings | {"OPORA_LOG__LEVEL": "loud"}, tmp_path, "app")
    assert "OPORA_LOG__LEVEL" in said


def test_database_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://opora:secret-word@127.0.0.1:{free_port()}/opora"
    said = refused(serve_settings(tmp_path / "data", database__url=url), tmp_path)
    assert "PostgreSQL" in said
    assert "secret-word" not in said


def test_commands_help_and_fail_politely(tmp_path: Path) -> None:
    settings = serve_settings(tmp_path / "data", admin_key=ADMIN_KEY)
    for command in ("serve", "ingest"):
        shown = subprocess.run(
            [sys.executable, "-m", "app.cli", command, "--help"],
            env=settings,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert b"Usage" in shown.stdout
    assert "no Opora answers" in refused(settings, tmp_path, "ask", "Есть кто?")


async def test_sigint_stops_everything_and_a_second_start_keeps_everything(
    data_folder: Path, tmp_path: Path, healthy: EchoServer, http: aiohttp.ClientSession
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "leave.txt").write_text(
        "Каждому сотруднику полагается 28 календарных дней отпуска в год.\n"
    )
    settings = serve_settings(
        data_folder / "data", llm__base_url=healthy.base_url, retrieval__follow_interval_s=0.2
    )
    base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"
    command = ("serve", "--first-documents", str(documents))
    keys = []
    for log_name in ("first.log", "second.log"):
        with running(command, settings, tmp_path / log_name) as process:
            await ready(process, base_url, http)
            await welcomed(process)
            assert base_url in process.output
            key = (data_folder / "data" / "admin.key").read_text().strip()
            assert key in process.output
            keys.append(key)
            client = Client(base_url, key, http)
            listed = (await client.get("/v1/documents")).json["items"]
            assert [item["filename"] for item in listed] == ["leave.txt"]
            await client.find("отпуска", listed[0]["document_id"])
            answer = (await client.post("/v1/ask", {"question": QUESTION})).json
            assert answer["status"] == "answered", answer
            if log_name == "first.log":
                family = process.remember_family()
                names = " ".join(" ".join(one.cmdline()) for one in family)
                assert "postgres" in names or postmaster(data_folder) is not None
            assert process.stop(signal.SIGINT) == 0
            assert process.left_behind() == []
            assert postmaster(data_folder) is None
            assert process.output.rstrip().endswith("stopped")
    assert keys[0] == keys[1]
    assert (data_folder / "data" / "admin.key").stat().st_mode & 0o777 == 0o600


async def test_killed_children_come_back_and_a_killed_serve_leaves_nobody(
    data_folder: Path, tmp_path: Path, healthy: EchoServer, http: aiohttp.ClientSession
) -> None:
    settings = serve_settings(data_folder / "data", llm__base_url=healthy.base_url)
    base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"
    with running(("serve",), settings, tmp_path / "first.log") as process:
        await ready(process, base_url, http)
        await welcomed(process)
        first = app_of(process)
        assert first is not None
        first.kill()

        async def another() -> bool:
            now = app_of(process)
            return now is not None and now != first

        await until(another, 30)
        await ready(process, base_url, http)
        family = process.remember_family()
        process.kill()

        async def alone() -> bool:
            return not [p for p in process.left_behind() if p.name() != "postgres"]

        await until(alone, 30)
        assert len(family) >= 3
    with running(("serve",), settings, tmp_path / "second.log") as process:
        await ready(process, base_url, http)
        await welcomed(process)
        assert process.stop(signal.SIGTERM) == 0
        assert process.left_behind() == []
    assert postmaster(data_folder) is None


async def welcomed(process: Process) -> None:
    """Wait until the start is over."""

    async def look() -> bool:
        assert process.popen.poll() is None, process.output
        return "Ctrl-C stops everything" in process.output

    await until(look, 90)


def app_of(process: Process) -> psutil.Process | None:
    """The app that `opora serve` has started."""
    for child in psutil.Process(process.popen.pid).children():
        try:
            if child.cmdline()[-2:] == ["app", "--follow-parent"]:
                return child
        except psutil.Error:
            continue
    return None


def postmaster(folder: Path) -> psutil.Process | None:
    """The embedded PostgreSQL of a data directory, if it runs."""
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and str(folder / "data") in " ".join(process.cmdline()):
                return process
        except psutil.Error:
            continue
    return None
