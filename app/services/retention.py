"""Forgetting conversations after their time."""

import asyncio
from datetime import timedelta

from app.db.base import now
from app.db.repositories import answers as answer_rows
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.telemetry import get_logger

log = get_logger(__name__)

_INTERVAL_S = 3600.0
_AT_ONCE = 500


class Retention:
    """Deletes conversations whose last turn is older than so many days; 0 days delete none."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days

    async def forget(self) -> int:
        """Delete what is over, piece by piece, and return how many conversations that were."""
        if not self._days:
            return 0
        before, forgotten = now() - timedelta(days=self._days), 0
        while True:
            async with self._database.transaction() as session:
                count = await answer_rows.delete_conversations(session, before, _AT_ONCE)
            forgotten += count
            if count < _AT_ONCE:
                return forgotten

    async def keep(self) -> None:
        """Forget now and every hour, for ever; where the database is away, an hour later."""
        while self._days:
            try:
                if forgotten := await self.forget():
                    log.info("conversations.forgotten", n=forgotten)
            except DatabaseUnavailable as error:
                log.warning("conversations.not_forgotten", reason=error.message)
            await asyncio.sleep(_INTERVAL_S)
