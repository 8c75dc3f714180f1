"""Kills an Opora's processes at chosen points, which it finds from outside: by looking.

No process is told of this. SQL's own tables say who writes what, and folders say what is built.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic, sleep

import psutil
import psycopg

from app.db.session import libpq_url
from tests.e2e.running import Process, start

_WRITES = """
    SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE c.relname = %s AND l.mode = 'RowExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_EMBEDDING = """
    SELECT j.job_id, j.attempts FROM job j
    JOIN document_version v ON v.document_id = j.document_id AND v.version = j.version
    WHERE j.state = 'running' AND v.status = 'embedding'
"""


class Point(StrEnum):
    """Where the worker is killed; or else the parser's process (`child`), the app, or both."""

    PARSE = "parse"
    CHILD = "child"
    EMBED = "embed"
    PUBLISH = "publish"
    BUILD = "build"
    FLIP = "flip"
    RANDOM = "random"
    APP = "app"
    BOTH = "both"


_KILLED = {Point.CHILD: (), Point.APP: ("app",), Point.BOTH: ("app", "worker")}


class Pair:
    """An app and a worker that can be killed and started again."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self._lives = 0
        self.processes: dict[str, Process] = {}
        self.base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"

    def start(self, *names: str) -> None:
        """Start processes."""
        for name in names:
            self._lives += 1
            log_path = self._folder / f"{name}-{self._lives}.log"
            self.processes[name] = start((name,), self.settings, log_path)

    def kill(self, *names: str) -> None:
        """End processes as a power cut does."""
        for name in names:
            self.processes[name].kill()


@dataclass
class Killer:
    """Kills one process of a pair at a time; what it hit is counted."""

    pair: Pair
    url: str
    data: Path
    chance: random.Random
    hits: dict[Point, int] = field(default_factory=dict)
    misses: dict[Point, int] = field(default_factory=dict)
    patience_s: float = 30

    def kill(self, point: Point) -> tuple[str, ...]:
        """Wait for a point, kill there, and return the names of what must be started again.

        A point that does not come in time is missed: the worker is killed where it stands.
        """
        with psycopg.connect(libpq_url(self.url), autocommit=True) as connection:
            found = self._wait(self._look(point, connection))
            names = _KILLED.get(point, ("worker",))
            self.pair.kill(*names)
        counted = self.hits if found else self.misses
        counted[point] = counted.get(point, 0) + 1
        return names

    def _wait(self, look: Callable[[], object]) -> object:
        deadline = monotonic() + self.patience_s
        while monotonic() < deadline:
            if found := look():
                return found
            sleep(0.001)
        return None

    def _look(
        self, point: Point, connection: psycopg.Connection[tuple[object, ...]]
    ) -> Callable[[], object]:
        """What sees whether the point has come."""
        worker = psutil.Process(self.pair.processes["worker"].popen.pid)
        at = monotonic() + self.chance.random() * 2

        def parser(kill: bool = False) -> bool:
            try:
                found = [one for server in worker.children() for one in server.children()]
                if found and kill:
                    found[0].kill()
            except psutil.NoSuchProcess:
                return False
            return bool(found)

        def embedding() -> set[object]:
            return set(connection.execute(_EMBEDDING).fetchall())

        def writes(table: str) -> object:
            return connection.execute(_WRITES, [table]).fetchone()

        folder = self.data / "generations"
        before, embedding_before = set(folder.glob("*")), embedding()
        looks: dict[Point, Callable[[], object]] = {
            Point.PARSE: parser,
            Point.CHILD: lambda: parser(kill=True),
            Point.EMBED: lambda: embedding() - embedding_before,
            Point.PUBLISH: lambda: writes("chunk"),
            Point.BUILD: lambda: set(folder.glob("*")) - before,
            Point.FLIP: lambda: writes("generation"),
        }
        return looks.get(point, lambda: monotonic() > at)
