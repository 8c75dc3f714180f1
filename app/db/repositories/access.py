"""API keys, group membership, audit."""

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import ApiKey, AuditEvent, PrincipalRow
from app.domain.access import Scope


async def find_key(session: AsyncSession, sha256: bytes) -> ApiKey | None:
    """The key with this digest, if it is neither expired nor revoked and its user not disabled."""
    key = (await session.scalars(select(ApiKey).where(ApiKey.sha256 == sha256))).first()
    if key is None or key.revoked_at is not None:
        return None
    if key.expires_at is not None and key.expires_at <= now():
        return None
    user = await session.get(PrincipalRow, f"user:{key.user_id}")
    return None if user is None or user.disabled else key


async def groups_of(session: AsyncSession, principal: str) -> set[str]:
    """All groups of a principal, nested ones too."""
    query = text(
        """
        WITH RECURSIVE belongs(name) AS (
            SELECT "group" FROM membership WHERE member = :principal
            UNION SELECT m."group" FROM membership m JOIN belongs b ON m.member = b.name
        )
        SELECT b.name FROM belongs b JOIN principal p ON p.principal = b.name WHERE NOT p.disabled
        """
    )
    return {row[0] for row in await session.execute(query, {"principal": principal})}


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
