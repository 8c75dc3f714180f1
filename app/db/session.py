"""Engines and sessions. One helper commits: `Database.transaction`."""

import asyncio
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import event
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
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.domain.errors import DatabaseBusy, DatabaseUnavailable, InvalidField

LONGEST_TURN_S = 30.0

Reader = AsyncConnection[TupleRow]
"""A connection of psycopg's own, in autocommit."""


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
        connect = {
            "connect_timeout": 10,
            "options": f"-c statement_timeout={int(statement_timeout_s * 1000)}",
        }
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            connect_args=connect,
            hide_parameters=True,
        )
        # Who waits for others is told so; a pool's own wait is for PostgreSQL alone.
        self._turns = asyncio.Semaphore(pool_size)
        self._reader_turns = asyncio.Semaphore(pool_size)
        event.listen(self._engine.sync_engine, "checkout", _refuse_dead)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        # The hot reads of a question go past SQLAlchemy, whose layers cost more than the query.
        self._readers: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            self.url,
            kwargs={**connect, "autocommit": True},
            min_size=1,
            max_size=pool_size,
            timeout=10,
            reconnect_timeout=2,  # of the pool's own attempts; each caller makes new ones
            check=_refuse_closed,
            open=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session; commit at the end, roll back on an error.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or went away.
            InvalidField: A text holds what PostgreSQL cannot store: a NUL or half a character.
            DatabaseBusy: All connections were busy for LONGEST_TURN_S.
        """
        with _named_errors():
            async with _turn(self._turns), self._sessions() as session, session.begin():
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Open a connection for single statements, each of which sees what is committed by then.

        It costs a fifth of what a transaction costs. Raises as `transaction` does.
        """
        with _named_errors():
            if self._readers.closed:
                await self._readers.open()
            async with _turn(self._reader_turns), self._readers.connection() as connection:
                yield connection

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless a query is answered."""
        async with self.reading() as connection:
            await connection.execute("SELECT 1")

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Reader]:
        """Open a connection of one's own that listens on a channel.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or went away, now or while listening.
        """
        try:
            async with await AsyncConnection.connect(
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
        await self._readers.close()
        await self._engine.dispose()


@asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold one of the connections, in the order of coming."""
    try:
        async with asyncio.timeout(LONGEST_TURN_S):
            await turns.acquire()
    except TimeoutError:
        raise DatabaseBusy("all connections to PostgreSQL are busy; try again shortly") from None
    try:
        yield
    finally:
        turns.release()


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn what the driver raises into Opora's errors."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError) as error:
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {short_reason(error)}") from error
    except (DataError, psycopg.DataError, UnicodeEncodeError) as error:
        if isinstance(error, UnicodeEncodeError) or "NUL" in str(error):
            raise InvalidField("text", "holds a NUL or half a character") from error
        raise
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"PostgreSQL went away: {short_reason(error)}") from error
        raise


def _refuse_dead(connection: DBAPIConnection, *_: object) -> None:
    """Let SQLAlchemy's pool replace a connection that PostgreSQL has closed."""
    if _is_closed(connection.driver_connection):
        raise DisconnectionError


async def _refuse_closed(connection: Reader) -> None:
    """Let psycopg's pool do the same."""
    if _is_closed(connection):
        await connection.close()  # else the pool takes it for a good one and keeps it
        raise psycopg.OperationalError("PostgreSQL has closed the connection")


def _is_closed(connection: Reader) -> bool:
    """Whether an idle connection has something to read: it was closed or is about to be.

    Looking costs nothing, where a pool's own ping is a round trip.
    """
    if connection.closed:
        return True
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def short_reason(error: Exception) -> str:
    """The first line of what the driver said."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
