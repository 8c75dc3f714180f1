"""One running app with a real identity provider, and people and keys of every kind."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.settings import Settings
from app.wiring import prepare_database
from tests.conftest import ADMIN_KEY
from tests.e2e.running import Client, environment, ready, running
from tests.faults.server import free_port
from tests.identity.provider import AUDIENCE, Provider, is_prepared, provider

SERVICES = ["reader", "editor", "auditor", "admin", "disabled"]
PEOPLE: dict[str, dict[str, Any]] = {
    "anna": {"groups": ["/office"], "email": "anna@house.example", "name": "Anna"},
    "other-anna": {"email": "anna@house.example", "email_verified": True},
    "boris": {"groups": ["guests"], "email": "boris@house.example"},
    "unverified": {"email": "anna@house.example", "email_verified": False},
}


@dataclass
class House:
    """A running app and its provider; `admin` has the admin key."""

    provider: Provider
    admin: Client
    settings: dict[str, str]
    database_url: str

    async def service(self, name: str) -> Client:
        """A caller with a real access token whose subject is a service's name."""
        return self.admin.with_key(await self.provider.token(self.admin.session, name))

    async def person(self, name: str) -> Client:
        """A caller with the real access token of a person."""
        return self.admin.with_key((await self.provider.sign_in(name))["access_token"])

    async def key(self, user_id: str, *scopes: str) -> Client:
        """A caller with a new API key."""
        body = {"user_id": user_id, "scopes": list(scopes)}
        made = await self.admin.post("/v1/admin/api-keys", body)
        assert made.status == 201, made.raw
        return self.admin.with_key(made.json["key"])

    async def user_id(self, subject: str) -> str:
        """The id of somebody who has signed in."""
        users = (await self.admin.get("/v1/admin/users?limit=200")).json["items"]
        (found,) = [user["user_id"] for user in users if user["subject"] == subject]
        return str(found)

    async def change(self, user_id: str, **change: object) -> None:
        """Change a user."""
        answered = await self.admin.call("PATCH", f"/v1/admin/users/{user_id}", json=change)
        assert answered.status == 200, answered.raw


@pytest.fixture(scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session; every call has a time limit."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as made:
        yield made


@pytest.fixture(scope="session")
def sso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The identity provider."""
    if not is_prepared():
        pytest.skip("the identity provider is not installed: python -m tests.prepare")
    with provider(tmp_path_factory.mktemp("provider"), PEOPLE, SERVICES) as started:
        yield started


@asynccontextmanager
async def started(
    settings: dict[str, str], log: Path, session: aiohttp.ClientSession
) -> AsyncIterator[str]:
    """An app process; where it listens."""
    base_url = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"
    with running(("app",), settings, log) as process:
        await ready(process, base_url, session)
        yield base_url


@pytest.fixture(scope="session")
async def house(
    sso: Provider,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    session: aiohttp.ClientSession,
) -> AsyncIterator[House]:
    """`opora app` over a database of its own; no worker and no model server runs."""
    folder = tmp_path_factory.mktemp("identity")
    url = new_database()
    await prepare_database(Settings(data_dir=folder / "data", admin_key=ADMIN_KEY), url)
    settings = environment(
        folder / "data",
        http__port=free_port(),
        oidc__issuer=sso.issuer,
        oidc__audience=AUDIENCE,
        database__url=url,
        embedder__model="hash",
        llm__base_url=f"http://127.0.0.1:{free_port()}/v1",
    )
    async with started(settings, folder / "app.log", session) as base_url:
        yield House(sso, Client(base_url, ADMIN_KEY, session), settings, url)
    assert "Traceback" not in (folder / "app.log").read_text()
