"""Assistants: looking them up for a question, and managing them."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.repositories import access as access_rows
from app.db.repositories import assistants as assistant_rows
from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.assistants import DEFAULT_ASSISTANT, Assistant
from app.domain.errors import Conflict, InvalidField, NotFound


class Assistants:
    """The stored assistants; the default one is always there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str | None) -> Assistant:
        """Return the assistant of a name, by default the default one; NotFound for no such."""
        name = name or DEFAULT_ASSISTANT
        if "\x00" in name:
            raise NotFound(f"there is no assistant {name!r}")
        async with self._database.transaction() as session:
            return await assistant_rows.get_assistant(session, name)

    async def seen_by(self, caller: AccessScope) -> list[tuple[Assistant, list[str]]]:
        """All assistants by name, each with those of its collections that the caller may see."""
        async with self._database.transaction() as session:
            collections = await document_rows.list_collections(session)
            seen = {one.name for one in collections if caller.may_read(frozenset(one.readers))}
            found = await assistant_rows.list_assistants(session)
        return [(one, [name for name in one.collections if name in seen]) for one in found]

    async def create(self, actor: str, assistant: Assistant) -> Assistant:
        """Store a new assistant.

        Raises:
            Conflict: The name is taken.
            InvalidField: A collection is unknown.
        """
        async with self._database.transaction() as session:
            await self._check(session, assistant)
            await assistant_rows.add_assistant(session, assistant)
            await access_rows.record(session, actor, "assistant.created", assistant.name)
        return assistant

    async def change(
        self, actor: str, name: str, change: Callable[[Assistant], Assistant]
    ) -> Assistant:
        """Change an assistant.

        Raises:
            NotFound: There is none of the name.
            InvalidField: A collection is unknown.
        """
        async with self._database.transaction() as session:
            changed = change(await assistant_rows.get_assistant(session, name))
            await self._check(session, changed)
            await assistant_rows.replace_assistant(session, changed)
            await access_rows.record(session, actor, "assistant.changed", name)
        return changed

    async def delete(self, actor: str, name: str) -> None:
        """Remove an assistant; the default one stays (Conflict)."""
        if name == DEFAULT_ASSISTANT:
            raise Conflict(f"the default assistant {name!r} cannot be deleted, only changed")
        async with self._database.transaction() as session:
            await assistant_rows.delete_assistant(session, name)
            await access_rows.record(session, actor, "assistant.deleted", name)

    @staticmethod
    async def _check(session: AsyncSession, assistant: Assistant) -> None:
        for name in assistant.collections:
            if not await document_rows.collection_exists(session, name):
                raise InvalidField("collections", f"there is no collection {name!r}")
