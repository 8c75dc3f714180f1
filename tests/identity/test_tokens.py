"""Access tokens of a real provider open the door; what only looks like one does not."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.running import Answered, Client, until
from tests.e2e.test_bad_input import assert_problem
from tests.identity.conftest import House
from tests.identity.provider import Forge, Provider, claims_for, ec_key, rsa_key

FOREIGN = rsa_key("foreign")
LATER = int(time.time()) + 3600


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], provider: Provider, signature: bytes = b"") -> str:
    head = {"typ": "at+jwt", "kid": "first"} | header
    return f"{encoded(head)}.{encoded(claims_for(provider))}.{encoded(signature)}"


def by_hmac(provider: Provider, secret: bytes, **header: Any) -> str:
    head = encoded({"alg": "HS256", "typ": "at+jwt", "kid": "first"} | header)
    text = f"{head}.{encoded(claims_for(provider))}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def pem(provider: Provider) -> bytes:
    public = provider.keys[0].private.public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def claiming(**claims: Any) -> Forge:
    """Signed by the provider's own key: only the claims are wrong."""
    return lambda provider: provider.keys[0].sign(claims_for(provider, **claims))


def headed(**header: Any) -> Forge:
    """The same, with another header."""
    return lambda provider: provider.keys[0].sign(claims_for(provider), **header)


def foreign(**header: Any) -> Forge:
    """Good claims, signed by somebody else's key."""
    return lambda provider: FOREIGN.sign(claims_for(provider), **header)


def tampered(provider: Provider) -> str:
    head, _, signature = claiming()(provider).split(".")
    return f"{head}.{encoded(claims_for(provider, sub='admin'))}.{signature}"


def writing(text: str | None = None, **claims: object) -> Forge:
    """Any text as the claims, or claims that no library writes; well signed."""

    def make(provider: Provider) -> str:
        key = provider.keys[0]
        payload = json.dumps(claims_for(provider) | claims) if text is None else text
        signed = f"{encoded({'alg': 'RS256', 'kid': key.kid})}.{encoded(payload.encode())}"
        signature = key.private.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{encoded(signature)}"

    return make


BAD: dict[str, Forge] = {
    "alg none": lambda p: unsigned({"alg": "none"}, p),
    "alg nOnE": lambda p: unsigned({"alg": "nOnE"}, p),
    "alg none with the signature of another": lambda p: unsigned({"alg": "none"}, p, b"x" * 256),
    "no alg": lambda p: unsigned({}, p, b"x" * 256),
    "alg a list": lambda p: unsigned({"alg": ["RS256"]}, p, b"x" * 256),
    "HS256 by the public key in PEM": lambda p: by_hmac(p, pem(p)),
    "HS256 by the public key as JWK": lambda p: by_hmac(p, json.dumps(p.keys[0].jwk).encode()),
    "HS256 by nothing": lambda p: by_hmac(p, b""),
    "HS256 by its own header": lambda p: by_hmac(p, b"k", jwk={"kty": "oct", "k": "aw"}),
    "RS512 with a key for RS256": headed(alg="RS512"),
    "PS256 with a key for RS256": headed(alg="PS256"),
    "RS256 with the id of a key for ES256": headed(kid="curve"),
    "ES256 by a foreign curve": lambda p: ec_key("curve").sign(claims_for(p)),
    "foreign kid": foreign(),
    "own kid, foreign key": foreign(kid="first"),
    "foreign jku": foreign(jku="http://127.0.0.1:1/keys"),
    "foreign jwk in the header": foreign(jwk=FOREIGN.jwk),
    "foreign x5u": foreign(x5u="http://127.0.0.1:1/cert", kid="first"),
    "kid a path": headed(kid="../../../../dev/null"),
    "kid a number": lambda p: unsigned({"alg": "RS256", "kid": 1}, p, b"x" * 256),
    "kid in SQL": headed(kid="' OR 1=1 --"),
    "no kid": lambda p: unsigned({"alg": "RS256", "kid": None}, p, b"x" * 256),
    "empty signature": lambda p: unsigned({"alg": "RS256"}, p),
    "cut signature": lambda p: claiming()(p)[:-8],
    "other claims under its signature": tampered,
    "unknown critical header": headed(crit=["x-opora"], **{"x-opora": 1}),
    "b64 false": headed(crit=["b64"], b64=False),
    "header of 10,000 nested lists": lambda p: f"{encoded(b'[' * 10_000)}.e30.eA",
    "header no JSON": lambda p: f"{encoded(b'eyJ{')}.e30.eA",
    "claims no object": writing("[1]"),
    "claims of 10,000 nested lists": writing("[" * 10_000),
    "type of a logout token": headed(typ="logout+jwt"),
    "type of a DPoP proof": headed(typ="dpop+jwt"),
    "wrong audience": claiming(aud="another-app"),
    "audiences without ours": claiming(aud=["another-app", "opora-2"]),
    "empty audiences": claiming(aud=[]),
    "no audience": claiming(aud=None),
    "audience an object": claiming(aud={"opora": True}),
    "wrong issuer": claiming(iss="https://sso.example"),
    "issuer with a slash more": lambda p: p.keys[0].sign(claims_for(p, iss=p.issuer + "/")),
    "issuer an object": writing(iss={"https://sso.example": 1}),
    "no issuer": claiming(iss=None),
    "no exp": claiming(exp=None),
    "expired an hour ago": claiming(exp=int(time.time()) - 3600),
    "exp a text": claiming(exp=str(LATER)),
    "exp a list": claiming(exp=[LATER]),
    "exp infinite": claiming(exp=float("inf")),
    "future nbf": claiming(nbf=LATER),
    "future iat": claiming(iat=LATER, exp=LATER + 300),
    "no iat": claiming(iat=None),
    "no sub": claiming(sub=None),
    "empty sub": claiming(sub=" "),
    "sub a list": writing(sub=["reader"]),
    "sub with a NUL": claiming(sub="reader\x00"),
    "sub of 10,000 letters": claiming(sub="x" * 10_000),
    "ID token of Keycloak": claiming(typ="ID"),
    "refresh token of Keycloak": claiming(typ="Refresh"),
    "at_hash, as in ID tokens": claiming(at_hash="x"),
    "bound to a key": claiming(cnf={"jkt": "x"}),
    "e-mail not verified": claiming(email="a@b.example", email_verified=False),
    "e-mail not verified, as text": claiming(email_verified="false"),
    "groups a text": claiming(groups="office"),
    "groups of objects": claiming(groups=[{"name": "office"}]),
    "a group with a NUL": claiming(groups=["office\x00"]),
    "more groups than anybody has": claiming(groups=[f"g{n}" for n in range(1001)]),
    "a sign after it": lambda p: claiming()(p) + "!",
    "two tokens": lambda p: f"{claiming()(p)},{claiming()(p)}",
}


async def opened(house: House, token: str) -> Answered:
    return await house.admin.with_key(token).get("/v1/models")


def test_there_are_more_than_40_bad_tokens() -> None:
    assert len(BAD) >= 40


async def test_a_token_that_only_the_claims_make_bad_is_good_without_them(house: House) -> None:
    """Else the bad ones could be refused for something else."""
    for key in house.provider.keys:
        answered = await opened(house, key.sign(claims_for(house.provider)))
        assert answered.status == 200, answered.raw
    plain = house.provider.keys[0].sign(claims_for(house.provider), typ="JWT")
    assert (await opened(house, plain)).status == 200
    several = claims_for(house.provider, aud=["account", "opora"], email_verified=True)
    assert (await opened(house, house.provider.keys[0].sign(several))).status == 200


@pytest.mark.parametrize("name", BAD)
async def test_bad_token_is_401(house: House, name: str) -> None:
    token = BAD[name](house.provider)
    refused = await house.admin.with_key(token).get("/v1/documents")
    assert_problem(refused, 401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert token.split(".")[-1][:40] not in refused.raw.decode() or token.endswith(".")
    upload = await house.admin.with_key(token).upload("Ничего.")
    assert upload.status == 401


async def test_tokens_of_the_provider_open_the_door(house: House) -> None:
    service = await house.service("reader")
    assert (await service.get("/v1/models")).status == 200
    tokens = await house.provider.sign_in("anna")
    assert (await opened(house, tokens["access_token"])).status == 200
    assert_problem(
        await house.admin.with_key(tokens["id_token"]).get("/v1/documents"), 401, "unauthenticated"
    )
    unverified = (await house.provider.sign_in("unverified"))["access_token"]
    assert (await opened(house, unverified)).status == 401


async def test_an_expired_token_is_refused_to_the_second(house: House) -> None:
    token = house.provider.keys[0].sign(claims_for(house.provider, exp=int(time.time()) + 2))
    assert (await opened(house, token)).status == 200
    await asyncio.sleep(2.1)
    assert (await opened(house, token)).status == 401


async def test_one_credential_in_one_header(house: House) -> None:
    good = house.provider.keys[0].sign(claims_for(house.provider))
    key = house.admin.key
    twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {key}")]
    for headers, query in ((twice, ""), ([], f"?access_token={good}"), ([], f"?api_key={key}")):
        url = f"{house.admin.base_url}/v1/models{query}"
        async with house.admin.session.get(url, headers=headers) as response:
            assert response.status == 401


async def test_keys_are_rotated_and_old_ones_forgotten(house: House) -> None:
    before = await house.service("reader")
    old, new = house.provider.keys[0], rsa_key("second")
    house.provider.stop()
    house.provider.keys = [new, *house.provider.keys[1:]]
    try:
        assert (await before.get("/v1/models")).status == 200  # its key is known
        await asyncio.sleep(2.1)
        away = await opened(house, new.sign(claims_for(house.provider)))
        assert (away.status, away.json["error"]["code"]) == (503, "identity_unavailable")
        house.provider.start()

        async def look() -> Client | None:
            after = await house.service("reader")
            return after if (await after.get("/v1/models")).status == 200 else None

        await until(look, 10)
        assert (await opened(house, old.sign(claims_for(house.provider)))).status == 401
        assert (await before.get("/v1/models")).status == 401
    finally:
        if house.provider.process is None:
            house.provider.start()


async def test_unknown_keys_do_not_flood_the_provider(house: House) -> None:
    await asyncio.sleep(2.1)
    before, started = house.provider.asked("/jwks"), time.monotonic()
    tokens = [FOREIGN.sign(claims_for(house.provider), kid=f"unknown-{n}") for n in range(100)]
    answered = await asyncio.gather(*(opened(house, token) for token in tokens))
    assert {one.status for one in answered} == {401}
    asked = house.provider.asked("/jwks") - before
    assert 1 <= asked <= 1 + (time.monotonic() - started) / 2
