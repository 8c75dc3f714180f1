"""Users and groups, as admins keep them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import now
from app.db.models import ApiKey, Membership, PrincipalRow
from app.domain.errors import InvalidField, NotFound


@dataclass(frozen=True, slots=True)
class PrincipalView:
    """A user with the groups that it is in, or a group with its members; by their principals."""

    row: PrincipalRow
    related: Sequence[str]

    @property
    def name(self) -> str:
        """Its id, without `user:` or `group:`."""
        return self.row.principal.partition(":")[2]


async def find(session: AsyncSession, principal: str, lock: bool = False) -> PrincipalRow | None:
    """The row of a principal, also of a deleted user."""
    return await session.get(PrincipalRow, principal, with_for_update=lock or None)


async def get(session: AsyncSession, principal: str, lock: bool = False) -> PrincipalRow:
    """A principal that is there, or NotFound."""
    row = await find(session, principal, lock)
    if row is None or row.deleted_at is not None:
        raise NotFound(f"there is no such {principal.partition(':')[0]}")
    return row


async def add(session: AsyncSession, principal: str) -> None:
    """Store a principal that a key or a group names, unless it is there."""
    row = {
        "principal": principal,
        "disabled": False,
        "implicit": True,
        "roles": [],
        "created_at": now(),
    }
    await session.execute(insert(PrincipalRow).values(row).on_conflict_do_nothing())


async def view(session: AsyncSession, row: PrincipalRow) -> PrincipalView:
    """A row with its memberships."""
    return (await _views(session, [row]))[0]


async def list_all(
    session: AsyncSession, kind: str, limit: int, after: str | None
) -> list[PrincipalView]:
    """Those of a kind, `user` or `group`, in the order of their ids, after one."""
    query = select(PrincipalRow).where(
        PrincipalRow.principal.startswith(f"{kind}:", autoescape=True),
        PrincipalRow.deleted_at.is_(None),
    )
    if after is not None:
        query = query.where(PrincipalRow.principal > f"{kind}:{after}")
    rows = await session.scalars(query.order_by(PrincipalRow.principal).limit(limit))
    return await _views(session, rows.all())


async def _views(session: AsyncSession, rows: Sequence[PrincipalRow]) -> list[PrincipalView]:
    principals = [row.principal for row in rows]
    query = select(Membership.member, Membership.group).where(
        or_(Membership.member.in_(principals), Membership.group.in_(principals))
    )
    related: dict[str, list[str]] = {principal: [] for principal in principals}
    for member, group in (await session.execute(query)).all():
        if member.startswith("user:") and member in related:
            related[member].append(group)
        if group in related:
            related[group].append(member)
    return [PrincipalView(row, sorted(related[row.principal])) for row in rows]


async def put_into(session: AsyncSession, user: str, groups: Collection[str]) -> None:
    """Let a user be in these groups and no other; one that is new is made."""
    await _make_missing(session, "groups", groups)
    await session.execute(delete(Membership).where(Membership.member == user))
    session.add_all(Membership(member=user, group=group) for group in sorted({*groups}))


async def set_members(session: AsyncSession, group: str, members: Collection[str]) -> None:
    """Let a group have these members and no other; one that is new is made."""
    await _make_missing(session, "members", members)
    await session.execute(delete(Membership).where(Membership.group == group))
    session.add_all(Membership(member=member, group=group) for member in sorted({*members}))


async def holder(session: AsyncSession, issuer: str, subject: str) -> PrincipalRow | None:
    """Who is known by an identity, also somebody deleted."""
    query = select(PrincipalRow).where(
        PrincipalRow.issuer == issuer, PrincipalRow.subject == subject
    )
    return (await session.scalars(query.with_for_update())).first()


async def shut_out(session: AsyncSession, row: PrincipalRow) -> None:
    """Take everything from a user but the id, which nobody else may get."""
    row.disabled, row.deleted_at, row.roles, row.name = True, now(), [], None
    await session.execute(delete(Membership).where(Membership.member == row.principal))
    user_id = row.principal.removeprefix("user:")
    keys = update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    await session.execute(keys.values(revoked_at=now()))


async def _make_missing(session: AsyncSession, field: str, principals: Collection[str]) -> None:
    """Let there be a row for each, as a key makes one for its user; no deleted one comes back."""
    for principal in sorted(principals):
        await add(session, principal)
    query = select(PrincipalRow.principal).where(
        PrincipalRow.principal.in_(principals), PrincipalRow.deleted_at.is_(None)
    )
    gone = sorted({*principals} - {*(await session.scalars(query.with_for_update(read=True)))})
    if gone:
        raise InvalidField(field, f"{gone[0]!r} was deleted")
