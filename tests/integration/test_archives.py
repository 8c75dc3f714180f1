"""ZIP archives as folders: each member is a document of its own."""

import asyncio
import io
import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.documents import DocumentStatus, JobState
from app.domain.errors import Conflict, DocumentRejected
from app.domain.sources import Skipped
from app.services.source_documents import SourceDocuments
from ingestion.sources import archive
from ingestion.sources.reading import Fetched, Limits
from tests.integration.house import ADMIN, House, member
from tests.integration.source_house import SourceHouse, happened, write

MEMBERS: dict[str, str | bytes] = {
    "отпуск.txt": "Заявление на отпуск подаётся за 14 дней.",
    "hr/pay.md": "# Зарплата\n\nЗарплата приходит пятого.",
}


def zipped(members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return raw.getvalue()


@pytest.fixture
def sourced(house: House) -> SourceHouse:
    return SourceHouse(house)


async def unpack(sourced: SourceHouse, raw: bytes, readers: tuple[str, ...] = ()) -> str:
    """Upload an archive, work until it has ended, and return its document's id."""
    accepted = await sourced.house.accept(raw, "files.zip", readers)
    await sourced.ended(accepted.job_id)
    return accepted.document_id


async def test_members_are_documents_and_the_archive_their_sum(sourced: SourceHouse) -> None:
    container_id = await unpack(sourced, zipped(MEMBERS), ("group:hr",))
    view = await sourced.house.view(container_id)
    assert (view.status, view.version.flags) == (DocumentStatus.LIVE, ["container"])
    assert view.document.live_version == 1
    members = await sourced.documents(container_id)
    assert set(members) == set(MEMBERS)
    document, version = members["hr/pay.md"]
    assert (version.status, version.filename) == (DocumentStatus.LIVE, "pay.md")
    assert document.source_uri == "files.zip!/hr/pay.md"
    assert document.readers == ["group:hr"]
    assert view.version.chunks == sum(row[1].chunks for row in members.values()) >= 2
    assert await sourced.house.finds("пятого") == {document.document_id}
    await sourced.house.assert_index_is_sql()

    await sourced.house.services.documents.change(ADMIN, container_id, readers=["user:olga"])
    seen = await sourced.house.search("зарплата", scope=member("anna", "hr"))
    assert seen == ()
    await sourced.house.services.index.catch_up()
    assert await sourced.house.search("зарплата", scope=member("olga")) != ()
    with pytest.raises(Conflict, match=container_id):
        await sourced.house.replace(document.document_id, "Иначе.")


async def test_readers_that_change_while_it_is_unpacked_are_those_of_all_members(
    sourced: SourceHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = SourceDocuments.take

    async def take_late(self: SourceDocuments, *args: Any) -> Any:
        if args[1].key == "hr/pay.md":
            change = sourced.house.services.documents.change
            await change(ADMIN, args[0].source_id, readers=["user:olga"])
        return await take(self, *args)

    monkeypatch.setattr(SourceDocuments, "take", take_late)
    container_id = await unpack(sourced, zipped(MEMBERS))
    members = await sourced.documents(container_id)
    assert set(members) == set(MEMBERS)
    assert {tuple(row[0].readers) for row in members.values()} == {("user:olga",)}


async def test_new_version_is_followed_and_deletion_takes_all(sourced: SourceHouse) -> None:
    container_id = await unpack(sourced, zipped(MEMBERS))
    before = await sourced.documents(container_id)
    changed = {"отпуск.txt": MEMBERS["отпуск.txt"], "new.txt": "Новый порядок."}
    jobs = await sourced.jobs()
    accepted = await sourced.house.replace(container_id, zipped(changed, zipfile.ZIP_STORED))
    await sourced.ended(accepted.job_id)
    assert await sourced.jobs() == jobs + 2, "only the new member is read"
    members = await sourced.documents(container_id)
    assert set(members) == set(changed)
    kept = members["отпуск.txt"][0].document_id
    assert kept == before["отпуск.txt"][0].document_id
    assert await sourced.house.finds("пятого") == set()
    view = await sourced.house.view(container_id)
    assert (view.status, view.document.live_version) == (DocumentStatus.LIVE, 2)

    await sourced.delete_document(container_id)
    await sourced.house.services.index.catch_up()
    assert await sourced.documents(container_id) == {}
    assert await sourced.house.finds("отпуск") == set()
    await sourced.house.assert_index_is_sql()


async def test_archive_replaced_by_a_text_loses_its_members(sourced: SourceHouse) -> None:
    container_id = await unpack(sourced, zipped(MEMBERS))
    await sourced.house.edit(container_id, "Теперь просто текст.")
    assert await sourced.documents(container_id) == {}
    assert await sourced.house.finds("текст") == {container_id}
    assert await sourced.house.finds("отпуск") == set()


async def test_what_is_not_read_is_named(sourced: SourceHouse) -> None:
    deepest = zipped({"deepest.txt": "Глубина."})
    inner = zipped({"inner.txt": "Внутри.", "deepest.zip": deepest})
    raw = zipped(
        {
            **MEMBERS,
            "../../etc/passwd": "Имя ведёт наружу.",
            "/abs/olute.txt": "Имя от корня.",
            "C:\\temp\\win.txt": "Имя из Windows.",
            "inner.zip": inner,
            "program": b"\x7fELF\2\1\1" + bytes(60),
            "__MACOSX/x": "служебное",
            "broken.txt": "Повреждено.",
        },
        zipfile.ZIP_STORED,
    )
    raw = raw.replace("Повреждено.".encode(), "Повреждёно.".encode())
    container_id = await unpack(sourced, raw)
    view = await sourced.house.view(container_id)
    assert view.status == DocumentStatus.LIVE
    skipped = await sourced.skipped(container_id)
    assert set(skipped) == {"program", "__MACOSX/x", "broken.txt"}
    assert "Bad CRC-32" in skipped["broken.txt"]
    assert all(key in str(view.version.reason) for key in skipped)
    members = await sourced.documents(container_id)
    assert members["../../etc/passwd"][1].filename == "passwd"
    assert members["C:\\temp\\win.txt"][1].filename == "win.txt"
    inner_document, inner_version = members["inner.zip"]
    assert (inner_version.status, inner_version.flags) == (DocumentStatus.LIVE, ["container"])
    assert set(await sourced.documents(inner_document.document_id)) == {"inner.txt"}
    assert "too deep" in (await sourced.skipped(inner_document.document_id))["deepest.zip"]
    assert await sourced.house.finds("глубина") == set()
    outside = {path.name for path in sourced.house.services.settings.data.parent.rglob("passwd")}
    assert outside == set()

    await sourced.delete_document(container_id)
    await sourced.house.services.index.catch_up()
    assert await sourced.house.finds("внутри") == set()


def encrypted(raw: bytes) -> bytes:
    """The archive with its first member marked as encrypted."""
    marked = bytearray(raw)
    marked[6] |= 1
    marked[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(marked)


async def test_encrypted_members_are_named(sourced: SourceHouse) -> None:
    container_id = await unpack(sourced, encrypted(zipped({"secret.txt": "Тайна."})))
    view = await sourced.house.view(container_id)
    assert view.status == DocumentStatus.EMPTY
    assert "secret.txt: encrypted" in str(view.version.reason)


@pytest.mark.parametrize("encoding", ["cp866", "utf-8"])
async def test_old_archives_keep_their_russian_names(sourced: SourceHouse, encoding: str) -> None:
    name = "Приказ.txt".encode(encoding)
    stand_in = "x" * len(name)
    raw = zipped({stand_in: "Приказ о премии."}).replace(stand_in.encode(), name)
    container_id = await unpack(sourced, raw)
    assert set(await sourced.documents(container_id)) == {"Приказ.txt"}


def many(entries: int) -> bytes:
    """An archive of empty members, written by hand since zipfile takes long."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, *[0] * 6)
    directory = (entry + b"a") * entries
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(directory), len(local), 0)
    return local + directory + end


def bomb() -> bytes:
    """100 members of 10 MB of zeros over the same few bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(10_000_000)) + packer.flush()
    crc, size = zlib.crc32(bytes(10_000_000)), 10_000_000
    sizes = (crc, len(packed), size)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes, 1, 0) + b"a" + packed
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 1, *[0] * 6)
    directory = (entry + b"a") * 100
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, len(directory), len(local), 0)
    return local + directory + end


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (zipped(MEMBERS)[:-30], "cut off or damaged"),
        (many(archive.MOST_MEMBERS + 1), "more than 20000 members"),
        (bomb(), "times its size"),
    ],
    ids=["truncated", "many", "bomb"],
)
async def test_hostile_archive_ends_with_a_reason(
    sourced: SourceHouse, raw: bytes, reason: str
) -> None:
    container_id = await unpack(sourced, raw)
    view = await sourced.house.view(container_id)
    assert view.status == DocumentStatus.FAILED
    assert reason in str(view.version.reason)
    assert await sourced.documents(container_id) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, 300),
)
def test_damaged_archive_is_read_as_far_as_it_goes(
    tmp_path: Path, method: int, changes: list[tuple[int, int]], cut: int
) -> None:
    raw = bytearray(zipped({"a.txt": "hello " * 20, "б.txt": "привет"}, method))
    for place, byte in changes:
        raw[place % len(raw)] = byte
    path = tmp_path / "damaged.zip"
    path.write_bytes(raw[cut:] if cut < 5 else raw)
    reader = archive.ArchiveReader(path, "damaged.zip", Limits(10_000, threading.Event()))

    async def read() -> None:
        try:
            listing = await reader.list_files()
        except DocumentRejected as error:
            assert error.message
            return
        for file in listing.files:
            outcome = await reader.fetch(file, None, tmp_path / "member")
            assert isinstance(outcome, Fetched | Skipped)
        await reader.close()

    asyncio.run(read())


async def test_empty_archive_is_empty(sourced: SourceHouse) -> None:
    view = await sourced.house.view(await unpack(sourced, zipped({})))
    assert view.status == DocumentStatus.EMPTY


async def test_archive_in_a_source_is_followed_with_it(
    sourced: SourceHouse, tmp_path: Path
) -> None:
    root = tmp_path / "share"
    write(root, {"pack.zip": zipped(MEMBERS), "note.txt": "Рядом с архивом."})
    source = await sourced.add(root, rules=[{"glob": "*.zip", "readers": ["group:hr"]}])
    assert happened(await sourced.sync(source)) == {"added": 2}
    container, _ = (await sourced.documents(source.source_id))["pack.zip"]
    members = await sourced.documents(container.document_id)
    assert {row[0].readers[0] for row in members.values()} == {"group:hr"}
    assert members["hr/pay.md"][0].source_uri == f"{(root / 'pack.zip').as_uri()}!/hr/pay.md"
    (root / "pack.zip").unlink()
    assert happened(await sourced.sync(source)) == {"removed": 1, "unchanged": 1}
    assert await sourced.house.finds("пятого") == set()
    await sourced.house.assert_index_is_sql()


async def test_cancelled_archive_cancels_its_members(sourced: SourceHouse) -> None:
    accepted = await sourced.house.accept(zipped(MEMBERS), "files.zip")
    await sourced.house.tasks.run(accepted.job_id)
    await sourced.house.services.documents.cancel_job(ADMIN, accepted.job_id)
    assert (await sourced.ended(accepted.job_id)).state == JobState.CANCELLED
    members = await sourced.documents(accepted.document_id)
    assert {row[1].status for row in members.values()} == {DocumentStatus.CANCELLED}
    assert (await sourced.house.view(accepted.document_id)).status == DocumentStatus.CANCELLED
    retried = await sourced.house.services.documents.retry_job(ADMIN, accepted.job_id)
    await sourced.ended(retried.job_id)
    members = await sourced.documents(accepted.document_id)
    assert {row[1].status for row in members.values()} == {DocumentStatus.LIVE}
    assert (await sourced.house.view(accepted.document_id)).status == DocumentStatus.LIVE
