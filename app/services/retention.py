"""Forgetting conversations and the beginning of the audit trail after their time."""

import asyncio
from datetime import timedelta

from app.db.base import now
from app.db.repositories import answers as answer_rows
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.services.audit import Audit
from app.telemetry import get_logger

log = get_logger(__name__)

_INTERVAL_S = 3600.0
_AT_ONCE = 500


class Retention:
    """Deletes what is older than the settings allow.

    Args:
        database: Where it is.
        days: Since its last turn that a conversation is kept; 0 is for ever.
        audit: The trail, which knows its own days.
    """

    def __init__(self, database: Database, days: int, audit: Audit) -> None:
        self._database = database
        self._days = days
        self._audit = audit

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
        while True:
            try:
                if forgotten := await self.forget():
                    log.info("conversations.forgotten", n=forgotten)
                if through := await self._audit.prune():
                    log.info("audit.pruned", through=through)
            except DatabaseUnavailable as error:
                log.warning("retention.waits", reason=error.message)
            await asyncio.sleep(_INTERVAL_S)
