"""Folders and stores as sources: what they hold is what Opora holds, and nothing is lost."""

import asyncio
import errno
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pytest
from sqlalchemy import select, text

from app.db.base import now
from app.db.models import Job
from app.db.repositories.jobs import OPEN
from app.domain.documents import DocumentStatus, JobState
from app.domain.errors import Conflict, InvalidField, NotFound, SourceUnavailable
from app.domain.source_options import SourceOptions
from app.domain.sources import Held, SourceKind, SyncReport, make_plan
from app.services.source_documents import SourceDocuments
from app.services.sources import SyncRequest
from ingestion.sources.readers import build_reader
from ingestion.sources.reading import Limits
from ingestion.sources.stores import StoreReader
from tests.integration.house import ADMIN, House, member
from tests.integration.source_house import SourceHouse, happened, write

FILES: dict[str, str | bytes] = {
    "отпуск.txt": "Заявление на отпуск подаётся за 14 дней.",
    "hr/pay.txt": "Зарплата выплачивается 5 и 20 числа.",
    "hr/old/rules.md": "# Правила\n\nПропуск носят на груди.",
    "it/vpn.html": "<html><body><p>VPN включают в гостинице.</p></body></html>",
}


@pytest.fixture
def sourced(house: House) -> SourceHouse:
    return SourceHouse(house)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "share"
    write(root, FILES)
    return root


async def test_folder_is_followed_file_by_file(sourced: SourceHouse, folder: Path) -> None:
    source = await sourced.add(folder)
    report = await sourced.sync(source)
    assert happened(report) == {"added": 4}
    documents = await sourced.documents(source.source_id)
    assert set(documents) == set(FILES)
    document, version = documents["hr/pay.txt"]
    assert version.status == DocumentStatus.LIVE
    assert (document.title, document.readers) == ("pay", ["public"])
    assert document.source_uri == (folder / "hr/pay.txt").as_uri()

    jobs = await sourced.jobs()
    assert happened(await sourced.sync(source)) == {"unchanged": 4}
    assert await sourced.jobs() == jobs + 1, "a sync of what did not change reads nothing"

    write(folder, {"hr/pay.txt": "Зарплата выплачивается 7 и 22 числа.", "new.txt": "Новое."})
    (folder / "it/vpn.html").unlink()
    os.utime(folder / "отпуск.txt", ns=(1, 1))
    report = await sourced.sync(source)
    assert happened(report) == {"added": 1, "changed": 1, "removed": 1, "unchanged": 2}
    assert report.names["removed"] == ["it/vpn.html"]
    assert await sourced.house.finds("22 числа") == {document.document_id}
    assert await sourced.house.finds("гостинице") == set()
    assert (await sourced.documents(source.source_id))["hr/pay.txt"][1].version == 2
    await sourced.house.assert_index_is_sql()

    write(folder, {"it/vpn.html": FILES["it/vpn.html"]})
    assert (await sourced.sync(source)).counts["added"] == 1
    assert len(await sourced.house.finds("гостинице")) == 1


async def test_dry_run_tells_and_changes_nothing(sourced: SourceHouse, folder: Path) -> None:
    source = await sourced.add(folder)
    report = await sourced.sync(source, dry_run=True)
    assert happened(report) == {"added": 4}
    assert sorted(report.names["added"]) == sorted(FILES)
    assert await sourced.documents(source.source_id) == {}
    await sourced.sync(source)
    write(folder, {"hr/pay.txt": "Иначе.", "new.txt": "Новое."})
    (folder / "it/vpn.html").unlink()
    before = await sourced.documents(source.source_id)
    report = await sourced.sync(source, dry_run=True)
    assert happened(report) == {"added": 1, "changed": 1, "removed": 1, "unchanged": 2}
    after = await sourced.documents(source.source_id)
    assert {key: row[1].version for key, row in after.items()} == dict.fromkeys(before, 1)
    assert happened(await sourced.sync(source)) == happened(report)


async def test_source_that_is_gone_deletes_nothing(sourced: SourceHouse, folder: Path) -> None:
    source = await sourced.add(folder)
    await sourced.sync(source)
    await asyncio.to_thread(folder.rename, folder.with_name("away"))
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "source_unavailable")
    assert str(folder) in str(job.error_message)
    assert len(await sourced.documents(source.source_id)) == 4

    await asyncio.to_thread(folder.mkdir)
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "removal_unconfirmed")
    assert "4 documents" in str(job.error_message)
    assert "force" in str(job.error_message)
    assert len(await sourced.documents(source.source_id)) == 4
    assert happened(await sourced.sync(source, force=True)) == {"removed": 4}
    assert await sourced.documents(source.source_id) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
async def test_folder_that_may_not_be_looked_into_keeps_its_documents(
    sourced: SourceHouse, folder: Path
) -> None:
    source = await sourced.add(folder)
    await sourced.sync(source)
    (folder / "hr").chmod(0)
    try:
        report = await sourced.sync(source)
    finally:
        (folder / "hr").chmod(0o755)
    assert happened(report) == {"unchanged": 2, "skipped": 1}
    assert len(await sourced.documents(source.source_id)) == 4


async def test_what_is_not_read_is_named_and_looked_at_once(
    sourced: SourceHouse, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"outside/secret.txt": "Чужая тайна."})
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "out.txt").symlink_to(tmp_path / "outside/secret.txt")
    (folder / "nowhere").symlink_to(folder / "missing")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "inside.txt").symlink_to(folder / "отпуск.txt")
    os.mkfifo(folder / "pipe")
    with open(os.fsencode(folder) + b"/\xff.txt", "wb") as file:  # noqa: ASYNC230, PTH123
        file.write("Имя не в UTF-8.".encode())
    write(folder, {"program": b"\x7fELF\2\1\1" + bytes(60), ".git/config": "x"})
    write(folder, {"~$pay.docx": b"lock", "big.txt": b"a" * 300})
    settings = sourced.house.services.settings.http
    monkeypatch.setitem(settings.__dict__, "max_upload_bytes", 200)
    source = await sourced.add(folder)
    report = await sourced.sync(source)
    assert happened(report) == {"added": 5, "skipped": 10}
    skipped = await sourced.skipped(source.source_id)
    for key, reason in {
        "out": "leads out",
        "out.txt": "leads out",
        "nowhere": "leads nowhere",
        "loop": "leads nowhere",
        "pipe": "no plain file",
        "\\xff.txt": "not UTF-8",
        "program": "an ELF program",
        ".git": "hidden",
        "~$pay.docx": "hidden",
        "big.txt": "larger than the limit of 200 bytes",
    }.items():
        assert reason in skipped[key]
    assert await sourced.house.finds("тайна") == set()

    (folder / "отпуск.txt").unlink()
    (folder / "отпуск.txt").symlink_to(tmp_path / "outside/secret.txt")
    report = await sourced.sync(source)
    assert report.counts["removed"] == 2, "the file and the link to it lead out of the folder now"
    assert await sourced.house.finds("тайна") == set()


async def test_rules_say_who_may_read_and_count_at_once(sourced: SourceHouse, folder: Path) -> None:
    rules = [
        {"glob": "hr/old/", "readers": ["user:olga"]},
        {"glob": "hr/", "readers": ["group:hr"]},
    ]
    source = await sourced.add(folder, readers=("group:staff",), rules=rules, exclude=["it/"])
    await sourced.sync(source)
    documents = await sourced.documents(source.source_id)
    readers = {key: row[0].readers for key, row in documents.items()}
    assert readers == {
        "отпуск.txt": ["group:staff"],
        "hr/pay.txt": ["group:hr"],
        "hr/old/rules.md": ["user:olga"],
    }
    pay = documents["hr/pay.txt"][0].document_id
    seen = await sourced.house.search("зарплата", scope=member("anna", "hr"))
    assert {passage.document_id for passage in seen} == {pay}
    seen = await sourced.house.search("зарплата", scope=member("olga", "staff"))
    assert pay not in {passage.document_id for passage in seen}

    options = SourceOptions.model_validate({"rules": [{"glob": "hr/", "readers": ["user:boss"]}]})
    await sourced.house.services.sources.change("admin", source.source_id, {"options": options})
    assert await sourced.house.search("зарплата", scope=member("anna", "hr")) == ()
    with pytest.raises(Conflict):
        await sourced.house.services.documents.change(ADMIN, pay, readers=["public"])


async def test_document_that_a_person_deleted_does_not_come_again(
    sourced: SourceHouse, folder: Path
) -> None:
    source = await sourced.add(folder)
    await sourced.sync(source)
    document, _ = (await sourced.documents(source.source_id))["hr/pay.txt"]
    await sourced.delete_document(document.document_id)
    write(folder, {"hr/pay.txt": "Зарплата выплачивается в полдень."})
    assert happened(await sourced.sync(source)) == {"withdrawn": 1, "unchanged": 3}
    assert await sourced.house.finds("зарплата") == set()


async def test_upload_of_the_same_bytes_outlives_the_file_of_the_source(
    sourced: SourceHouse, folder: Path
) -> None:
    source = await sourced.add(folder)
    await sourced.sync(source)
    uploaded = await sourced.house.add(FILES["hr/pay.txt"], "pay.txt")
    (folder / "hr/pay.txt").unlink()
    assert (await sourced.sync(source)).counts["removed"] == 1
    assert await sourced.house.finds("зарплата") == {uploaded}


async def test_deleted_source_takes_its_documents_along_or_leaves_them(
    sourced: SourceHouse, folder: Path
) -> None:
    sources = sourced.house.services.sources
    for keep in (True, False):
        source = await sourced.add(folder)
        await sourced.sync(source)
        await sources.delete("admin", source.source_id, keep_documents=keep)
        await sourced.house.services.index.catch_up()
        assert len(await sourced.house.finds("зарплата")) == 1
        assert await sourced.documents(source.source_id) == {}
        with pytest.raises(NotFound):
            await sources.request_sync("admin", SyncRequest(source.source_id))
    await sourced.house.assert_index_is_sql()


async def test_cancelled_sync_goes_on_the_next_time(sourced: SourceHouse, folder: Path) -> None:
    source = await sourced.add(folder)
    job_id = await sourced.start(source)
    with pytest.raises(Conflict, match=job_id):
        await sourced.start(source)
    with pytest.raises(Conflict, match=job_id):
        change = {"readers": ["user:olga"]}
        await sourced.house.services.sources.change("admin", source.source_id, change)
    await sourced.house.services.documents.cancel_job(ADMIN, job_id)
    assert (await sourced.ended(job_id)).state == JobState.CANCELLED
    assert await sourced.house.finds("зарплата") == set()
    assert happened(await sourced.sync(source)) == {"changed": 4}
    assert len(await sourced.house.finds("зарплата")) == 1


async def test_killed_sync_goes_on_and_makes_nothing_twice(
    sourced: SourceHouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await sourced.add(folder)
    take, taken = SourceDocuments.take, 0

    async def die_after_two(self: SourceDocuments, *args: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == 3:
            raise asyncio.CancelledError
        return await take(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SourceDocuments, "take", die_after_two)
        with pytest.raises(asyncio.CancelledError):
            await sourced.start(source)
    (job_id,) = [job.job_id for job in await open_jobs(sourced) if job.kind == "sync"]
    await sourced.house.tasks.run(job_id)
    assert (await sourced.ended(job_id)).state == JobState.SUCCEEDED
    assert happened(await sourced.report(job_id)) == {"added": 2, "unchanged": 2}
    assert set(await sourced.documents(source.source_id)) == set(FILES)
    assert len(await sourced.house.live_chunk_ids()) == 4


async def test_full_disk_lets_the_sync_wait(
    sourced: SourceHouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await sourced.add(folder)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", full)
        job = await sourced.house.job(await sourced.start(source))
        assert (job.state, job.error_code) == (JobState.QUEUED, "storage_unavailable")
        assert "No space left" in str(job.error_message)
    assert (await sourced.ended(job.job_id)).state == JobState.SUCCEEDED
    assert len(await sourced.documents(source.source_id)) == 4


async def test_worker_that_lost_its_job_changes_nothing(
    sourced: SourceHouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await sourced.add(folder)
    take = SourceDocuments.take

    async def lose_the_job(self: SourceDocuments, *args: Any) -> Any:
        async with sourced.house.services.database.transaction() as session:
            await session.execute(text("UPDATE job SET attempts = 2"))
        return await take(self, *args)

    monkeypatch.setattr(SourceDocuments, "take", lose_the_job)
    await sourced.start(source)
    assert await sourced.documents(source.source_id) == {}


async def open_jobs(sourced: SourceHouse) -> list[Job]:
    async with sourced.house.services.database.transaction() as session:
        return list((await session.scalars(select(Job).where(Job.state.in_(OPEN)))).all())


async def test_due_source_is_synced_once(sourced: SourceHouse, folder: Path) -> None:
    sources = sourced.house.services.sources
    source = await sourced.add(folder, schedule=3600)
    assert sum(await asyncio.gather(*(sources.sync_due() for _ in range(4)))) == 1
    assert await sourced.jobs() == 1
    async with sourced.house.services.database.transaction() as session:
        await session.execute(text("UPDATE source SET next_sync_at = now() - interval '1 s'"))
    assert await sources.sync_due() == 1
    assert await sourced.jobs() == 1, "its first sync has not ended"
    loaded = await sources.change("admin", source.source_id, {"schedule": None})
    assert loaded.next_sync_at is None
    await sourced.house.work()
    assert await sources.sync_due() == 0
    source = await sources.change("admin", source.source_id, {"schedule": "0 3 * * *"})
    assert source.next_sync_at is not None
    assert now() < source.next_sync_at <= now() + timedelta(days=1)


async def test_own_data_is_no_source(sourced: SourceHouse) -> None:
    data = sourced.house.services.settings.data
    for number, path in enumerate((data, data.parent, data / "blobs")):
        path.mkdir(parents=True, exist_ok=True)
        source = await sourced.add(path, name=str(number))
        job = await sourced.ended(await sourced.start(source))
        assert (job.state, job.error_code) == (JobState.FAILED, "source_refused")
        assert await sourced.documents(source.source_id) == {}


async def test_secrets_are_nowhere_to_be_read(
    sourced: SourceHouse, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "geheim-7c41"
    source = await sourced.add(
        "s3://bucket/files",
        "fsspec",
        key="AKIA-" + secret,
        secret=secret,
        endpoint_url="http://127.0.0.1:9",
    )
    sources, settings = sourced.house.services.sources, sourced.house.services.settings
    assert (await sources.load(source.source_id)).options.secrets()["secret"] == secret
    job = await sourced.ended(await sourced.start(source))
    assert job.state == JobState.FAILED
    key = settings.data / "secrets.key"
    assert key.stat().st_mode & 0o777 == 0o600
    output = capfd.readouterr()
    assert secret not in output.out + output.err + repr(source.__dict__)
    with psycopg.connect(sourced.house.services.database.url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            assert secret not in repr(rows), table

    with pytest.raises(InvalidField, match="anew"):
        moved = SourceOptions.model_validate({"endpoint_url": "http://evil.example"})
        await sources.change("admin", source.source_id, {"options": moved})
    key.write_text("x" * 43 + "=")
    job = await sourced.ended(await sourced.start(source))
    assert (job.state, job.error_code) == (JobState.FAILED, "source_refused")


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory", skip_instance_cache=True)
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def reader_of(store: fsspec.AbstractFileSystem) -> StoreReader:
    limits = Limits(1000, threading.Event())
    return StoreReader(
        lambda: store, "/bucket", "memory://bucket", lambda: (OSError,), lambda t: t, limits
    )


async def test_store_is_listed_whole_or_not_at_all(
    memory: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "deep/er/b.txt", "c d/ё.txt", ".hidden/x.txt"):
        memory.pipe(f"/bucket/{name}", name.encode())
    reader = reader_of(memory)
    listing = await reader.list_files()
    files = {file.key: file for file in listing.files}
    assert set(files) == {"a.txt", "deep/er/b.txt", "c d/ё.txt"}
    assert files["c d/ё.txt"].uri == "memory://bucket/c%20d/%D1%91.txt"
    assert [one.key for one in listing.skipped] == [".hidden"]
    fetched = await reader.fetch(files["deep/er/b.txt"], None, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "deep/er/b.txt"
    assert getattr(fetched, "size_bytes", 0) == 13
    memory.pipe("/bucket/a.txt", b"another")
    changed = {file.key: file for file in (await reader.list_files()).files}
    assert changed["a.txt"].mark != files["a.txt"].mark
    assert changed["deep/er/b.txt"] == files["deep/er/b.txt"]

    listed = memory.ls

    def break_off(path: str, **kwargs: object) -> object:
        if path.endswith("deep/er"):
            raise OSError("connection reset")
        return listed(path, **kwargs)

    monkeypatch.setattr(memory, "ls", break_off)
    with pytest.raises(SourceUnavailable, match="connection reset"):
        await reader.list_files()

    def close_off(path: str, **kwargs: object) -> object:
        if path.endswith("deep/er"):
            raise PermissionError
        return listed(path, **kwargs)

    monkeypatch.setattr(memory, "ls", close_off)
    listing = await reader.list_files()
    assert listing.unlisted == ("deep/er/",)
    assert make_plan(listing, [Held("doc_b", "deep/er/b.txt", "1")]).removed == ()


async def test_store_at_a_file_url_is_a_folder(sourced: SourceHouse, folder: Path) -> None:
    source = await sourced.add(folder.as_uri(), "fsspec")
    assert happened(await sourced.sync(source)) == {"added": 4}


async def test_missing_driver_is_named() -> None:
    limits = Limits(1000, threading.Event())
    options = SourceOptions.model_validate(
        {"username": "a", "password": "b", "allow_networks": ["127.0.0.0/8"]}
    )
    reader = build_reader(
        SourceKind.FSSPEC, "smb://127.0.0.1:9/share", options, Path("/nowhere"), limits
    )
    try:
        import smbprotocol  # type: ignore[import-not-found,unused-ignore] # noqa: F401
    except ImportError:
        with pytest.raises(Exception, match="extra `stores`"):
            await reader.list_files()


def test_report_is_bounded() -> None:
    report = SyncReport()
    report.note("added", [str(number) for number in range(10_000)])
    assert happened(report) == {"added": 10_000}
    assert len(json.dumps(report.as_dict())) < 5000
