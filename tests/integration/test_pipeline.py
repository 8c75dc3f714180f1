"""The way of a document: accepted, worked on, live or ended with a reason."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from app.db.models import AuditRow, Chunk, DocumentVersion, Embedding
from app.db.repositories import documents as document_rows
from app.db.repositories import jobs as job_rows
from app.domain.documents import DocumentStatus, JobState
from app.domain.errors import (
    Conflict,
    Forbidden,
    InvalidField,
    JobCancelled,
    NotFound,
    UnsupportedMedia,
)
from app.services.documents import Accepted
from ingestion.pipeline import Pipeline
from ingestion.work import Work
from tests.e2e.running import Process, environment, running, until
from tests.fixtures.make_files import make_docx, make_ole, make_package, make_pdf
from tests.integration.house import ADMIN, House, member

OLD = "Сотрудникам полагается отпуск: 28 календарных дней в году."
NEW = "Работникам положена премия: 10 процентов оклада."
LONG = "\n\n".join(f"Абзац номер {n} о складе и договоре поставки." for n in range(6_000))


async def no_progress(_done: int, _total: int, _unit: str) -> None:
    """Nobody looks."""


# from accepted to live


async def test_accepted_document_goes_live(house: House, tmp_path: Path) -> None:
    content = make_docx(tmp_path / "a.docx").read_bytes()
    accepted = await house.accept(content, "Положение.docx", readers=["group:hr", "group:hr"])
    assert (accepted.version, accepted.status, accepted.duplicate) == (
        1,
        DocumentStatus.RECEIVED,
        False,
    )
    assert await house.finds("отпуск") == set()
    await house.tasks.run(accepted.job_id)
    await house.services.index.catch_up()

    view = await house.view(accepted.document_id)
    assert view.status == DocumentStatus.LIVE
    assert view.document.live_version == 1
    assert view.document.title == "Положение об отпусках"  # the file's own
    assert view.document.readers == ["group:hr"]
    assert view.version.language == "ru"
    assert view.version.reason is None
    assert view.version.finished_at is not None
    assert await house.finds("отпуск") == {accepted.document_id}

    async with house.services.database.transaction() as session:
        text = await document_rows.get_text(session, accepted.document_id, 1)
        query = select(Chunk).where(Chunk.document_id == accepted.document_id)
        chunks = (await session.scalars(query.order_by(Chunk.ordinal))).all()
        vectors = await session.scalar(select(func.count()).select_from(Embedding))
        audit = (await session.scalars(select(AuditRow.action))).all()
    assert text is not None
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert view.version.chunks == len(chunks) == vectors
    assert chunks
    for chunk in chunks:
        assert chunk.text == text[chunk.char_start : chunk.char_end]
    assert "document.accepted" in audit

    job = await house.job(accepted.job_id)
    assert (job.state, job.attempts, job.done, job.total) == (
        JobState.SUCCEEDED,
        1,
        len(chunks),
        len(chunks),
    )


async def test_given_title_stays_and_is_searched(house: House) -> None:
    upload = house.upload(OLD, "a.txt")
    accepted = await house.services.documents.add(ADMIN, upload, title="Инструкция кладовщика")
    await house.work()
    await house.services.index.catch_up()
    assert (await house.view(accepted.document_id)).document.title == "Инструкция кладовщика"
    assert await house.finds("кладовщик") == {accepted.document_id}


async def test_job_runs_once_however_often_it_is_told(house: House) -> None:
    accepted = await house.accept(OLD)
    await asyncio.gather(*(house.tasks.run(accepted.job_id) for _ in range(3)))
    await house.tasks.run(accepted.job_id)
    await house.tasks.run("job_of_nobody")
    assert (await house.view(accepted.document_id)).version.chunks == 1
    assert len(await house.live_chunk_ids()) == 1


# the same bytes


async def test_same_bytes_are_a_duplicate_per_collection_and_reader(house: House) -> None:
    first = await house.accept(OLD, readers=["group:a"])
    again = await house.accept(OLD, "other-name.txt", readers=["group:b"])
    assert (again.duplicate, again.document_id, again.job_id) == (
        True,
        first.document_id,
        first.job_id,
    )
    assert (await house.view(first.document_id)).document.readers == ["group:a"]
    # Whoever may not see the first one must not learn of it.
    stranger = await house.accept(OLD, scope=member("eve"), readers=["user:eve"])
    assert not stranger.duplicate
    assert stranger.document_id != first.document_id


async def test_uploads_of_the_same_bytes_at_once_make_one_document(house: House) -> None:
    accepted = await asyncio.gather(*(house.accept(OLD) for _ in range(4)))
    assert len({one.document_id for one in accepted}) == 1
    assert sorted(one.duplicate for one in accepted) == [False, True, True, True]


async def test_deleted_document_may_come_again(house: House) -> None:
    first = await house.add(OLD)
    await house.services.documents.delete(ADMIN, first)
    second = await house.accept(OLD)
    assert not second.duplicate
    await house.work()
    await house.services.index.catch_up()
    assert await house.finds("отпуск") == {second.document_id}


async def test_failed_document_is_tried_again_by_the_same_upload(house: House) -> None:
    accepted = await house.accept(OLD)
    await house.services.documents.cancel_job(ADMIN, accepted.job_id)
    again = await house.accept(OLD)
    assert again.duplicate
    assert again.job_id != accepted.job_id
    await house.work()
    assert (await house.view(accepted.document_id)).status == DocumentStatus.LIVE


# new versions


async def test_new_version_is_found_by_its_new_words_only(house: House) -> None:
    document_id = await house.add(OLD)
    accepted = await house.replace(document_id, NEW)
    assert (accepted.version, accepted.duplicate) == (2, False)
    assert await house.finds("отпуск") == {document_id}  # until the new one is live
    await house.tasks.run(accepted.job_id)
    await house.services.index.catch_up()
    assert await house.finds("отпуск") == set()
    assert await house.finds("премия") == {document_id}
    assert {p.version for p in await house.search("премия оклад")} == {2}
    same = await house.replace(document_id, NEW)
    assert (same.duplicate, same.version) == (True, 2)


async def test_failed_new_version_leaves_the_old_one_live(house: House) -> None:
    document_id = await house.add(OLD)
    await house.edit(document_id, " \n ")
    view = await house.view(document_id)
    assert (view.status, view.document.live_version) == (DocumentStatus.EMPTY, 1)
    assert await house.finds("отпуск") == {document_id}
    await house.edit(document_id, NEW)
    assert (await house.view(document_id)).document.live_version == 3
    assert await house.finds("премия") == {document_id}


async def test_superseded_version_does_not_go_live(house: House) -> None:
    document_id = await house.add("Первая редакция.")
    second = await house.replace(document_id, OLD)
    third = await house.replace(document_id, NEW)
    await house.tasks.run(third.job_id)
    await house.tasks.run(second.job_id)
    await house.services.index.catch_up()
    assert (await house.view(document_id)).document.live_version == 3
    assert await house.finds("отпуск") == set()
    assert await house.finds("премия") == {document_id}
    job = await house.job(second.job_id)
    assert (job.state, job.error_code) == (JobState.CANCELLED, "job_cancelled")
    assert "version 3 is already live" in str(job.error_message)


# delete


async def test_deleted_document_is_gone_at_once(house: House) -> None:
    document_id = await house.add(OLD)
    assert await house.search("отпуск")
    await house.services.documents.delete(ADMIN, document_id)
    assert await house.search("отпуск") == ()  # the index has not looked yet
    with pytest.raises(NotFound):
        await house.view(document_id)
    with pytest.raises(NotFound):
        await house.services.documents.delete(ADMIN, document_id)
    await house.services.index.catch_up()
    await house.assert_index_is_sql()


async def test_document_deleted_in_the_making_never_goes_live(house: House) -> None:
    accepted = await house.accept(OLD)
    await house.services.documents.delete(ADMIN, accepted.document_id)
    await house.tasks.run(accepted.job_id)
    await house.services.index.catch_up()
    assert await house.live_chunk_ids() == []
    assert (await house.job(accepted.job_id)).state == JobState.CANCELLED


# terminal states with reasons


@pytest.mark.parametrize(
    ("name", "status", "code", "said"),
    [
        ("blank.txt", DocumentStatus.EMPTY, "document_empty", "no text"),
        ("locked.pdf", DocumentStatus.FAILED, "document_encrypted", "password"),
        ("locked.docx", DocumentStatus.FAILED, "document_encrypted", "password"),
        ("broken.docx", DocumentStatus.FAILED, "document_unreadable", ""),
        ("huge.txt", DocumentStatus.FAILED, "document_too_complex", "characters"),
    ],
)
async def test_file_without_text_ends_with_a_reason(
    house: House, tmp_path: Path, name: str, status: DocumentStatus, code: str, said: str
) -> None:
    limits = house.services.settings.ingestion.model_copy(update={"max_text_chars": 10_000})
    settings = house.services.settings.model_copy(update={"ingestion": limits})
    object.__setattr__(house.services, "settings", settings)
    page = [[(12.0, "Some words on a page.")]]
    contents: dict[str, Callable[[], bytes]] = {
        "blank.txt": lambda: b" \n\t ",
        "locked.pdf": lambda: make_pdf(tmp_path / "a", page, locked=True).read_bytes(),
        "locked.docx": lambda: make_ole(tmp_path / "b", "EncryptedPackage").read_bytes(),
        "broken.docx": lambda: make_package(tmp_path / "c", b"<not xml").read_bytes(),
        "huge.txt": lambda: b"word " * 3000,
    }
    accepted = await house.accept(contents[name](), name)
    await house.tasks.run(accepted.job_id)
    view = await house.view(accepted.document_id)
    job = await house.job(accepted.job_id)
    assert view.status == status
    assert view.document.live_version is None
    assert job.error_code == code
    assert job.error_message == view.version.reason
    assert said in str(view.version.reason)
    assert job.state == (JobState.SUCCEEDED if status == DocumentStatus.EMPTY else JobState.FAILED)
    await house.add(OLD)
    assert len(await house.finds("отпуск")) == 1


async def test_type_that_is_not_read_leaves_nothing(house: House) -> None:
    with pytest.raises(UnsupportedMedia, match="an icon"):
        await house.accept(b"\0\0\1\0" + bytes(50), "a.txt")
    async with house.services.database.transaction() as session:
        assert (await session.scalars(select(DocumentVersion))).all() == []
    assert [p for p in house.services.settings.data.rglob("blobs/*/*") if p.is_file()] == []


async def test_parser_that_dies_twice_puts_the_file_into_quarantine(house: House) -> None:
    slow = f"<html><body><p>{OLD}</p><!-- {'x ' * 10_000_000} --></body></html>"
    accepted = await house.accept(slow, "slow.html")
    with killing_parsers():
        await house.tasks.run(accepted.job_id)
        job = await house.job(accepted.job_id)
        assert (job.state, job.attempts, job.error_code) == (JobState.QUEUED, 1, "parser_died")
        await house.tasks.run(accepted.job_id)
    job = await house.job(accepted.job_id)
    view = await house.view(accepted.document_id)
    assert (job.state, view.status) == (JobState.FAILED, DocumentStatus.QUARANTINED)
    assert "killed" in str(view.version.reason)
    again = await house.accept(slow, "slow.html")
    assert (again.duplicate, again.job_id) == (True, accepted.job_id)  # it stays there
    with pytest.raises(Forbidden, match="only an admin"):
        await house.services.documents.retry_job(member("eve"), accepted.job_id)
    retried = await house.services.documents.retry_job(ADMIN, accepted.job_id)  # until released
    await house.tasks.run(retried.job_id)
    assert (await house.view(accepted.document_id)).status == DocumentStatus.LIVE


@contextmanager
def killing_parsers() -> Iterator[None]:
    """Kill each parser process of this process, as the kernel does when memory is short."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.005):
            for process in psutil.Process().children():
                try:
                    if "ingestion.parsers.child" in process.cmdline():
                        process.kill()
                except psutil.NoSuchProcess:
                    continue

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


# cancel and retry


async def test_queued_job_is_cancelled_at_once_and_can_be_retried(house: House) -> None:
    accepted = await house.accept(OLD)
    cancelled = await house.services.documents.cancel_job(ADMIN, accepted.job_id)
    assert cancelled.state == JobState.CANCELLED
    view = await house.view(accepted.document_id)
    assert (view.status, bool(view.version.reason)) == (DocumentStatus.CANCELLED, True)
    await house.tasks.run(accepted.job_id)  # the queue may still bring it
    assert await house.live_chunk_ids() == []
    with pytest.raises(Conflict, match="already cancelled"):
        await house.services.documents.cancel_job(ADMIN, accepted.job_id)

    retried = await house.services.documents.retry_job(ADMIN, accepted.job_id)
    assert retried.job_id != accepted.job_id
    with pytest.raises(Conflict, match="still queued"):
        await house.services.documents.retry_job(ADMIN, retried.job_id)
    await house.tasks.run(retried.job_id)
    assert (await house.view(accepted.document_id)).status == DocumentStatus.LIVE
    with pytest.raises(Conflict, match="nothing to retry"):
        await house.services.documents.retry_job(ADMIN, retried.job_id)


@asynccontextmanager
async def in_work(house: House, accepted: Accepted) -> AsyncIterator[None]:
    """The job is running meanwhile, and over at the end."""
    work = asyncio.create_task(house.tasks.run(accepted.job_id))

    async def runs() -> bool:
        return (await house.job(accepted.job_id)).state == JobState.RUNNING

    await until(runs)
    yield
    await asyncio.wait_for(work, 60)


async def test_running_job_is_cancelled_within_seconds(house: House) -> None:
    accepted = await house.accept(LONG)
    async with in_work(house, accepted):
        running_job = await house.services.documents.cancel_job(ADMIN, accepted.job_id)
        assert running_job.cancel_requested
    assert (await house.job(accepted.job_id)).state == JobState.CANCELLED
    assert (await house.view(accepted.document_id)).status == DocumentStatus.CANCELLED
    assert await house.live_chunk_ids() == []


async def test_stranger_neither_sees_nor_stops_a_job(house: House) -> None:
    accepted = await house.accept(OLD, readers=["group:a"])
    for act in (house.services.documents.cancel_job, house.services.documents.retry_job):
        with pytest.raises(NotFound):
            await act(member("eve"), accepted.job_id)


# fences


async def test_forgotten_worker_publishes_nothing(house: House) -> None:
    accepted = await house.accept(OLD)
    async with house.services.database.transaction() as session:
        job = await job_rows.lock_job(session, accepted.job_id)
        assert job is not None
        job.state, job.attempts = JobState.RUNNING, 2
    services = house.services
    pipeline = Pipeline(
        services.database, services.blobs, services.recipes, services.settings.ingestion
    )
    forgotten = Work(accepted.job_id, 1, "admin", accepted.document_id, 1)
    with pytest.raises(JobCancelled, match="took this job over"):
        await pipeline.run(forgotten, no_progress)
    assert await house.live_chunk_ids() == []
    current = Work(accepted.job_id, 2, "admin", accepted.document_id, 1)
    await pipeline.run(current, no_progress)
    assert len(await house.live_chunk_ids()) == 1
    assert (await house.job(accepted.job_id)).state == JobState.SUCCEEDED


async def test_overtaken_worker_does_not_touch_the_job(house: House) -> None:
    accepted = await house.accept(LONG[:200_000])
    async with (
        in_work(house, accepted),
        house.services.database.transaction() as session,
    ):
        job = await job_rows.lock_job(session, accepted.job_id)
        assert job is not None
        job.attempts = 7
    job = await house.job(accepted.job_id)
    assert (job.state, job.attempts, job.error_code) == (JobState.RUNNING, 7, None)
    assert (await house.view(accepted.document_id)).document.live_version is None


# the worker process


def worker(house: House, log_path: Path) -> AbstractContextManager[Process]:
    """`opora worker` on the house's database and files."""
    url = house.services.database.url
    settings = environment(
        house.services.settings.data,
        database__url=url,
        embedder__model="hash",
        ingestion__stalled_after_s=1,
        ingestion__compact_after=3,
    )
    return running(("worker",), settings, log_path)


async def test_job_of_a_killed_worker_comes_back(house: House, tmp_path: Path) -> None:
    long, short = await house.accept(LONG), await house.accept(OLD)

    async def runs() -> bool:
        return (await house.job(long.job_id)).state == JobState.RUNNING

    async def done() -> bool:
        states = {(await house.job(one.job_id)).state for one in (long, short)}
        return states == {JobState.SUCCEEDED}

    with worker(house, tmp_path / "first.log") as first:
        await until(runs)
        first.kill()
    with worker(house, tmp_path / "second.log"):
        await until(done, 60)
    job = await house.job(long.job_id)
    assert job.attempts == 2
    assert "job.rescued" in (tmp_path / "second.log").read_text()
    await house.services.index.catch_up()
    await house.assert_index_is_sql()
    assert await house.finds("отпуск") == {short.document_id}


async def test_worker_builds_a_generation_when_the_log_is_long(
    house: House, tmp_path: Path
) -> None:
    for number in range(4):
        await house.accept(f"Документ номер {number}.")
    generations = house.services.settings.data / "generations"

    async def built() -> bool:
        return generations.exists() and any(generations.glob("gen_*"))

    with worker(house, tmp_path / "worker.log") as process:
        await until(built, 60)
        assert process.stop() == 0
    assert "worker.stopped" in process.output


# changes


async def test_change_is_checked(house: House) -> None:
    document_id = await house.add(OLD)
    change = house.services.documents.change
    with pytest.raises(InvalidField, match="readers"):
        await change(ADMIN, document_id, readers=[])
    with pytest.raises(InvalidField, match="everyone"):
        await change(ADMIN, document_id, readers=["everyone"])
    with pytest.raises(NotFound, match="collection"):
        await change(ADMIN, document_id, collection="нет")
    with pytest.raises(NotFound):
        await change(member("eve"), "doc_of_nobody", title="x")
    view = await change(ADMIN, document_id, title="Новое имя")
    assert view.document.title == "Новое имя"
