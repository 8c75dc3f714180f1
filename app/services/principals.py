"""Users and groups: made, changed and deleted by admins. What changes counts from the next call."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import PrincipalRow
from app.db.repositories import access as access_rows
from app.db.repositories import principals as principal_rows
from app.db.repositories.principals import PrincipalView
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.errors import Conflict, InvalidField


class Principals:
    """Users and groups in SQL.

    `fields` of the methods are the columns `name`, `roles`, `disabled`, `issuer`, `subject`, and
    `groups` of a user (ids) or `members` of a group (principals), as far as they are given.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_all(self, kind: str, limit: int, after: str | None) -> list[PrincipalView]:
        """Users or groups (`kind`) in the order of their ids."""
        async with self._database.transaction() as session:
            return await principal_rows.list_all(session, kind, limit, after)

    async def get(self, principal: str) -> PrincipalView:
        """One of them, or NotFound."""
        async with self._database.transaction() as session:
            return await principal_rows.view(session, await principal_rows.get(session, principal))

    async def create(
        self, caller: AccessScope, principal: str, fields: Mapping[str, Any]
    ) -> PrincipalView:
        """Make a user or a group, or complete one that only a key or a group has named so far.

        Raises:
            Conflict: The id or the identity is taken, by a deleted user too.
            InvalidField: A member was deleted.
        """
        async with self._database.transaction() as session:
            await principal_rows.add(session, principal)
            row = await principal_rows.find(session, principal, lock=True)
            if row is None or row.deleted_at is not None or not row.implicit:
                raise Conflict(
                    f"{principal!r} is there already, or was deleted: its id stays taken"
                )
            await self._apply(session, row, fields)
            return await self._changed(session, caller, "created", row, fields)

    async def change(
        self, caller: AccessScope, principal: str, fields: Mapping[str, Any]
    ) -> PrincipalView:
        """Change what is given. Raises as `create`; NotFound when there is no such one."""
        async with self._database.transaction() as session:
            row = await principal_rows.get(session, principal, lock=True)
            if fields.get("disabled"):
                _refuse_oneself(caller, principal)
            await self._apply(session, row, fields)
            return await self._changed(session, caller, "changed", row, fields)

    async def delete(self, caller: AccessScope, principal: str) -> None:
        """Delete a group, or shut a user out for good: keys, roles, groups; the id stays taken.

        Raises:
            NotFound: There is no such one.
            Conflict: It is the caller.
        """
        async with self._database.transaction() as session:
            row = await principal_rows.get(session, principal, lock=True)
            if principal.startswith("group:"):
                await session.delete(row)
            else:
                _refuse_oneself(caller, principal)
                await principal_rows.shut_out(session, row)
            kind, _, name = principal.partition(":")
            await access_rows.record(session, caller.user_id, f"{kind}.deleted", name)

    async def _apply(
        self, session: AsyncSession, row: PrincipalRow, fields: Mapping[str, Any]
    ) -> None:
        row.implicit = False
        if "issuer" in fields or "subject" in fields:
            issuer = fields.get("issuer", row.issuer)
            subject = fields.get("subject", row.subject)
            await self._identify(session, row, issuer, subject)
        for column in ("name", "disabled"):
            if column in fields:
                setattr(row, column, fields[column])
        if "roles" in fields:
            row.roles = sorted({str(role) for role in fields["roles"]})
        if "groups" in fields:
            groups = {f"group:{group}" for group in fields["groups"]}
            await principal_rows.put_into(session, row.principal, groups)
        if "members" in fields:
            await principal_rows.set_members(session, row.principal, {*fields["members"]})

    async def _identify(
        self, session: AsyncSession, row: PrincipalRow, issuer: str | None, subject: str | None
    ) -> None:
        """Give a user an identity, also one that somebody deleted had."""
        if (issuer is None) != (subject is None):
            raise InvalidField("subject", "goes with an issuer: give both or none")
        if issuer is not None and subject is not None:
            holder = await principal_rows.holder(session, issuer, subject)
            if holder is not None and holder is not row:
                if holder.deleted_at is None:
                    raise Conflict(f"that identity is {holder.principal!r}")
                holder.issuer = holder.subject = None
                await session.flush()
        row.issuer, row.subject = issuer, subject
        try:
            await session.flush()
        except IntegrityError:
            raise Conflict("somebody has signed in with that identity meanwhile") from None

    async def _changed(
        self,
        session: AsyncSession,
        caller: AccessScope,
        how: str,
        row: PrincipalRow,
        fields: Mapping[str, Any],
    ) -> PrincipalView:
        await session.flush()
        kind, _, name = row.principal.partition(":")
        await access_rows.record(session, caller.user_id, f"{kind}.{how}", name, **fields)
        return await principal_rows.view(session, row)


def _refuse_oneself(caller: AccessScope, principal: str) -> None:
    if principal == f"user:{caller.user_id}":
        raise Conflict("nobody disables or deletes oneself: ask another admin")
