"""What all tests share: a clean environment, closed sockets, and a real PostgreSQL."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from psycopg import sql

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from app.db.session import Database
from app.settings import PREFIX, EmbedderSettings, LlmSettings, Settings
from app.wiring import Services, build_services, prepare_database
from tests.faults.server import free_port

hypothesis.settings.register_profile("thousand", max_examples=1000)

ADMIN_KEY = "opora_admin-key-of-the-tests"
_TEMPLATE = "opora_template"
_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's own reaches a test or a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_outside() -> Iterator[None]:
    """Refuse connections that leave this machine."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def connect_here(sock: socket.socket, address: Any) -> Any:
            outside = sock.family in (socket.AF_INET, socket.AF_INET6) and (
                address[0] not in ("localhost", "::1") and not address[0].startswith("127.")
            )
            if outside:
                raise AssertionError(f"a test wants to connect to {address!r}")
            return connect(sock, address)

        return connect_here

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder for a PostgreSQL, which runs as another user when the tests run as root.

    Each start of pytest closes the folder that all `tmp_path`s are in to other users.
    """
    with tempfile.TemporaryDirectory(prefix="opora-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A data directory in which an embedded PostgreSQL can live."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The test session's own PostgreSQL, with a migrated database to copy."""
    with open_folder() as folder:
        server = start_embedded(folder)
        yield from prepared(server.get_uri())
        server.cleanup()


def prepared(url: str) -> Iterator[str]:
    """Make a PostgreSQL quick to lose and put a migrated database into it."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
    upgrade(named_database(url, _TEMPLATE))
    yield url


def named_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    assert url.count("/postgres?") == 1
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def new_database(postgres_url: str) -> Callable[[], str]:
    """Makes migrated, empty databases and returns their URLs."""

    def make(template: str = _TEMPLATE) -> str:
        name = f"test_{next(_numbers)}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
        return named_database(postgres_url, name)

    return make


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A migrated, empty database."""
    return new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on a migrated, empty database."""
    pool = Database(database_url, pool_size=5)
    yield pool
    await pool.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a data directory of the test's own and the embedder that needs no model."""
    return Settings(
        data_dir=tmp_path / "data",
        embedder=EmbedderSettings(model="hash"),
        llm=LlmSettings(base_url=f"http://127.0.0.1:{free_port()}/v1"),
    )


@pytest.fixture
async def services(settings: Settings, database_url: str) -> AsyncIterator[Services]:
    """The wired use cases over an empty database; no model server answers."""
    await prepare_database(settings, database_url)
    wired = build_services(settings, database_url)
    await wired.index.load()
    yield wired
    await wired.close()
    await asyncio.sleep(0)
