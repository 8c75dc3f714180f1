"""Sources over HTTP and from the command line of a running Opora."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import logs
from tests.e2e.running import Client, Process, environment, until
from tests.integration.source_house import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "share"
    write(root, {"a.txt": "Шлагбаум открывает охрана.", "deep/b.txt": "Турникет чинит завхоз."})
    return root


async def synced(admin: Client, source_id: str, query: str = "") -> Any:
    started = await admin.post(f"/v1/sources/{source_id}/sync{query}")
    assert started.status == 202, started.raw
    job = await admin.ended_job(started.json["job_id"])
    report = await admin.get(f"/v1/sources/{source_id}/syncs/{job['job_id']}")
    return {**job, **report.json}


async def test_source_from_its_making_to_its_end(admin: Client, folder: Path) -> None:
    body = {"name": "Шлагбаум", "kind": "folder", "url": str(folder), "readers": ["user:anna"]}
    made = await admin.post("/v1/sources", body)
    assert made.status == 201, made.raw
    source_id = made.json["source_id"]
    assert (await admin.post("/v1/sources", body)).status == 409
    planned = await synced(admin, source_id, "?dry_run=true")
    assert (planned["state"], planned["counts"]["added"]) == ("succeeded", 2)
    assert await admin.holders("шлагбаум") == set()
    done = await synced(admin, source_id)
    assert (done["state"], done["counts"]["added"]) == ("succeeded", 2)
    assert done["progress"] == {"done": 2, "total": 2, "unit": "files"}

    async def found() -> set[str]:
        return await admin.holders("шлагбаум")

    (document_id,) = await until(found)
    document = await admin.document(document_id)
    assert document["readers"] == ["user:anna"]
    assert document["source_id"] == source_id
    put = await admin.upload("Другое.", document_id=document_id)
    assert put.status == 409
    shown = (await admin.get(f"/v1/sources/{source_id}")).json
    assert (shown["documents"], shown["last_sync"]["job_id"]) == (2, done["job_id"])

    assert (await admin.call("DELETE", f"/v1/sources/{source_id}")).status == 204
    assert (await admin.get(f"/v1/documents/{document_id}")).status == 404
    assert (await admin.get(f"/v1/sources/{source_id}")).status == 404


async def test_sources_are_for_admins(admin: Client, folder: Path) -> None:
    key = await admin.post("/v1/admin/api-keys", {"user_id": "eve", "scopes": ["ingest", "ask"]})
    eve = admin.with_key(key.json["key"])
    body = {"name": "eve", "kind": "folder", "url": str(folder)}
    assert (await eve.post("/v1/sources", body)).status == 403
    assert (await eve.get("/v1/sources")).status == 403
    assert (await eve.post("/v1/sources/src_1/sync")).status == 403


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": ""}, "url"),
        ({"kind": "ftp"}, "kind"),
        ({"schedule": "now and then"}, "schedule"),
        ({"readers": ["anna"]}, "readers"),
        ({"options": {"allow_networks": ["everywhere"]}}, "options.allow_networks"),
        ({"options": {"pasword": "geheim-81"}}, "options.pasword"),
        ({"kind": "sitemap", "url": "http://a:geheim-81@host/s.xml"}, "url"),
    ],
)
async def test_source_that_cannot_work_is_refused(
    admin: Client, folder: Path, changes: dict[str, Any], field: str
) -> None:
    body = {"name": "wrong", "kind": "folder", "url": str(folder), **changes}
    answered = await admin.post("/v1/sources", body)
    assert answered.status == 422, answered.raw
    assert answered.json["detail"].startswith(field)
    assert "geheim-81" not in answered.raw.decode()


async def test_secrets_are_in_no_answer_and_no_log(admin: Client, opora: Process) -> None:
    secret = "geheim-5d2e"
    options = {"username": "anna", "password": secret, "allow_networks": ["127.0.0.0/8"]}
    body = {
        "name": "wiki",
        "kind": "sitemap",
        "url": "http://127.0.0.1:9/s.xml",
        "options": options,
    }
    made = await admin.post("/v1/sources", body)
    source_id = made.json["source_id"]
    job = await admin.ended_job((await admin.post(f"/v1/sources/{source_id}/sync")).json["job_id"])
    assert job["error"]["code"] == "source_unavailable"
    changed = await admin.call("PATCH", f"/v1/sources/{source_id}", json={"schedule": 3600})
    assert (changed.status, changed.json["schedule"]) == (200, 3600)
    answers = [
        made.raw,
        changed.raw,
        (await admin.get("/v1/sources")).raw,
        json.dumps(job).encode(),
    ]
    assert all(secret.encode() not in raw for raw in answers)
    assert made.json["secrets"] == ["password"]
    assert secret not in logs(opora.log_path.parent / "data") + opora.output
    moved = {"url": "http://127.0.0.1:10/s.xml"}
    assert (await admin.call("PATCH", f"/v1/sources/{source_id}", json=moved)).status == 422
    assert (await admin.call("DELETE", f"/v1/sources/{source_id}")).status == 204


async def test_command_line(admin: Client, opora: Process, folder: Path, admin_key: str) -> None:
    port = admin.base_url.rpartition(":")[2]
    settings = environment(opora.log_path.parent / "data", admin_key=admin_key, http__port=port)

    def opora_sources(*arguments: str) -> Any:
        command = [sys.executable, "-m", "app.cli", "sources", *arguments, "--json"]
        ended = subprocess.run(command, env=settings, capture_output=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    write(folder, {"program": b"\x7fELF\2\1\1" + bytes(60)})
    opora_sources("add", "cli", str(folder), "--exclude", "deep/", "--reader", "user:anna")
    report = opora_sources("sync", "cli")
    assert (report["counts"]["added"], report["counts"]["skipped"]) == (1, 1)
    (skipped,) = opora_sources("skipped", "cli")["items"]
    assert skipped["key"] == "program"
    assert "cli" in {source["name"] for source in opora_sources("list")["items"]}
    assert opora_sources("remove", "cli")["removed"]
