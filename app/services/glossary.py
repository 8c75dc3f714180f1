"""The glossary that this process answers with, and how it follows the truth in SQL."""

import asyncio
from datetime import datetime

from app.db.repositories import access as access_rows
from app.db.repositories import glossary as glossary_rows
from app.db.repositories.glossary import StoredGlossary
from app.db.session import Database
from app.domain.glossary import Glossary, read_glossary
from app.services.following import follow
from app.telemetry import get_logger

log = get_logger(__name__)


class LiveGlossary:
    """The stored glossary, in every process within a second of each change.

    `current` is replaced as a whole, so whoever holds it works with one state.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._updated_at: datetime | None = None
        self._turn = asyncio.Lock()
        self.current = Glossary(())

    def expansions(self, text: str) -> tuple[str, ...]:
        """What means the same as words of a text, by the glossary of this moment."""
        return self.current.expansions(text)

    async def stored(self) -> StoredGlossary:
        """What SQL holds."""
        async with self._database.transaction() as session:
            return await glossary_rows.load(session)

    async def replace(self, actor: str, data: bytes) -> tuple[int, datetime]:
        """Take over a glossary file as a whole, or nothing of it.

        Returns:
            How many terms it holds, and when it was stored.

        Raises:
            InvalidLines: The file is broken; the glossary before stays.
        """
        entries = await asyncio.to_thread(read_glossary, data)
        async with self._database.transaction() as session:
            updated_at = await glossary_rows.replace(session, entries)
            await access_rows.record(
                session, actor, "glossary.replaced", "glossary", terms=len(entries)
            )
        await self.catch_up()
        return len(entries), updated_at

    async def clear(self, actor: str) -> None:
        """Remove the glossary."""
        async with self._database.transaction() as session:
            await glossary_rows.clear(session)
            await access_rows.record(session, actor, "glossary.cleared", "glossary")
        await self.catch_up()

    async def catch_up(self) -> None:
        """Load the glossary if it changed since the last look."""
        async with self._turn:
            async with self._database.transaction() as session:
                if await glossary_rows.updated_at(session) == self._updated_at:
                    return
                stored = await glossary_rows.load(session)
            self.current = await asyncio.to_thread(Glossary, stored.entries)
            self._updated_at = stored.updated_at
        log.info("glossary.loaded", terms=len(stored.entries))

    async def follow(self, interval_s: float) -> None:
        """Catch up for ever: at once when notified, else every interval."""
        await follow(self._database, glossary_rows.CHANNEL, self.catch_up, interval_s)
