"""Who searched, beside what the other use cases record; the trail read, and how long it is kept."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.db.base import now
from app.db.models import AuditRow
from app.db.repositories import access as access_rows
from app.db.repositories import audit as audit_rows
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.audit import PRUNED
from app.domain.documents import Passage
from app.services.retrieval import SearchResult
from app.settings import AuditSettings


class Audit:
    """The audit trail, of which each use case records its part in its own transaction."""

    def __init__(self, database: Database, settings: AuditSettings) -> None:
        self._database = database
        self._settings = settings
        self._drafts: list[audit_rows.Draft] = []
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def searched(self, caller: AccessScope, query: str, found: SearchResult) -> None:
        """Record a search and what it shows, before that leaves."""
        words = {"query": query} if self._settings.texts else {}
        shown = _shown(found.generation_id, found.passages)
        await self._append(caller, "searched", "search", shown | words)

    async def asked(
        self,
        caller: AccessScope,
        answer_id: str,
        question: str,
        generation_id: str,
        passages: Sequence[Passage],
    ) -> None:
        """Record a question and the passages that are shown for it, before they leave."""
        words = {"question": question} if self._settings.texts else {}
        await self._append(caller, "asked", answer_id, _shown(generation_id, passages) | words)

    async def _append(
        self, caller: AccessScope, action: str, target: str, details: dict[str, object]
    ) -> None:
        """Append, together with what others want appended while the turn before is written."""
        self._drafts.append((caller.user_id, action, target, details))
        if self._next is None:
            self._next = asyncio.create_task(self._append_drafts(self._running))
        await asyncio.shield(self._next)

    async def _append_drafts(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        drafts, self._drafts = self._drafts, []
        self._running, self._next = self._next, None
        async with self._database.reading() as connection:
            await audit_rows.append_fast(connection, drafts)

    async def list_events(
        self, limit: int, newest_first: bool, beyond: int | None = None, **wanted: Any
    ) -> Sequence[AuditRow]:
        """Some events; see `app.db.repositories.audit.list_events`."""
        async with self._database.transaction() as session:
            return await audit_rows.list_events(session, limit, newest_first, beyond, **wanted)

    async def prune(self) -> int:
        """Delete what is older than the setting allows; return the last number deleted, or 0."""
        if not self._settings.days:
            return 0
        async with self._database.transaction() as session:
            before = now() - timedelta(days=self._settings.days)
            last = await audit_rows.last_before(session, before)
            if last is None:
                return 0
            await access_rows.record(
                session, "system", PRUNED, "audit", through=last.number, hash=last.hash.hex()
            )
            await audit_rows.delete_through(session, last.number)
            return last.number


def _shown(generation_id: str, passages: Sequence[Passage]) -> dict[str, object]:
    return {
        "generation": generation_id,
        "chunks": [passage.chunk_id for passage in passages],
        "documents": sorted({passage.document_id for passage in passages}),
    }
