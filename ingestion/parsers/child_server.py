"""The worker's end of the processes that parse: started when needed, kept for the next file."""

import atexit
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from app.domain.errors import Unavailable
from ingestion.parsers import child
from ingestion.parsers.pulse import FRAME

_POLL_S = 0.2
_STDERR_BYTES = 4096


@dataclass
class Ended:
    """How a child ended: its exit code as `Popen` tells it, and the most memory that it held.

    `pages` are those that it has read so far, and all of them, where it tells.
    """

    returncode: int = 0
    most_bytes: int = 0
    pages: tuple[int, int] | None = None
    report: bytearray = field(default_factory=bytearray)
    complaints: bytearray = field(default_factory=bytearray)


class ChildServer:
    """A process that forks a child per file; one file at a time."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            Unavailable: The machine has no room for one more process.
        """
        root = Path(__file__).parents[2]
        self._ends, theirs = os.pipe()
        self._beats, beats = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", child.__name__, str(theirs), str(beats)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs, beats),
                cwd=root,
                env={"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._ends)
            os.close(self._beats)
            raise Unavailable(
                f"no process for the parser can be started: {error.strerror}"
            ) from error
        finally:
            os.close(theirs)
            os.set_blocking(beats, False)  # of the open pipe, so of the child's end too
            os.close(beats)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._orders = self._process.stdin.fileno()
        self._report = self._process.stdout.fileno()
        self._complaints = self._process.stderr.fileno()
        for descriptor in (self._report, self._complaints, self._beats):
            os.set_blocking(descriptor, False)

    @property
    def alive(self) -> bool:
        """Whether it can take an order."""
        return self._process.poll() is None

    def run(self, order: child.Order, check: Callable[[Ended], None]) -> Ended:
        """Have a child carry out an order; blocks until it ends.

        Args:
            order: What to read, within which limits.
            check: Called at least five times a second with what has come so far; what it raises
                ends the wait, and then this server must be closed.
        """
        ended = Ended()
        data = msgspec.json.encode(order)
        try:
            os.write(self._orders, child.ORDER_HEAD.pack(len(data)) + data)
        except BrokenPipeError:
            ended.returncode = self._process.wait()
            return ended
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._ends, self._report, self._complaints):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(_POLL_S)}
                for descriptor in ready - {self._ends}:
                    if not self._drain(descriptor, ended):
                        selector.unregister(descriptor)
                self._look_at_beats(ended)
                check(ended)
                if self._ends in ready:
                    break
        self._note_end(ended)
        while self._drain(self._report, ended, least=1) or self._drain(
            self._complaints, ended, least=1
        ):
            check(ended)
        return ended

    def _look_at_beats(self, ended: Ended) -> None:
        """Take the newest of what the child has told of its pages."""
        try:
            frames = os.read(self._beats, 1024**2)
        except BlockingIOError:
            return
        if len(frames) >= FRAME.size:
            ended.pages = FRAME.unpack(frames[-FRAME.size :])

    def _note_end(self, ended: Ended) -> None:
        end = os.read(self._ends, child.END.size)
        if len(end) == child.END.size:
            ended.returncode, ended.most_bytes = child.END.unpack(end)
        else:  # it was killed itself, with its child
            ended.returncode = self._process.wait() or 1

    def _drain(self, descriptor: int, ended: Ended, least: int = 0) -> bool:
        """Read what a pipe holds; False once it is closed, or holds less than `least` bytes."""
        try:
            piece = os.read(descriptor, 1024**2)
        except BlockingIOError:
            return not least
        if descriptor == self._report:
            ended.report += piece
        else:
            ended.complaints = (ended.complaints + piece)[-_STDERR_BYTES:]
        return bool(piece)

    def close(self) -> None:
        """End it and its child at once."""
        with self._process:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        os.close(self._ends)
        os.close(self._beats)


class ChildServers:
    """Those that wait for their next file; as many as files were ever read side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[ChildServer] = []

    def take(self) -> ChildServer:
        """One that is ready for an order."""
        with self._lock:
            if not self._idle:
                atexit.unregister(self.close)
                atexit.register(self.close)
            while self._idle:
                server = self._idle.pop()
                if server.alive:
                    return server
                server.close()
        return ChildServer()

    def give_back(self, server: ChildServer) -> None:
        """Keep one whose order was carried out."""
        with self._lock:
            self._idle.append(server)

    def close(self) -> None:
        """End all that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
