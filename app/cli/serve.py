"""`opora serve`: everything on one machine, started in order, watched, and ended cleanly."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.cli.client import Client
from app.cli.ingest import ingest
from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.domain.errors import OperatorError
from app.engines.llm.launch import ModelServer, start_model_server
from app.settings import Settings
from app.telemetry import log_tail
from app.wiring import prepare_database

_NEEDED_BYTES = 500 * 1024**2
_READY_TIMEOUT_S = 120
MODEL_TIMEOUT_S = 600
STOP_TIMEOUT_S = 35  # above the app's, which lets running answers end
_QUICK_DEATH_S = 10
_MOST_QUICK_DEATHS = 3


class Stopped(BaseException):
    """Somebody asked this process to end."""


@dataclass
class Child:
    """A process that is started again when it dies by itself."""

    name: str
    log_path: Path
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes]
    started_at: float
    quick_deaths: int = 0

    def look(self, console: Console) -> None:
        """Start it again if it died; give up when it keeps dying at once."""
        code = self.process.poll()
        if code is None:
            return
        quick = time.monotonic() - self.started_at < _QUICK_DEATH_S
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        if self.quick_deaths >= _MOST_QUICK_DEATHS:
            raise OperatorError(
                f"the {self.name} keeps ending right after its start (exit code {code}); "
                + log_tail(self.log_path)
            )
        console.print(f"[yellow]the {self.name} ended (exit code {code}); starting it again")
        self.process, self.started_at = self.start(), time.monotonic()


def serve(settings: Settings, first_documents: Path | None, console: Console) -> None:
    """Run everything until Ctrl-C or SIGTERM.

    Raises:
        OperatorError: Something is in the way; the message says what.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(settings.data))
            _check_port(settings.http.host, settings.http.port)
            _check_space(settings.data)
            server = start_configured(settings, console)
            stack.callback(lambda: server.stop() if server else None)
            url = _database(settings, stack, console)
            upgrade(url)
            key, is_new = asyncio.run(prepare_database(settings, url))
            environment = _environment(settings, url)
            children = [
                _child("worker", environment, stack),
                _child("app", environment, stack),
            ]
            with console.status("the app is starting"):
                _wait_ready(settings, children[1], "/healthz", _READY_TIMEOUT_S)
            client = Client(settings, key)
            if first_documents is not None and is_new:
                console.print(f"first start: reading {first_documents}", highlight=False)
                ingest(client, [first_documents], "default", console)
            if server is not None:
                with console.status("the model server is loading"):
                    server.wait_ready(MODEL_TIMEOUT_S)
                with console.status("the model is reading its instructions"):
                    _wait_ready(settings, children[1], "/readyz", MODEL_TIMEOUT_S)
            _welcome(settings, client.url, key, time.monotonic() - started_at, console)
            while True:
                time.sleep(0.5)
                for child in children:
                    child.look(console)
                if server is not None and server.process.poll() is not None:
                    console.print("[yellow]the model server ended; starting it again")
                    server = start_configured(settings, console)
        except Stopped:
            console.print("stopping")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
    console.print("stopped")


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the data directory; the lock goes with the process, so it is never stale."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "opora.lock").open("a+")
    except OSError as error:
        raise OperatorError(
            f"the data directory {str(data)!r} cannot be written: {error.strerror}; "
            "set OPORA_DATA_DIR to one that can"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise OperatorError(
                f"another Opora (process {owner}) is running on the data directory {str(data)!r}; "
                "stop it or set OPORA_DATA_DIR"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OperatorError(
                f"port {port} on {host} is not free ({error.strerror}); stop what uses it or set "
                "OPORA_HTTP__PORT"
            ) from None


def _check_space(data: Path) -> None:
    free = shutil.disk_usage(data).free
    if free < _NEEDED_BYTES:
        raise OperatorError(
            f"only {free / 1e6:.0f} MB are free for the data directory {str(data)!r}; "
            f"at least {_NEEDED_BYTES / 1e6:.0f} MB are needed"
        )


def start_configured(settings: Settings, console: Console) -> ModelServer | None:
    """Start the model server that the settings ask for, None where they name a running one."""
    if settings.llm.base_url is not None:
        return None
    columns = (TextColumn("fetching the default model"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console) as progress:
        task = progress.add_task("model", total=None, visible=False)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        return start_model_server(settings, report)


def _database(settings: Settings, stack: contextlib.ExitStack, console: Console) -> str:
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    with console.status("PostgreSQL is starting"):
        postgres = start_embedded(settings.data)
    stack.callback(postgres.cleanup)
    url: str = postgres.get_uri()
    return url


def _environment(settings: Settings, url: str) -> dict[str, str]:
    return os.environ | {"OPORA_DATABASE__URL": url, "OPORA_DATA_DIR": str(settings.data)}


def _child(name: str, environment: dict[str, str], stack: contextlib.ExitStack) -> Child:
    """Start `opora <name>` out of reach of the terminal's Ctrl-C; it dies with this process."""
    log_path = Path(environment["OPORA_DATA_DIR"]) / "logs" / f"{name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "app.cli", name, "--follow-parent"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    child = Child(name, log_path, start, start(), time.monotonic())
    stack.callback(lambda: _end(child.process))
    return child


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def _wait_ready(settings: Settings, app: Child, path: str, timeout_s: float) -> None:
    """Wait until the app answers 200 at a path; it listens once its index is loaded."""
    deadline = time.monotonic() + timeout_s
    host = Client.address(settings)
    while time.monotonic() < deadline:
        if app.process.poll() is not None:
            raise OperatorError(f"the app ended at its start; {log_tail(app.log_path)}")
        connection = HTTPConnection(*host, timeout=10)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise OperatorError(f"the app is not ready after {timeout_s:.0f} s; {log_tail(app.log_path)}")


def _welcome(
    settings: Settings, url: str, key: str | None, seconds: float, console: Console
) -> None:
    shown = key or "(made at an earlier start on another machine; make a new one there)"
    kept = "OPORA_ADMIN_KEY" if settings.admin_key else settings.data / "admin.key"
    question = "Сколько символов должно быть в пароле?"
    console.print(f"\nOpora is ready after {seconds:.0f} s: [bold]{url}[/bold]")
    console.print(f"admin key: [bold]{shown}[/bold]   (from {kept})")
    console.print("ask:", highlight=False)
    console.print(
        f"  curl -s {url}/v1/ask -H 'Authorization: Bearer {shown}' "
        f"-H 'Content-Type: application/json' -d '{{\"question\": \"{question}\"}}'",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"logs: {settings.data / 'logs'}   Ctrl-C stops everything.")
