"""The access matrix: each operation as each kind of caller, over the running app's own OpenAPI."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from fastapi.routing import APIRoute

from app.api.dependencies import Admin, Asker, Auditor, Ingester, Reader
from app.domain.access import Role, Scope
from app.main import ROUTES
from tests.e2e.running import Client
from tests.identity.conftest import House

TABLE = Path(__file__).with_name("access_matrix.txt")
MEANING = {"-": {401}, "no": {403}, "yes": {200, 202, 204, 404, 422}, "open": {200, 503}}


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The kinds of callers, and for each operation what each of them gets."""
    lines = [line for line in TABLE.read_text().splitlines() if line and line[0] != "#"]
    kinds = lines[0].split()[1:]
    rows = {}
    for line in lines[1:]:
        method, path, *cells = line.split()
        assert len(cells) == len(kinds), line
        rows[f"{method} {path}"] = cells
    return kinds, rows


KINDS, ROWS = table()


def operations(schema: dict[str, Any]) -> set[str]:
    """What an OpenAPI description lists."""
    return {f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item}


async def callers(house: House) -> dict[str, Client]:
    """One caller of each kind, with a real credential."""
    found = {"nobody": house.admin.with_key(None)}
    for role in Role:
        found[role] = await house.service(role)
        assert (await found[role].get("/v1/models")).status in (200, 403)
        await house.change(await house.user_id(role), roles=[role])
    for scope in Scope:
        found[f"key:{scope}"] = await house.key(f"robot-{scope}", scope)
    found["disabled"] = await house.service("disabled")
    assert (await found["disabled"].get("/v1/models")).status == 200
    await house.change(await house.user_id("disabled"), disabled=True, roles=["admin"])
    return found


async def test_each_operation_answers_each_caller_as_the_table_says(house: House) -> None:
    schema = (await house.admin.with_key(None).get("/openapi.json")).json
    assert operations(schema) == set(ROWS)
    known = await callers(house)
    assert set(known) == set(KINDS)
    wrong = []
    for operation, cells in ROWS.items():
        method, path = operation.split()
        for kind, cell in zip(KINDS, cells, strict=True):
            body = {} if method in ("GET", "DELETE") else {"json": {"no_such_field": 1}}
            answered = await known[kind].call(method, re.sub(r"{.*?}", "none_x", path), **body)
            if answered.status not in MEANING[cell]:
                wrong.append(f"{operation} as {kind}: {answered.status} instead of {cell}")
    assert not wrong, "\n".join(wrong)


def routes() -> dict[str, APIRoute]:
    """The routes in the code, by their operations."""
    found = [route for module in ROUTES for route in module.router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    return {
        f"{method} {route.path_format}": route
        for route in found
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def test_a_new_route_needs_a_row() -> None:
    """The same without a running app, so that it fails everywhere."""
    assert set(routes()) == set(ROWS)


def test_each_route_is_authorized_once() -> None:
    kinds = (Admin, Asker, Auditor, Ingester, Reader)
    checks = {get_args(kind)[1].dependency for kind in kinds}
    assert len(checks) == len(kinds)
    for operation, route in routes().items():
        used = [each for each in route.dependant.dependencies if each.call in checks]
        assert len(used) == (ROWS[operation][0] != "open"), operation


Call = tuple[str, str, dict[str, Any]]


async def alike(eve: Client, seen_id: str, missing_id: str, calls: Sequence[Call]) -> None:
    """Both answers are the same bytes, but for the request's own id and the clock."""
    for method, path, options in calls:
        answers = []
        for thing in (seen_id, missing_id):
            answered = await eve.call(method, path % thing, **options)
            assert answered.status == 404, (method, path, answered.raw)
            request_id = answered.headers.pop("x-request-id")
            answered.headers.pop("date")
            answers.append((answered.headers, answered.raw.replace(request_id.encode(), b"ID")))
        assert answers[0] == answers[1], (method, path)


async def test_missing_and_forbidden_are_the_same_bytes(house: House) -> None:
    accepted = (await house.admin.upload("Тайна.", readers=["user:boss"])).json
    eve = await house.key("eve", "ask", "ingest")
    title: dict[str, Any] = {"json": {"title": "x"}}
    document: list[Call] = [
        ("GET", "/v1/documents/%s", {}),
        ("GET", "/v1/documents/%s/content", {}),
        ("GET", "/v1/documents/%s/text", {}),
        ("GET", "/v1/documents/%s/chunks", {}),
        ("PATCH", "/v1/documents/%s", title),
        ("DELETE", "/v1/documents/%s", {}),
    ]
    await alike(eve, accepted["document_id"], "doc_1", document)
    job: list[Call] = [
        ("GET", "/v1/jobs/%s", {}),
        ("GET", "/v1/jobs/%s/events", {}),
        ("POST", "/v1/jobs/%s/cancel", {}),
        ("POST", "/v1/jobs/%s/retry", {}),
        ("POST", "/v1/jobs/%s/close", {}),
    ]
    await alike(eve, accepted["job_id"], "job_1", job)
    hidden = {"name": "board", "readers": ["user:boss"]}
    seen = {"name": "news", "readers": ["public"], "editors": ["user:boss"]}
    for body in (hidden, seen):
        assert (await house.admin.post("/v1/collections", body)).status == 201
    for name, status in (("board", 404), ("nothing", 404), ("news", 403)):
        assert (await eve.upload("Подмётное письмо.", collection=name)).status == status


async def test_lists_hold_nothing_that_the_caller_may_not_see(house: House) -> None:
    eve = await house.key("eve", "ask", "ingest")
    await house.admin.upload("Ещё тайна.", "boardroom.txt", readers=["user:boss"])
    for path in ("/v1/documents", "/v1/collections", "/v1/jobs", "/v1/documents?q=board"):
        answered = await eve.get(path)
        assert answered.status == 200
        assert b"board" not in answered.raw
