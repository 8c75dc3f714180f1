"""Who is calling: API keys, access tokens, and the AccessScope that they give."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import jwt

from app.db.models import ApiKey
from app.db.repositories import access as access_rows
from app.db.session import Database
from app.domain.access import PUBLIC, AccessScope, Identity, Scope, scopes_of
from app.domain.errors import ConfigurationError, NotFound, Unauthenticated

KEY_PREFIX = "opora_"
ADMIN_USER = "admin"
USER_HEADER = "x-openwebui-user-jwt"
_SHORTEST_SECRET = 32  # characters; RFC 7518, section 3.2, for HS256
_LEEWAY_S = 30  # between the clocks of two machines


def new_key() -> str:
    """A fresh key with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """What is stored of a key. A key has 256 random bits, so a plain SHA-256 cannot be reversed."""
    return hashlib.sha256(key.encode()).digest()


class Access:
    """Checks credentials, and makes and revokes API keys.

    Args:
        database: Where they are.
        user_secret: What front ends sign their user header with; None where none may speak for
            a person.
        identify: Says whom an access token names; None where only API keys are good.

    Raises:
        ConfigurationError: The secret has less than 32 characters.
    """

    def __init__(
        self,
        database: Database,
        user_secret: str | None = None,
        identify: Callable[[str], Awaitable[Identity]] | None = None,
    ) -> None:
        if user_secret is not None and len(user_secret) < _SHORTEST_SECRET:
            raise ConfigurationError(
                f"OPORA_HTTP__USER_HEADER_SECRET: must have at least {_SHORTEST_SECRET} characters"
            )
        self._database = database
        self._user_secret = user_secret
        self._identify = identify

    async def authenticate(self, credential: str) -> AccessScope:
        """Return what the bearer of an API key or of an access token may do and read.

        Nothing is kept between two calls: who is disabled or revoked is refused from the next on.

        Raises:
            Unauthenticated: The key is unknown, expired or revoked, the token is not good, or the
                user is disabled.
            IdentityUnavailable: The token cannot be checked now.
        """
        if self._identify is not None and _is_token(credential):
            return await self._signed_in(await self._identify(credential))
        async with self._database.reading() as connection:
            found = await access_rows.find_bearer(connection, digest(credential))
        if found is None or found.disabled:
            raise Unauthenticated("the API key is unknown, expired or revoked")
        return found.scope(found.key_scopes)

    async def _signed_in(self, identity: Identity) -> AccessScope:
        """Find who an identity is in Opora; somebody new is a reader."""
        async with self._database.reading() as connection:
            found = await access_rows.find_signed_in(connection, identity)
        if found is None:
            async with self._database.transaction() as session:
                await access_rows.add_signed_in(session, identity)
            async with self._database.reading() as connection:
                found = await access_rows.find_signed_in(connection, identity)
        if found is None or found.disabled:
            raise Unauthenticated("the person of the access token is disabled")
        return found.scope(scopes_of(found.roles))

    async def behind(self, caller: AccessScope, token: str | None) -> AccessScope:
        """Return who asks through a front end: the person that its signed user header names.

        That person may ask, where the front end's key may, and nothing else. Without a header, or
        without a secret to check it by, it is the caller.

        Args:
            caller: The bearer of the front end's key.
            token: The header: a JWT by HS256 with `sub`, the front end's id of the person, or
                `email`, and `exp`. The first of them that is an id of Opora's is the person's;
                somebody unknown to Opora reads what is public.

        Raises:
            Unauthenticated: The signature is wrong, the token is over or names nobody, or the
                person is disabled.
        """
        if token is None or self._user_secret is None:
            return caller
        names = _named(token, self._user_secret)
        async with self._database.reading() as connection:
            person = await access_rows.find_named(connection, names)
        may_ask = caller.is_admin or Scope.ASK in caller.scopes
        scopes = frozenset({Scope.ASK} if may_ask else ())
        if person is None:
            return AccessScope(names[-1], frozenset({PUBLIC, f"user:{names[-1]}"}), scopes)
        if person.disabled:
            raise Unauthenticated("the person of the user header is disabled")
        return person.scope(scopes)

    async def create_key(
        self,
        actor: str,
        user_id: str,
        scopes: list[Scope],
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key, or store a given one; it is returned this once."""
        key = key or new_key()
        async with self._database.transaction() as session:
            row = await access_rows.add_key(session, user_id, digest(key), scopes, expires_at)
            await access_rows.record(
                session, actor, "key.created", row.key_id, user_id=user_id, scopes=row.scopes
            )
        return row, key

    async def list_keys(self) -> list[ApiKey]:
        """All keys, newest first."""
        async with self._database.transaction() as session:
            return await access_rows.list_keys(session)

    async def revoke_key(self, actor: str, key_id: str) -> None:
        """Revoke a key; it is refused from the next request on."""
        async with self._database.transaction() as session:
            if not await access_rows.revoke_key(session, key_id):
                raise NotFound(f"there is no API key {key_id!r}")
            await access_rows.record(session, actor, "key.revoked", key_id)

    async def ensure_admin_key(self, data: Path, wanted: str | None) -> str | None:
        """Make sure that an admin key works, and return it when it is known.

        `wanted` is the one an operator set. Without it the first start makes one, prints it and
        keeps it in `data/admin.key`, readable by the owner only.
        """
        kept = data / "admin.key"
        key = wanted or _read(kept)
        if key is not None:
            async with self._database.reading() as connection:
                if await access_rows.find_bearer(connection, digest(key)):
                    return key
        else:
            async with self._database.transaction() as session:
                if await access_rows.has_admin_key(session):
                    return None
        _, key = await self.create_key("system", ADMIN_USER, list(Scope), key=key)
        if wanted is None:
            _keep(kept, key)
        return key


def _is_token(credential: str) -> bool:
    """Whether it has the shape of a signed JWT, which no API key made here has."""
    return credential.startswith("ey") and credential.count(".") == 2


def _named(token: str, secret: str) -> list[str]:
    """Check a user header and return the names that it gives its person."""
    try:
        claims = jwt.decode(
            token, secret, algorithms=["HS256"], options={"require": ["exp"]}, leeway=_LEEWAY_S
        )
    except jwt.InvalidTokenError as error:
        raise Unauthenticated(f"the user header is not good: {error}") from None
    email = str(claims.get("email") or "").strip()
    names = [str(claims.get("sub") or "").strip(), email, email.lower()]
    named = [name for name in dict.fromkeys(names) if name and "\x00" not in name]
    if not named:
        raise Unauthenticated("the user header names nobody")
    return named


def _read(kept: Path) -> str | None:
    return kept.read_text().strip() if kept.exists() else None


def _keep(kept: Path, key: str) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch(mode=0o600)
    kept.chmod(0o600)
    kept.write_text(key + "\n")
