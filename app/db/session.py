"""Engines and sessions. One helper commits: `Database.transaction`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from app.domain.errors import DatabaseUnavailable, InvalidField


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
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                "options": f"-c statement_timeout={int(statement_timeout_s * 1000)}",
            },
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session; commit at the end, roll back on an error.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or went away.
            InvalidField: A text holds what PostgreSQL cannot store: a NUL or half a character.
        """
        try:
            async with self._sessions() as session, session.begin():
                yield session
        except (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError) as error:
            raise DatabaseUnavailable(
                f"PostgreSQL does not answer: {short_reason(error)}"
            ) from error
        except (DataError, UnicodeEncodeError) as error:
            if isinstance(error, UnicodeEncodeError) or "NUL" in str(error.orig):
                raise InvalidField("text", "holds a NUL or half a character") from error
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseUnavailable(f"PostgreSQL went away: {short_reason(error)}") from error
            raise

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless a query is answered."""
        async with self.transaction() as session:
            await session.execute(text("SELECT 1"))

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


def short_reason(error: Exception) -> str:
    """The first line of what the driver said."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
