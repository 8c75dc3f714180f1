"""Jobs of many files, and jobs that nothing holds any more."""

import pytest
from sqlalchemy import text

from app.db.models import Job
from app.db.repositories import jobs as job_rows
from app.domain.documents import DocumentStatus, JobState
from app.domain.errors import Conflict, DatabaseUnavailable, NotFound, StorageUnavailable
from app.services.documents import Accepted
from ingestion.tasks import Tasks
from ingestion.work import Progress, Work
from tests.integration.house import ADMIN, House, member


async def add_batch(house: House, files: int = 3) -> str:
    async with house.services.database.transaction() as session:
        return (await job_rows.add_batch(session, ADMIN.user_id, files)).job_id


async def accept(house: House, batch: str, content: str | bytes) -> Accepted:
    upload = house.upload(content)
    return await house.services.documents.add(ADMIN, upload, batch=batch)


async def close(house: House, batch: str) -> None:
    async with house.services.database.transaction() as session:
        job = await job_rows.get_batch(session, ADMIN, batch, lock=True)
        job.options = {**job.options, "closed": True}


async def summed_up(house: House, batch: str) -> Job:
    async with house.services.database.transaction() as session:
        await job_rows.sum_up(session)
    return await house.job(batch)


async def test_batch_sums_up_its_files_and_names_the_failed(house: House) -> None:
    batch = await add_batch(house)
    first = await accept(house, batch, "Первый документ.")
    await accept(house, batch, b"%PDF-1.4 of no pages")
    assert (await summed_up(house, batch)).state == JobState.RUNNING
    await house.tasks.run(first.job_id)
    job = await summed_up(house, batch)
    assert (job.state, job.done, job.total, job.unit) == (JobState.RUNNING, 1, 3, "files")
    await house.work()
    job = await summed_up(house, batch)
    assert (job.state, job.done, job.total) == (JobState.RUNNING, 2, 3)  # one more may come
    await close(house, batch)
    job = await summed_up(house, batch)
    assert (job.state, job.done, job.total) == (JobState.FAILED, 2, 2)
    assert job.error_message == "1 of 2 files failed"
    assert job.finished_at is not None

    await accept(house, batch, "Документ, который пришёл позже.")
    assert (await house.job(batch)).state == JobState.RUNNING
    await house.work()
    assert (await summed_up(house, batch)).done == 3


async def test_cancelled_batch_ends_all_its_files_and_takes_no_more(house: House) -> None:
    batch = await add_batch(house)
    live = await accept(house, batch, "Первый документ.")
    await house.tasks.run(live.job_id)
    queued = await accept(house, batch, "Второй документ.")
    alone = await house.accept("Документ, который не из этой партии.")
    await house.services.documents.cancel_job(ADMIN, batch)
    assert (await house.job(queued.job_id)).state == JobState.CANCELLED
    assert (await house.view(queued.document_id)).status == DocumentStatus.CANCELLED
    assert (await summed_up(house, batch)).state == JobState.CANCELLED
    with pytest.raises(Conflict, match="cancelled"):
        await accept(house, batch, "Третий документ.")
    await house.work()
    await house.services.index.catch_up()
    await house.assert_index_is_sql()
    assert (await house.view(live.document_id)).status == DocumentStatus.LIVE
    assert (await house.view(alone.document_id)).status == DocumentStatus.LIVE


async def test_batch_of_somebody_else_does_not_exist(house: House) -> None:
    batch = await add_batch(house)
    with pytest.raises(NotFound):
        await house.services.documents.add(member("eve"), house.upload("Документ."), batch=batch)


async def test_single_files_go_before_a_batch(house: House) -> None:
    batch = await add_batch(house)
    await accept(house, batch, "Из партии.")
    await house.accept("Сам по себе.")
    async with house.services.database.transaction() as session:
        rows = await session.execute(text("SELECT priority FROM procrastinate_jobs ORDER BY id"))
        in_bulk, alone = (row[0] for row in rows)
    assert alone > in_bulk


async def test_job_that_no_queue_holds_is_found(house: House) -> None:
    accepted = await house.accept("Документ.")
    batch = await add_batch(house)
    async with house.services.database.transaction() as session:
        assert list(await job_rows.find_lost(session)) == []
        await session.execute(text("UPDATE procrastinate_jobs SET status = 'failed'"))
    async with house.services.database.transaction() as session:
        (lost,) = await job_rows.find_lost(session)
        assert lost.job_id == accepted.job_id
        await job_rows.enqueue(session, lost)
    async with house.services.database.transaction() as session:
        assert list(await job_rows.find_lost(session)) == []
    assert (await house.job(batch)).state == JobState.RUNNING


@pytest.mark.parametrize("error", [StorageUnavailable, DatabaseUnavailable])
async def test_job_waits_for_what_may_pass_and_says_why(
    house: House, error: type[Exception]
) -> None:
    accepted = await house.accept("Документ.")
    broken = True

    async def ingest(work: Work, progress: Progress) -> None:
        if broken:
            raise error("the disk is full")
        await house.tasks._handlers["ingest"](work, progress)

    tasks = Tasks(house.services.database, {"ingest": ingest})
    for _ in range(12):
        await tasks.run(accepted.job_id)
        job, view = await house.job(accepted.job_id), await house.view(accepted.document_id)
        assert (job.state, job.error_message) == (JobState.QUEUED, "the disk is full")
        assert (view.status, view.version.reason) == (DocumentStatus.RECEIVED, "the disk is full")
    broken = False
    await tasks.run(accepted.job_id)
    job, view = await house.job(accepted.job_id), await house.view(accepted.document_id)
    assert (job.state, job.error_code) == (JobState.SUCCEEDED, None)
    assert (view.status, view.version.reason) == (DocumentStatus.LIVE, None)


async def test_file_over_which_workers_die_ends_in_quarantine(house: House) -> None:
    accepted = await house.accept("Документ.")
    async with house.services.database.transaction() as session:
        job = await job_rows.lock_job(session, accepted.job_id)
        assert job is not None
        job.attempts = 12
    for _ in range(2):
        await house.tasks.run(accepted.job_id)
    view = await house.view(accepted.document_id)
    assert view.status == DocumentStatus.QUARANTINED
    assert "workers went away" in str(view.version.reason)


async def test_batch_of_many_queued_files_is_cancelled_at_once(house: House) -> None:
    batch = await add_batch(house, 20_000)
    async with house.services.database.transaction() as session:
        await session.execute(
            text(
                """
                INSERT INTO job (job_id, kind, owner, state, parent_id, document_id, version,
                    options, waiting, cancel_requested, done, total, unit, attempts, failures,
                    deaths, created_at)
                SELECT 'job_' || n, 'ingest', 'admin', 'queued', :batch, 'doc_' || n, 1, '{}',
                    false, false, 0, 0, 'steps', 0, 0, 0, now() FROM generate_series(1, 20000) n
                """
            ),
            {"batch": batch},
        )
    await house.services.documents.cancel_job(ADMIN, batch)
    job = await summed_up(house, batch)
    assert (job.state, job.done, job.total) == (JobState.CANCELLED, 20_000, 20_000)


@pytest.mark.parametrize("owner", ["admin", "eve"])
async def test_only_a_batch_of_ones_own_takes_files(house: House, owner: str) -> None:
    other = await house.accept("Документ.", readers=["public"])
    eve = member("eve")
    batch = await add_batch(house) if owner == "admin" else other.job_id
    with pytest.raises(NotFound):
        await house.services.documents.add(eve, house.upload("Ещё один."), batch=batch)
