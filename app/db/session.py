"""Engines and sessions. One helper commits: `Database.transaction`."""

import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.domain.errors import DatabaseUnavailable, InvalidField

Reader = AsyncConnection | AsyncSession
"""What a repository's single statement can run on."""


def sqlalchemy_url(url: str) -> str:
    """Name the psycopg 3 driver in a plain `postgresql://` URL."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url


def libpq_url(url: str) -> str:
    """The same URL for psycopg itself."""
    return "postgresql://" + url.partition("://")[2]


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(self, url: str, pool_size: int = 10, statement_timeout_s: float = 30) -> None:
        self.url = libpq_url(url)
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            connect_args={
                "connect_timeout": 10,
                "options": f"-c statement_timeout={int(statement_timeout_s * 1000)}",
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_dead)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session; commit at the end, roll back on an error.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or went away.
            InvalidField: A text holds what PostgreSQL cannot store: a NUL or half a character.
        """
        with _named_errors():
            async with self._sessions() as session, session.begin():
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for single statements, each of which sees what is committed by then.

        It costs half of what a transaction costs. Raises as `transaction` does.
        """
        with _named_errors():
            async with self._autocommit.connect() as connection:
                yield connection

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless a query is answered."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
        """Open a connection of one's own that listens on a channel.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or went away, now or while listening.
        """
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url, autocommit=True, connect_timeout=10
            ) as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield connection
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(
                f"PostgreSQL does not answer: {short_reason(error)}"
            ) from error

    async def close(self) -> None:
        """Release all connections."""
        await self._engine.dispose()


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn what the driver raises into Opora's errors."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError) as error:
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {short_reason(error)}") from error
    except (DataError, UnicodeEncodeError) as error:
        if isinstance(error, UnicodeEncodeError) or "NUL" in str(error.orig):
            raise InvalidField("text", "holds a NUL or half a character") from error
        raise
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"PostgreSQL went away: {short_reason(error)}") from error
        raise


def _refuse_dead(connection: DBAPIConnection, *_: object) -> None:
    """Let the pool replace a connection that PostgreSQL has closed.

    An idle connection with something to read was closed or is about to be; looking costs nothing,
    where the pool's own ping is a round trip.
    """
    driver = connection.driver_connection
    if driver.closed:
        raise DisconnectionError
    socket = select.poll()
    socket.register(driver.fileno(), select.POLLIN)
    if socket.poll(0):
        raise DisconnectionError


def short_reason(error: Exception) -> str:
    """The first line of what the driver said."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
