"""Who calls: keys, signed-in people, the groups that they are in; and the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import ApiKey, PrincipalRow
from app.db.repositories import principals as principal_rows
from app.db.session import Reader
from app.domain.access import PUBLIC, AccessScope, Identity, Role, Scope
from app.domain.audit import details_text
from app.domain.errors import Conflict

_BY_KEY = """
    SELECT p.principal, p.disabled, p.roles, k.scopes, CAST('{}' AS text[]) AS named
    FROM api_key k JOIN principal p ON p.principal = 'user:' || k.user_id
    WHERE k.sha256 = %(sha256)s AND k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > %(at)s)
    """
_BY_NAMES = """
    SELECT principal, disabled, roles, CAST('{}' AS text[]) AS scopes, CAST('{}' AS text[]) AS named
    FROM principal WHERE principal = ANY(%(principals)s)
    ORDER BY array_position(%(principals)s, principal) LIMIT 1
    """
_BY_IDENTITY = """
    SELECT principal, disabled, roles, CAST('{}' AS text[]) AS scopes,
           CAST(%(groups)s AS text[]) AS named
    FROM principal WHERE issuer = %(issuer)s AND subject = %(subject)s
    """


def _with_groups(person: str) -> str:
    """The query of a person with all groups, also those that groups are in.

    A disabled group gives nothing, nor what it is in. One that only the token names needs no row.
    """
    return f"""
        WITH RECURSIVE person AS ({person}), belongs(name) AS (
            SELECT unnest(named) FROM person
            UNION SELECT m."group" FROM membership m JOIN person ON m.member = person.principal
            UNION SELECT m."group" FROM membership m JOIN belongs b ON m.member = b.name
                WHERE NOT EXISTS (
                    SELECT FROM principal p WHERE p.principal = b.name AND p.disabled
                )
        ), groups AS (
            SELECT b.name, p.roles FROM belongs b LEFT JOIN principal p ON p.principal = b.name
            WHERE p.disabled IS NOT TRUE
        )
        SELECT principal, disabled, scopes, ARRAY(SELECT name FROM groups),
               roles || ARRAY(SELECT unnest(roles) FROM groups)
        FROM person
        """  # noqa: S608, the parts are the constants above


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a row: what the roles, own and of groups, and the used key allow."""

    principal: str
    disabled: bool
    key_scopes: frozenset[Scope]
    groups: frozenset[str]
    roles: frozenset[Role]

    def scope(self, scopes: frozenset[Scope]) -> AccessScope:
        """What the person may read, to be used for these scopes."""
        user_id = self.principal.removeprefix("user:")
        return AccessScope(user_id, frozenset({PUBLIC, self.principal, *self.groups}), scopes)


async def _find(connection: Reader, person: str, parameters: Mapping[str, object]) -> Person | None:
    cursor = await connection.execute(_with_groups(person), parameters)
    row = await cursor.fetchone()
    if row is None:
        return None
    principal, disabled, scopes, groups, roles = row
    return Person(
        principal,
        disabled,
        frozenset(map(Scope, scopes)),
        frozenset(groups),
        frozenset(map(Role, roles)),
    )


async def find_named(connection: Reader, names: Sequence[str]) -> Person | None:
    """The first of these user ids that Opora knows."""
    return await _find(connection, _BY_NAMES, {"principals": [f"user:{name}" for name in names]})


async def find_bearer(connection: Reader, sha256: bytes) -> Person | None:
    """Whose the key with this digest is; None where it is unknown, expired or revoked."""
    return await _find(connection, _BY_KEY, {"sha256": sha256, "at": now()})


async def find_signed_in(connection: Reader, identity: Identity) -> Person | None:
    """Whom a token names, with the groups that it names."""
    parameters = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "groups": [f"group:{name}" for name in identity.groups],
    }
    return await _find(connection, _BY_IDENTITY, parameters)


async def add_signed_in(session: AsyncSession, identity: Identity) -> bool:
    """Give an id to somebody whom a token names; False when another request did."""
    user: dict[str, object] = {
        "principal": f"user:{new_id('usr')}",
        "name": identity.name,
        "disabled": False,
        "implicit": False,
        "roles": [],
        "issuer": identity.issuer,
        "subject": identity.subject,
        "created_at": now(),
    }
    query = insert(PrincipalRow).values(user).on_conflict_do_nothing()
    added = await session.scalar(query.returning(PrincipalRow.principal))
    if added is not None:
        await record(session, "system", "user.signed_in_first", added.removeprefix("user:"))
    return added is not None


async def add_key(
    session: AsyncSession,
    user_id: str,
    sha256: bytes,
    scopes: list[Scope],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Store a key's digest, and its user when new.

    Raises:
        Conflict: The user was deleted.
    """
    await principal_rows.add(session, f"user:{user_id}")
    row = await principal_rows.find(session, f"user:{user_id}", lock=True)
    if row is None or row.deleted_at is not None:
        raise Conflict(f"the user {user_id!r} was deleted, and no other gets that id")
    key = ApiKey(
        key_id=new_id("key"),
        user_id=user_id,
        sha256=sha256,
        scopes=[str(scope) for scope in scopes],
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()
    return key


async def record(
    session: AsyncSession, actor: str, action: str, target: str, **details: object
) -> None:
    """Append to the audit trail; last in its transaction, for others wait until that is over."""
    text = details_text(details)
    await session.execute(select(func.audit_append(actor, action, target, text, False)))


async def list_keys(session: AsyncSession) -> list[ApiKey]:
    """All keys, newest first."""
    return list((await session.scalars(select(ApiKey).order_by(ApiKey.key_id.desc()))).all())


async def revoke_key(session: AsyncSession, key_id: str) -> bool:
    """Mark a key as revoked; False when there is none."""
    key = await session.get(ApiKey, key_id)
    if key is None:
        return False
    key.revoked_at = key.revoked_at or now()
    return True


async def has_admin_key(session: AsyncSession) -> bool:
    """Whether some admin key could work."""
    query = select(ApiKey.key_id).where(
        ApiKey.scopes.contains([str(Scope.ADMIN)]), ApiKey.revoked_at.is_(None)
    )
    return (await session.scalar(query.limit(1))) is not None
