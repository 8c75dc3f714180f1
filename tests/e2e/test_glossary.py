"""The glossary over HTTP and from the command line."""

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.domain.glossary import MOST_BYTES
from tests.conftest import ADMIN_KEY
from tests.e2e.conftest import MOST_BODY_BYTES
from tests.e2e.running import Answered, Client, environment
from tests.e2e.test_bad_input import assert_problem

ROUTE = "/v1/admin/glossary"
FILE = (
    "term,expansions,language\n"
    "ДМС,добровольное медицинское страхование; полис,ru\n"
    "red tag,красная бирка,\n"
)
BROKEN = "term,expansions\nДМС,полис\nVPN\n,пусто\n"


@pytest.fixture
async def clean(admin: Client) -> AsyncIterator[Client]:
    """An admin; the glossary is empty again after the test."""
    yield admin
    assert (await admin.call("DELETE", ROUTE)).status == 204


async def put(caller: Client, file: str | bytes) -> Answered:
    raw = file.encode() if isinstance(file, str) else file
    return await caller.call("PUT", ROUTE, data=io.BytesIO(raw))


async def test_glossary_from_file_to_removal(clean: Client) -> None:
    assert (await clean.get(ROUTE)).json == {"terms": [], "updated_at": None}
    taken = await put(clean, FILE)
    assert (taken.status, taken.json["terms"]) == (200, 2)
    stored = await clean.get(ROUTE)
    assert stored.json == {
        "terms": [
            {
                "term": "ДМС",
                "expansions": ["добровольное медицинское страхование", "полис"],
                "language": "ru",
            },
            {"term": "red tag", "expansions": ["красная бирка"], "language": None},
        ],
        "updated_at": taken.json["updated_at"],
    }
    async with clean.session.get(
        clean.base_url + ROUTE, headers=clean.headers | {"Accept": "text/csv"}
    ) as response:
        assert response.content_type == "text/csv"
        assert await response.text("utf-8") == FILE
    assert (await clean.call("DELETE", ROUTE)).status == 204
    assert (await clean.get(ROUTE)).json == {"terms": [], "updated_at": None}


async def test_broken_lines_are_named_and_nothing_is_taken_over(clean: Client) -> None:
    await put(clean, FILE)
    before = (await clean.get(ROUTE)).json
    answered = await put(clean, BROKEN)
    body: dict[str, Any] = answered.json
    assert (answered.status, body["code"]) == (422, "invalid_lines")
    assert [error["line"] for error in body["errors"]] == [3, 4]
    assert "1 columns" in body["errors"][0]["reason"]
    assert "term is empty" in body["errors"][1]["reason"]
    assert "line 3: " in body["detail"]
    assert (await clean.get(ROUTE)).json == before


@pytest.mark.parametrize("file", [b"", b"\xff\xfe", b"\0", b"{}", "ё".encode("cp1251")])
async def test_what_is_no_glossary_is_422(admin: Client, file: bytes) -> None:
    answered = await put(admin, file)
    assert (answered.status, answered.json["errors"][0]["line"]) == (422, 1)


async def test_file_may_be_larger_than_other_bodies(clean: Client) -> None:
    rows = [f"слово {number},{'другое слово; ' * 20}" for number in range(500)]
    file = "\n".join(["term,expansions", *rows])
    assert len(file) > MOST_BODY_BYTES
    assert (await put(clean, file)).json["terms"] == 500


async def test_file_over_the_limit_is_413(admin: Client) -> None:
    assert_problem(await put(admin, b"x" * (MOST_BYTES + 1)), 413, "body_too_large")


async def test_glossary_is_for_admins(admin: Client) -> None:
    body = {"user_id": "reader", "scopes": ["ask", "ingest"]}
    made = (await admin.post("/v1/admin/api-keys", body)).json
    reader = admin.with_key(made["key"])
    for method in ("GET", "PUT", "DELETE"):
        assert_problem(await reader.call(method, ROUTE), 403, "forbidden")


async def test_command(clean: Client, tmp_path: Path) -> None:
    settings = environment(tmp_path, admin_key=ADMIN_KEY, http__port=urlsplit(clean.base_url).port)

    def opora(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "app.cli", "glossary", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)

    for name, file in (("glossary.csv", FILE), ("broken.csv", BROKEN)):
        (tmp_path / name).write_text(file, encoding="utf-8")
    assert opora("set", str(tmp_path / "glossary.csv")).stdout == "2 terms are taken over\n"
    assert opora("show").stdout == FILE
    assert json.loads(opora("show", "--json").stdout) == (await clean.get(ROUTE)).json
    refused = opora("set", str(tmp_path / "broken.csv"))
    assert refused.returncode == 1
    assert "line 3: has 1 columns" in refused.stderr
    assert "line 4: the term is empty" in refused.stderr
    assert opora("show").stdout == FILE
    assert opora("clear").stdout == "the glossary is empty\n"
    assert opora("show").stdout == "term,expansions,language\n"
