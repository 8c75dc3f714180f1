"""API keys, group membership, audit."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import ApiKey, AuditEvent, PrincipalRow
from app.db.session import Reader
from app.domain.access import PUBLIC, AccessScope, Scope

_CALLER = """
    WITH RECURSIVE caller AS (
        SELECT k.user_id, k.scopes
        FROM api_key k JOIN principal p ON p.principal = 'user:' || k.user_id
        WHERE k.sha256 = %(sha256)s AND k.revoked_at IS NULL AND NOT p.disabled
              AND (k.expires_at IS NULL OR k.expires_at > %(at)s)
    ), belongs(name) AS (
        SELECT m."group" FROM membership m JOIN caller c ON m.member = 'user:' || c.user_id
        UNION SELECT m."group" FROM membership m JOIN belongs b ON m.member = b.name
    )
    SELECT user_id, scopes, ARRAY(
        SELECT b.name FROM belongs b JOIN principal p ON p.principal = b.name WHERE NOT p.disabled
    ) FROM caller
    """


_PERSON = """
    WITH RECURSIVE person AS (
        SELECT principal, disabled FROM principal WHERE principal = ANY(%(principals)s)
        ORDER BY array_position(%(principals)s, principal) LIMIT 1
    ), belongs(name) AS (
        SELECT m."group" FROM membership m JOIN person ON m.member = person.principal
        UNION SELECT m."group" FROM membership m JOIN belongs b ON m.member = b.name
    )
    SELECT principal, disabled, ARRAY(
        SELECT b.name FROM belongs b JOIN principal p ON p.principal = b.name WHERE NOT p.disabled
    ) FROM person
    """


async def find_person(connection: Reader, names: Sequence[str]) -> AccessScope | None:
    """What the person of the first of these names that Opora knows may read, without a scope.

    Somebody of whom it knows no name is the last of them, and in no group; None for a disabled one.
    """
    principals = [f"user:{name}" for name in names]
    cursor = await connection.execute(_PERSON, {"principals": principals})
    row = await cursor.fetchone()
    principal, disabled, groups = row or (principals[-1], False, [])
    if disabled:
        return None
    user_id = principal.removeprefix("user:")
    return AccessScope(user_id, frozenset({PUBLIC, principal, *groups}), frozenset())


async def find_caller(connection: Reader, sha256: bytes) -> AccessScope | None:
    """What the bearer of the key with this digest may do and read; nested groups count.

    None where the key is unknown, expired or revoked, or its user disabled.
    """
    cursor = await connection.execute(_CALLER, {"sha256": sha256, "at": now()})
    row = await cursor.fetchone()
    if row is None:
        return None
    user_id, scopes, groups = row
    return AccessScope(
        user_id=user_id,
        principals=frozenset({PUBLIC, f"user:{user_id}", *groups}),
        scopes=frozenset(map(Scope, scopes)),
    )


async def add_key(
    session: AsyncSession,
    user_id: str,
    sha256: bytes,
    scopes: list[Scope],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Store a key's digest, and its user when new."""
    user = {"principal": f"user:{user_id}", "disabled": False, "created_at": now()}
    await session.execute(insert(PrincipalRow).values(user).on_conflict_do_nothing())
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
    """Append to the audit trail."""
    session.add(AuditEvent(actor=actor, action=action, target=target, details=details))


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
