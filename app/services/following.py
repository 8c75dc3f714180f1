"""How a process follows what others write into SQL."""

import asyncio
from collections.abc import Awaitable, Callable

from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.telemetry import get_logger

log = get_logger(__name__)


async def follow(
    database: Database, channel: str, look: Callable[[], Awaitable[None]], interval_s: float
) -> None:
    """Look for ever: at once when the channel is notified, else every interval.

    A PostgreSQL that is not there is waited for.
    """
    while True:
        try:
            async with database.listen(channel) as connection:
                while True:
                    await look()
                    async for _ in connection.notifies(timeout=interval_s, stop_after=1):
                        pass
        except (DatabaseUnavailable, OSError) as error:
            log.warning("follower.waits", channel=channel, reason=str(error))
            await asyncio.sleep(interval_s)
