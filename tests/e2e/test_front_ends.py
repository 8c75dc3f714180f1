"""A front end's users: rights follow the person of its signed header, and nobody else."""

import base64
import json
import time
from typing import Any

import jwt
import pytest

from tests.e2e.conftest import USER_HEADER_SECRET
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Answered, Client
from tests.e2e.test_bad_input import assert_problem
from tests.e2e.test_contract import key_for

HEADER = "X-OpenWebUI-User-Jwt"
QUESTION = "Какой пароль у сейфа Барсук?"
SECRET = "Пароль сейфа Барсук — 5519."


def signed(secret: str = USER_HEADER_SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as Open WebUI 0.12 makes it."""
    moment = int(time.time())
    base = {"name": "Ann", "role": "admin", "iss": "open-webui", "iat": moment}
    return jwt.encode(base | {"exp": moment + 300} | claims, secret, algorithm)


async def through(front_end: Client, token: str | None, path: str = "/v1/search") -> Answered:
    """A call of the front end for somebody."""
    headers = front_end.headers | ({HEADER: token} if token else {})
    body = {"query": "пароль сейфа барсук"}
    async with front_end.session.post(
        front_end.base_url + path, json=body, headers=headers
    ) as response:
        seen = {name.lower(): value for name, value in response.headers.items()}
        return Answered(response.status, seen, await response.read())


async def finds(front_end: Client, token: str | None) -> bool:
    answered = await through(front_end, token)
    assert answered.status == 200, answered.raw
    return any("5519" in passage["text"] for passage in answered.json["passages"])


async def test_rights_follow_the_person_of_the_signed_header(admin: Client) -> None:
    document_id = await admin.ingest(SECRET, readers=["user:ann@house.example", "user:front-end"])
    await admin.find("сейф барсук", document_id)
    front_end = await key_for(admin, "front-end", "ask")
    await key_for(admin, "ann@house.example", "ask")
    await key_for(admin, "bob@house.example", "ask")
    for claims, seen in (
        ({"sub": "6c1f", "email": "ann@house.example"}, True),
        ({"sub": "6c1f", "email": "Ann@House.example"}, True),
        ({"sub": "ann@house.example"}, True),
        ({"sub": "6c1f", "email": "bob@house.example"}, False),
        ({"sub": "bob@house.example", "email": "ann@house.example"}, False),
        ({"sub": "6c1f", "email": "stranger@house.example"}, False),
        ({"sub": "admin"}, False),
    ):
        assert await finds(front_end, signed(**claims)) == seen, claims
        assert await finds(admin, signed(**claims)) == seen, claims
    assert await finds(front_end, None)
    plain = {"X-OpenWebUI-User-Email": "bob@house.example", "X-OpenWebUI-User-Role": "admin"}
    async with front_end.session.post(
        front_end.base_url + "/v1/search",
        json={"query": "пароль сейфа барсук"},
        headers=front_end.headers | plain,
    ) as response:
        assert "5519" in await response.text()  # the key's own rights: unsigned names count nothing
    for path in ("/v1/admin/api-keys", "/v1/assistants"):
        refused = await through(admin, signed(sub="ann@house.example"), path)
        assert refused.status == 403
    await admin.call("DELETE", f"/v1/documents/{document_id}")


def unsigned() -> str:
    """A token that says it needs no signature."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "ann", "exp": int(time.time()) + 300})
    head, body = (base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts)
    return f"{head.decode()}.{body.decode()}."


@pytest.mark.parametrize(
    "token",
    [
        signed(secret="another-secret-of-at-least-32-characters", sub="ann"),
        signed(sub="ann", exp=int(time.time()) - 3600),
        signed(sub="ann", algorithm="HS512"),
        signed(sub="", email=" "),
        unsigned(),
        "not-a-token",
    ],
)
async def test_a_header_that_is_not_good_lets_nobody_in(admin: Client, token: str) -> None:
    assert_problem(await through(admin, token), 401, "unauthenticated")


async def test_the_person_needs_a_front_end_that_may_ask(admin: Client) -> None:
    ingests = await key_for(admin, "robot", "ingest")
    answered = await through(ingests, signed(sub="ann"))
    assert_problem(answered, 403, "forbidden")


async def test_conversations_belong_to_the_person(admin: Client, healthy: EchoServer) -> None:
    front_end = await key_for(admin, "front-end", "ask")
    message = {"role": "user", "content": "Сколько дней отпуска полагается сотруднику?"}
    token = signed(sub="con-person")
    async with front_end.session.post(
        front_end.base_url + "/v1/chat/completions",
        json={"messages": [message]},
        headers=front_end.headers | {HEADER: token},
    ) as response:
        assert response.status == 200
    person = await key_for(admin, "con-person", "ask")
    assert len((await person.get("/v1/conversations")).json["items"]) == 1


async def test_open_webui_gets_sources_as_its_events(admin: Client, healthy: EchoServer) -> None:
    message = {"role": "user", "content": "Сколько дней отпуска полагается сотруднику?"}
    for headers, wants_events in (
        (admin.headers | {HEADER: signed(sub="zoe")}, True),
        (admin.headers, False),
    ):
        async with admin.session.post(
            admin.base_url + "/v1/chat/completions",
            json={"messages": [message], "stream": True},
            headers=headers,
        ) as response:
            lines = (await response.read()).splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        events = [chunk["event"] for chunk in chunks if "event" in chunk]
        annotated = [
            c for c in chunks if c["choices"] and "annotations" in c["choices"][0]["delta"]
        ]
        assert bool(events) == (not annotated) == wants_events
        listed = [e["data"] for e in events] or annotated[0]["sources"]
        assert "28" in listed[0]["document"][0]
        assert listed[0]["metadata"][0]["source"] == listed[0]["source"]["id"]
        assert len(listed[0]["document"]) == len(listed[0]["metadata"])
        assert all(event["type"] == "source" for event in events)
