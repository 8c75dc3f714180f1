"""Access tokens of an OpenID Connect provider, checked by its published keys."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import jwt
from yarl import URL

from app.domain.access import Identity
from app.domain.errors import ConfigurationError, IdentityUnavailable, Unauthenticated
from app.telemetry import get_logger

log = get_logger(__name__)

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_TYPES = ("jwt", "at+jwt", "application/at+jwt")  # RFC 9068; others are no access tokens
_REQUIRED = ("iss", "sub", "aud", "exp", "iat")
_GROUPS = "groups"
_LEEWAY_S = 5  # for `nbf` and `iat`, between the clocks of two machines
_FRESH_S = 300.0
_LONGEST_S = 3600.0  # that keys are trusted while the provider does not answer
_PAUSE_S = 2.0  # between two questions for keys, whatever callers send
_TIMEOUT_S = 5.0
_MOST_BYTES = 1024 * 1024
_MOST_GROUPS = 1000
_LONGEST_NAME = 255  # characters of a subject, a name or a group


class OidcProvider:
    """Says whom an access token names.

    Args:
        issuer: The `iss` of its tokens; `/.well-known/openid-configuration` below it leads to its
            keys.
        audience: What its tokens for Opora have in `aud`.

    Raises:
        ConfigurationError: The issuer is no https address (http only on this machine).
    """

    def __init__(self, issuer: str, audience: str) -> None:
        if not _is_safe(issuer):
            raise ConfigurationError(
                f"OPORA_OIDC__ISSUER: {issuer!r} is no https address (http only on this machine)"
            )
        self._issuer = issuer
        self._audience = audience
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._has_failed = False
        self._lock = asyncio.Lock()

    async def identify(self, token: str) -> Identity:
        """Return whom a token names, once everything about it is right.

        Raises:
            Unauthenticated: Something about it is wrong; the message says what.
            IdentityUnavailable: Its key is not known, and the provider does not answer.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        if str(header.get("typ") or "JWT").lower() not in _TYPES:
            raise _refused("its type is not that of an access token")
        kid = header.get("kid")
        if header.get("alg") not in _ALGORITHMS or not isinstance(kid, str):
            raise _refused("it names no key, or no algorithm with a public one")
        key = await self._key(kid)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": [*_REQUIRED], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        return _identity(claims)

    async def _key(self, kid: str) -> jwt.PyJWK:
        """The key of an id; an unknown one and old ones let the provider be asked again."""
        if kid in self._keys and (self._age_s < _FRESH_S or self._may_wait):
            return self._keys[kid]
        async with self._lock:
            wanted = kid not in self._keys or self._age_s >= _FRESH_S
            if wanted and time.monotonic() - self._asked_at >= _PAUSE_S:
                await self._refresh()
                self._asked_at = time.monotonic()
            if kid in self._keys and self._age_s < _LONGEST_S:
                return self._keys[kid]
            if self._has_failed:
                raise IdentityUnavailable(
                    "the provider's keys cannot be fetched, the log says why; API keys work"
                )
            raise _refused("it is signed with a key that the provider does not have")

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._fetched_at

    @property
    def _may_wait(self) -> bool:
        """Whether old keys are still good while another request asks for new ones, or just has."""
        asked_s = time.monotonic() - self._asked_at
        return self._age_s < _LONGEST_S and (self._lock.locked() or asked_s < _PAUSE_S)

    async def _refresh(self) -> None:
        try:
            self._keys = await self._fetch()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._has_failed = True
            log.warning("oidc.keys_failed", reason=str(error) or type(error).__name__)
        else:
            self._fetched_at, self._has_failed = time.monotonic(), False
            log.info("oidc.keys_fetched", n=len(self._keys))

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
        ):
            place = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
            about = await _get(session, place)
            if about.get("issuer") != self._issuer:
                raise ValueError(f"{place} is of another issuer: {about.get('issuer')!r}")
            listed = (await _get(session, str(about.get("jwks_uri")))).get("keys")
        return _usable(listed if isinstance(listed, list) else [])


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Fetch a JSON object; no redirect is followed."""
    if not _is_safe(url):
        raise ValueError(f"{url!r} is no https address")
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"{url} answers {response.status}")
        raw = await response.content.read(_MOST_BYTES)
        while len(raw) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES)):
            raw += more
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError(f"{url} does not answer with a JSON object")  # noqa: TRY004, of the data
    return found


def _usable(listed: list[Any]) -> dict[str, jwt.PyJWK]:
    """The public signing keys by their ids; what else a provider lists is passed over."""
    keys: dict[str, jwt.PyJWK] = {}
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or "d" in one or "k" in one:
            continue
        try:
            key = jwt.PyJWK.from_dict(one)
        except jwt.PyJWTError as error:
            log.warning("oidc.key_passed_over", reason=type(error).__name__)
            continue
        if key.key_id and key.algorithm_name in _ALGORITHMS:
            keys[key.key_id] = key
    return keys


def _identity(claims: Mapping[str, Any]) -> Identity:
    """Whom verified claims name, unless they are those of something else than an access token."""
    if not isinstance(claims["exp"], int | float) or claims["exp"] <= time.time():
        raise _refused("it has expired")
    if str(claims.get("typ") or "Bearer").lower() != "bearer" or "at_hash" in claims:
        raise _refused("it is an ID token or the like: send the access token")
    if "cnf" in claims:
        raise _refused("it is bound to a key (DPoP, mTLS), which Opora cannot check")
    if claims.get("email_verified", True) not in (True, "true"):
        raise _refused("the provider has not verified the person's e-mail address")
    groups = claims.get(_GROUPS) or []
    if not isinstance(groups, list) or len(groups) > _MOST_GROUPS:
        raise _refused(f"its claim `{_GROUPS}` is no list of at most {_MOST_GROUPS} names")
    name = claims.get("name") or claims.get("preferred_username")
    return Identity(
        issuer=claims["iss"],
        subject=_text(claims["sub"], "sub"),
        name=name[:_LONGEST_NAME].replace("\x00", "") if isinstance(name, str) else None,
        # Keycloak writes the path of a group, `/office/heads`.
        groups=frozenset(_text(group, _GROUPS).removeprefix("/") for group in groups) - {""},
    )


def _text(value: object, claim: str) -> str:
    short = isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= _LONGEST_NAME
    if isinstance(value, str) and short and value.isprintable():
        return value
    raise _refused(f"its claim `{claim}` holds something else than a short text")


def _is_safe(address: str) -> bool:
    """Whether nobody on the way can change what is fetched from an address."""
    try:
        url = URL(address)
    except ValueError:
        return False
    own = url.host in ("localhost", "127.0.0.1", "::1")
    return bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and own))


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the access token is not good: {reason}")
