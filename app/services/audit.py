"""Who searched, beside what the other use cases record; the trail read, and how long it is kept."""

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
from app.services.retrieval import SearchResult
from app.settings import AuditSettings


class Audit:
    """The audit trail, of which each use case records its part in its own transaction."""

    def __init__(self, database: Database, settings: AuditSettings) -> None:
        self._database = database
        self._settings = settings

    async def searched(self, caller: AccessScope, query: str, found: SearchResult) -> None:
        """Record a search and the chunks that it shows, before it leaves."""
        told = {"query": query} if self._settings.texts else {}
        async with self._database.reading() as connection:
            await audit_rows.append_fast(
                connection,
                caller.user_id,
                "searched",
                "search",
                generation=found.generation_id,
                chunks=[passage.chunk_id for passage in found.passages],
                documents=sorted({passage.document_id for passage in found.passages}),
                **told,
            )

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
