"""The audit trail over HTTP and from the command line: what is done is in it, and who reads it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import ADMIN_KEY
from tests.e2e.running import Client, environment
from tests.e2e.test_bad_input import assert_problem

ROUTE = "/v1/admin/audit"


async def events_of(caller: Client, **wanted: str) -> list[Any]:
    found = await caller.get(ROUTE, params={"order": "oldest", "limit": "200", **wanted})
    assert found.status == 200, found.raw
    items: list[Any] = found.json["items"]
    return items


async def test_what_somebody_does_and_sees_is_in_the_trail(admin: Client) -> None:
    body = {"user_id": "audited", "scopes": ["ask", "ingest"]}
    key = (await admin.post("/v1/admin/api-keys", body)).json["key"]
    person = admin.with_key(key)
    document_id = await person.ingest("Зеркальный шкаф стоит 4 871 рубль.", "mirror.txt")
    await person.find("зеркальный шкаф", document_id)
    answer = (await person.post("/v1/ask", {"question": "Сколько стоит зеркальный шкаф?"})).json
    assert (await person.get(f"/v1/documents/{document_id}/text")).status == 200
    assert (await person.call("DELETE", f"/v1/documents/{document_id}")).status == 204

    trail = await events_of(admin, actor="audited")
    assert [
        (event["action"], event["target"]) for event in trail if event["action"] != "searched"
    ] == [
        ("document.accepted", document_id),
        ("asked", answer["answer_id"]),
        ("answered", answer["answer_id"]),
        ("document.read", document_id),
        ("document.deleted", document_id),
    ]
    searched, asked, answered = (
        next(event["details"] for event in trail if event["action"] == action)
        for action in ("searched", "asked", "answered")
    )
    assert document_id in asked["documents"]
    assert set(searched) == {"generation", "chunks", "documents"}
    assert answered["conversation"] == answer["conversation_id"]
    assert (answered["status"], answered["model"]) == (answer["status"], answer["model"])
    assert "шкаф" not in json.dumps(trail, ensure_ascii=False)
    assert key not in json.dumps(await events_of(admin, target="audited"))


async def test_pages_of_the_trail_leave_nothing_out(admin: Client) -> None:
    numbers: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await admin.get(ROUTE, params={"limit": "3", **cursor})).json
        numbers += [event["number"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert numbers == sorted(range(1, numbers[0] + 1), reverse=True)
    for bad in ("x", "-1", "9" * 40):
        assert_problem(await admin.get(ROUTE, params={"cursor": bad}), 422, "invalid_field")


async def test_an_export_proves_itself_and_a_forged_one_does_not(
    admin: Client, tmp_path: Path
) -> None:
    settings = environment(tmp_path, admin_key=ADMIN_KEY, http__port=urlsplit(admin.base_url).port)

    def opora(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "app.cli", "audit", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    assert opora("verify").returncode == 0
    exported = opora("export").stdout
    file = tmp_path / "trail.jsonl"
    file.write_text(exported)
    whole = opora("verify", str(file), "--json")
    assert whole.returncode == 0, whole.stderr
    head = json.loads(whole.stdout)["head"]
    assert opora("verify", str(file), "--head", head).returncode == 0
    lines = exported.splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    assert opora("verify", str(file), "--head", head).returncode == 1
    file.write_text("".join(lines).replace('"actor": "admin"', '"actor": "eve"', 1))
    forged = opora("verify", str(file))
    assert forged.returncode == 1
    assert "is not what was recorded" in forged.stdout
    file.write_text("{}\n")
    assert "event 1 is no event" in opora("verify", str(file)).stderr
