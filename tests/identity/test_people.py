"""People, groups and roles: who is who, what it gives, and how it ends."""

import asyncio
from typing import Any

import pytest

from tests.e2e.running import Answered, Client
from tests.e2e.test_bad_input import assert_problem
from tests.faults.server import free_port
from tests.identity.conftest import House, started
from tests.identity.provider import claims_for


async def group(house: House, group_id: str, *members: str, **more: Any) -> None:
    """Make a group."""
    body = {"group_id": group_id, "members": list(members)} | more
    made = await house.admin.post("/v1/admin/groups", body)
    assert made.status == 201, made.raw


async def document(house: House, *readers: str) -> str:
    """A document with these readers."""
    made = await house.admin.upload(f"Для {readers}.", readers=list(readers))
    assert made.status == 202, made.raw
    return str(made.json["document_id"])


async def sees(caller: Client, document_id: str) -> bool:
    status = (await caller.get(f"/v1/documents/{document_id}")).status
    assert status in (200, 404)
    return status == 200


def forged(house: House, subject: str, **claims: Any) -> Client:
    """Somebody of the provider with any claims."""
    claims = claims_for(house.provider, sub=subject, **claims)
    return house.admin.with_key(house.provider.keys[0].sign(claims))


async def test_a_person_is_issuer_and_subject_never_an_address(house: House) -> None:
    anna, other = await house.person("anna"), await house.person("other-anna")
    for caller in (anna, other, await house.person("anna")):
        assert (await caller.get("/v1/models")).status == 200
    ids = [await house.user_id(name) for name in ("anna", "other-anna")]
    assert len({*ids, "anna", "anna@house.example"}) == 4
    user = (await house.admin.get(f"/v1/admin/users/{ids[0]}")).json
    assert user | {"name": "Anna", "issuer": house.provider.issuer, "roles": []} == user
    own = await document(house, f"user:{ids[0]}")
    address = await document(house, "user:anna@house.example", "user:anna")
    assert await sees(anna, own)
    assert not await sees(other, own)
    assert not await sees(anna, address)


async def test_groups_of_the_token_and_of_opora_count_together(house: House) -> None:
    anna, boris = await house.person("anna"), await house.person("boris")
    assert (await boris.get("/v1/models")).status == 200
    boris_id = await house.user_id("boris")
    await group(house, "everyone", "group:office")
    await group(house, "heads", f"user:{boris_id}")
    await group(house, "board", "group:heads")
    assert (await house.admin.get("/v1/admin/groups/office")).json["members"] == []
    for reader, of_anna, of_boris in (
        ("group:office", True, False),
        ("group:everyone", True, False),
        ("group:guests", False, True),
        ("group:heads", False, True),
        ("group:board", False, True),
        ("group:nobody", False, False),
    ):
        document_id = await document(house, reader)
        assert (await sees(anna, document_id), await sees(boris, document_id)) == (
            of_anna,
            of_boris,
        ), reader
    board = await document(house, "group:board")
    for body, seen in (
        ({"disabled": True}, False),
        ({"disabled": False}, True),
        ({"members": []}, False),
        ({"members": [f"user:{boris_id}", "group:board"]}, True),  # a circle does no harm
    ):
        changed = await house.admin.call("PATCH", "/v1/admin/groups/heads", json=body)
        assert changed.status == 200, changed.raw
        assert await sees(boris, board) == seen, body
    assert (await house.admin.call("DELETE", "/v1/admin/groups/heads")).status == 204
    assert not await sees(boris, board)
    assert_problem(await house.admin.get("/v1/admin/groups/heads"), 404, "not_found")


async def test_group_with_a_path_and_cyrillic_letters(house: House) -> None:
    await group(house, "Отдел кадров/начальники", name="Начальники")
    caller = forged(house, "hr-head", groups=["/Отдел кадров/начальники"])
    assert await sees(caller, await document(house, "group:Отдел кадров/начальники"))
    path = "/v1/admin/groups/Отдел кадров/начальники"
    assert (await house.admin.get(path)).json["name"] == "Начальники"
    assert (await house.admin.call("DELETE", path)).status == 204


async def test_roles_come_from_the_person_and_the_groups(house: House) -> None:
    caller = forged(house, "riser", groups=["guards"])

    async def may() -> list[bool]:
        calls = (("/v1/models"), ("/v1/jobs"), ("/v1/admin/users"), ("/v1/sources"))
        return [(await caller.get(path)).status == 200 for path in calls]

    assert await may() == [True, False, False, False]
    user_id = await house.user_id("riser")
    await house.change(user_id, roles=["auditor"])
    assert await may() == [False, False, True, False]
    await house.change(user_id, roles=["auditor", "editor"])
    assert await may() == [True, True, True, False]
    await house.change(user_id, roles=[])
    await group(house, "guards", roles=["admin"])
    assert await may() == [True, True, True, True]
    await house.admin.call("PATCH", "/v1/admin/groups/guards", json={"disabled": True})
    assert await may() == [True, False, False, False]


async def test_disabled_is_refused_at_once_in_every_process(house: House) -> None:
    log = house.provider.tmp / "second-app.log"
    settings = house.settings | {"OPORA_HTTP__PORT": str(free_port())}
    async with started(settings, log, house.admin.session) as other_url:
        signed_in, key = forged(house, "leaver"), await house.key("leaver-bot", "ask")
        assert (await signed_in.get("/v1/models")).status == 200
        user_id = await house.user_id("leaver")
        everywhere = [signed_in, key]
        everywhere += [Client(other_url, c.key, c.session) for c in (signed_in, key)]
        for disabled in (True, False, True):
            await house.change(user_id, disabled=disabled)
            await house.change("leaver-bot", disabled=disabled)
            statuses = {(await caller.get("/v1/models")).status for caller in everywhere}
            assert statuses == ({401} if disabled else {200})


async def test_who_is_deleted_stays_out_and_nobody_inherits(house: House) -> None:
    signed_in, key = forged(house, "gone"), await house.key("gone-bot", "ask")
    assert (await signed_in.get("/v1/models")).status == 200
    user_id = await house.user_id("gone")
    for one in (user_id, "gone-bot"):
        path = f"/v1/admin/users/{one}"
        assert (await house.admin.call("DELETE", path)).status == 204
        assert_problem(await house.admin.get(path), 404, "not_found")
        again = await house.admin.post("/v1/admin/users", {"user_id": one})
        assert_problem(again, 409, "conflict")
        body = {"user_id": one, "scopes": ["ask"]}
        assert_problem(await house.admin.post("/v1/admin/api-keys", body), 409, "conflict")
    for caller in (signed_in, key):
        assert (await caller.get("/v1/models")).status == 401
    identity = {"issuer": house.provider.issuer, "subject": "gone"}
    back = await house.admin.post("/v1/admin/users", {"user_id": "gone-2"} | identity)
    assert back.status == 201
    assert (await signed_in.get("/v1/models")).status == 200
    body = {"group_id": "of-the-gone", "members": ["user:gone-bot"]}
    assert_problem(await house.admin.post("/v1/admin/groups", body), 422, "invalid_field")
    taken = await house.admin.post("/v1/admin/users", {"user_id": "gone-3"} | identity)
    assert_problem(taken, 409, "conflict")


async def test_a_person_is_prepared_before_the_first_sign_in(house: House) -> None:
    body = {
        "user_id": "vera",
        "issuer": house.provider.issuer,
        "subject": "3f2a",
        "roles": ["editor"],
        "groups": ["prepared"],
    }
    assert (await house.admin.post("/v1/admin/users", body)).status == 201
    assert_problem(await house.admin.post("/v1/admin/users", body), 409, "conflict")
    await house.key("vera-bot", "ask")
    completed = await house.admin.post("/v1/admin/users", {"user_id": "vera-bot", "name": "Vera"})
    assert (completed.status, completed.json["name"]) == (201, "Vera")
    vera = forged(house, "3f2a")
    assert await sees(vera, await document(house, "user:vera"))
    assert await sees(vera, await document(house, "group:prepared"))
    assert (await vera.get("/v1/jobs")).status == 200


async def test_the_first_calls_of_somebody_new_make_one_user(house: House) -> None:
    caller = forged(house, "hasty")
    answered = await asyncio.gather(*(caller.get("/v1/models") for _ in range(20)))
    assert {one.status for one in answered} == {200}
    assert await house.user_id("hasty")


async def test_editors_of_a_collection(house: House) -> None:
    body = {"name": "rules", "readers": ["public"], "editors": ["group:writers"]}
    assert (await house.admin.post("/v1/collections", body)).status == 201
    writer = forged(house, "writer", groups=["writers"])
    other = forged(house, "other-editor")
    for caller, subject in ((writer, "writer"), (other, "other-editor")):
        assert (await caller.get("/v1/models")).status == 200
        await house.change(await house.user_id(subject), roles=["editor"])

    async def change(caller: Client, document_id: str) -> list[Answered]:
        path = f"/v1/documents/{document_id}"
        return [
            await caller.call("PATCH", path, json={"title": "Правила"}),
            await caller.upload("Правила второй раз.", document_id=document_id),
            await caller.call("DELETE", path),
        ]

    accepted = await writer.upload("Правила.", collection="rules")
    assert accepted.status == 202
    rules = accepted.json["document_id"]
    for refused in (await other.upload("Чужое.", collection="rules"), *await change(other, rules)):
        assert "editors" in assert_problem(refused, 403, "forbidden")
    for deed in ("cancel", "retry"):
        assert (await other.post(f"/v1/jobs/{accepted.json['job_id']}/{deed}")).status == 403
    own = (await other.upload("Своё.")).json["document_id"]
    moved = await other.call("PATCH", f"/v1/documents/{own}", json={"collection": "rules"})
    assert moved.status == 403
    assert [one.status for one in await change(writer, rules)] == [200, 202, 204]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none", None])
async def test_pages_of_other_sites_change_nothing(house: House, site: str | None) -> None:
    """A reverse proxy that adds the token to whatever a browser sends relies on this."""
    headers = house.admin.headers | ({"Sec-Fetch-Site": site} if site else {})
    for method, status in (("POST", 201), ("GET", 200)):
        body = {"user_id": "page", "scopes": ["ask"]} if method == "POST" else None
        url = f"{house.admin.base_url}/v1/admin/api-keys"
        async with house.admin.session.request(method, url, json=body, headers=headers) as answered:
            foreign = method == "POST" and site in ("cross-site", "same-site")
            assert answered.status == (403 if foreign else status)


async def test_nobody_shuts_oneself_out(house: House) -> None:
    path = "/v1/admin/users/admin"
    for answered in (
        await house.admin.call("DELETE", path),
        await house.admin.call("PATCH", path, json={"disabled": True}),
    ):
        assert_problem(answered, 409, "conflict")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "x", "roles": ["king"]},
        {"user_id": "x", "roles": None},
        {"user_id": "x", "groups": ["a\x00"]},
        {"user_id": "x", "subject": "s"},
        {"user_id": "x y"},
        {"user_id": "x", "e_mail": "x@y.example"},
    ],
)
async def test_bad_users_are_422(house: House, body: dict[str, Any]) -> None:
    assert_problem(await house.admin.post("/v1/admin/users", body), 422, "invalid_field")
    assert (await house.admin.get("/v1/admin/users/x")).status == 404


async def test_lists_of_users_and_groups_page(house: House) -> None:
    for kind, key in (("users", "user_id"), ("groups", "group_id")):
        for n in range(3):
            await house.admin.post(f"/v1/admin/{kind}", {key: f"paged-{n}"})
        whole = (await house.admin.get(f"/v1/admin/{kind}?limit=200")).json["items"]
        paged: list[Any] = []
        cursor = ""
        while cursor is not None:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await house.admin.get(f"/v1/admin/{kind}", params=params)).json
            paged, cursor = paged + page["items"], page["next_cursor"]
        assert paged == whole
        assert len(whole) >= 3
