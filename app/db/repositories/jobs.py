"""Jobs, and the queue that carries them to a worker."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import procrastinate
import psycopg
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import Document, Job
from app.db.repositories.containers import end_containers
from app.db.repositories.documents import readable
from app.domain.access import AccessScope
from app.domain.documents import TERMINAL, JobState
from app.domain.errors import Conflict, NotFound

TASK = "opora.run_job"
FILES, LONG = "opora", "opora-long"
"""The queues: of single files, and of work over many of them, which holds up no file."""

BATCH, COMPACT, DROP, REINDEX = "batch", "compact", "drop", "reindex"
"""Kinds of jobs without a document."""

WORKER = "worker"
"""The owner of what nobody asked for."""

OPEN = (JobState.QUEUED, JobState.RUNNING)
_ALONE, _IN_BULK = 10, 0  # priorities; the higher goes first
_IDLE_BATCH_S = 600
_CONNECTION_WAIT_S = 5


def queue_app(url: str) -> procrastinate.App:
    """The queue library's application on a database URL; it connects when it is opened."""
    connector = procrastinate.PsycopgConnector(conninfo=url, timeout=_CONNECTION_WAIT_S)
    return procrastinate.App(connector=connector)


_enqueuer = queue_app("")


async def enqueue(session: AsyncSession, job: Job, run_at: datetime | None = None) -> None:
    """Put a stored job into the queue, in the session's own transaction."""
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, psycopg.AsyncConnection)
    await session.flush()
    deferrer = _enqueuer.configure_task(
        TASK,
        queue=FILES if job.document_id else LONG,
        priority=_IN_BULK if job.parent_id else _ALONE,
        schedule_at=run_at,
        connection=connection,
    )
    job.queue_id = await deferrer.defer_async(job_id=job.job_id)


async def add_job(
    session: AsyncSession,
    kind: str,
    owner: str,
    document_id: str | None = None,
    version: int | None = None,
    *,
    parent_id: str | None = None,
    options: dict[str, object] | None = None,
) -> Job:
    """Store a job and enqueue it.

    A child goes behind the jobs that stand alone, and opens its parent again where that has ended.

    Raises:
        Conflict: The parent was cancelled.
    """
    if parent_id is not None:
        await _open_parent(session, parent_id)
    job = Job(
        job_id=new_id("job"),
        kind=kind,
        owner=owner,
        document_id=document_id,
        version=version,
        parent_id=parent_id,
        options=options or {},
        state=JobState.QUEUED,
    )
    session.add(job)
    await enqueue(session, job)
    return job


async def add_batch(session: AsyncSession, owner: str, files: int) -> Job:
    """Store a job that only sums up its children: so many files are expected."""
    batch = Job(
        job_id=new_id("job"),
        kind=BATCH,
        owner=owner,
        state=JobState.RUNNING,
        waiting=True,
        total=files,
        unit="files",
        started_at=now(),
    )
    session.add(batch)
    await session.flush()
    return batch


async def _open_parent(session: AsyncSession, parent_id: str) -> None:
    parent = await session.get(Job, parent_id, with_for_update={"key_share": True})
    if parent is None:
        raise NotFound("there is no such job")
    if parent.cancel_requested or parent.state == JobState.CANCELLED:
        raise Conflict(f"job {parent_id!r} was cancelled")
    if parent.state not in OPEN:
        parent.state, parent.waiting, parent.finished_at = JobState.RUNNING, True, None


async def get_job(
    session: AsyncSession, scope: AccessScope, job_id: str, lock: bool = False
) -> Job:
    """Return a job that the caller started or whose document the caller may see, or NotFound."""
    query = _visible(scope).where(Job.job_id == job_id)
    if lock:
        query = query.with_for_update(of=Job)
    found = (await session.scalars(query)).first()
    if found is None:
        raise NotFound("there is no such job")
    return found


async def list_jobs(
    session: AsyncSession,
    scope: AccessScope,
    limit: int,
    *,
    state: str | None = None,
    parent_id: str | None = None,
    before: str | None = None,
) -> Sequence[Job]:
    """Visible jobs, newest first."""
    query = _visible(scope).order_by(Job.job_id.desc()).limit(limit)
    if state:
        query = query.where(Job.state == state)
    if parent_id:
        query = query.where(Job.parent_id == parent_id)
    if before:
        query = query.where(Job.job_id < before)
    return (await session.scalars(query)).all()


async def get_batch(
    session: AsyncSession, scope: AccessScope, job_id: str, lock: bool = False
) -> Job:
    """Return a batch of the caller's own, any one to an admin, or NotFound."""
    job = await get_job(session, scope, job_id, lock)
    if job.kind != BATCH or not (scope.is_admin or job.owner == scope.user_id):
        raise NotFound("there is no such batch")
    return job


async def latest_job_of(session: AsyncSession, document_id: str) -> Job | None:
    """The newest job of a document."""
    query = select(Job).where(Job.document_id == document_id).order_by(Job.job_id.desc())
    return (await session.scalars(query.limit(1))).first()


async def open_job_of_kind(session: AsyncSession, kind: str) -> Job | None:
    """A queued or running job of a kind."""
    query = select(Job).where(Job.kind == kind, Job.state.in_(OPEN))
    return (await session.scalars(query.limit(1))).first()


async def lock_job(session: AsyncSession, job_id: str) -> Job | None:
    """A job for its worker, locked until the transaction's end."""
    query = select(Job).where(Job.job_id == job_id).with_for_update()
    return (await session.scalars(query)).first()


async def count_by_state(session: AsyncSession) -> dict[str, int]:
    """How many jobs are in each state."""
    rows = await session.execute(select(Job.state, func.count()).group_by(Job.state))
    return {row[0]: row[1] for row in rows}


async def has_children(session: AsyncSession, job_id: str) -> bool:
    """Whether a job has made others."""
    found = select(Job.job_id).where(Job.parent_id == job_id).limit(1)
    return (await session.scalars(found)).first() is not None


async def cancel(session: AsyncSession, job: Job) -> None:
    """Cancel an open job and all below it: queued ones at once; running ones are asked to end."""
    job.cancel_requested = True
    await session.flush()
    await session.execute(
        text(
            """
            WITH RECURSIVE family(job_id) AS (
                SELECT CAST(:job_id AS text)
                UNION SELECT j.job_id FROM job j JOIN family f ON j.parent_id = f.job_id
            ), asked AS (
                UPDATE job SET cancel_requested = true FROM family
                WHERE job.job_id = family.job_id AND job.state = 'running'
            ), ended AS (
                UPDATE job SET state = 'cancelled', finished_at = :at, cancel_requested = true
                FROM family WHERE job.job_id = family.job_id AND job.state = 'queued'
                RETURNING job.document_id, job.version
            )
            UPDATE document_version v SET status = 'cancelled', finished_at = :at,
                reason = 'cancelled before it started'
            FROM ended WHERE v.document_id = ended.document_id AND v.version = ended.version
                AND v.status <> ALL(:terminal)
            """
        ),
        {"job_id": job.job_id, "at": now(), "terminal": sorted(TERMINAL)},
    )
    await session.refresh(job)


async def sum_up(session: AsyncSession) -> int:
    """Count the ended children of the waiting jobs, and end those whose children all have.

    A batch waits for as many as it was made for, until it is closed or nothing comes any more.

    Returns:
        How many are waiting still.
    """
    waiting = select(Job.job_id).where(Job.waiting, Job.state == JobState.RUNNING)
    await session.execute(waiting.order_by(Job.job_id).with_for_update())
    counted = await session.execute(
        text(
            """
            UPDATE job SET done = c.ended,
                total = CASE WHEN c.complete THEN c.children
                    ELSE greatest(job.total, c.children) END,
                state = CASE WHEN c.open > 0 OR NOT c.complete THEN job.state
                    WHEN job.cancel_requested THEN 'cancelled'
                    WHEN c.failed > 0 THEN 'failed' ELSE 'succeeded' END,
                error_code = CASE WHEN c.failed > 0 THEN 'children_failed' END,
                error_message = CASE WHEN c.failed > 0
                    THEN c.failed || ' of ' || c.children || ' files failed' END
            FROM (
                SELECT p.job_id, count(child.job_id) AS children,
                    count(*) FILTER (WHERE child.state IN ('queued', 'running')) AS open,
                    count(*) FILTER (WHERE child.state = 'failed') AS failed,
                    count(*) FILTER (WHERE child.state NOT IN ('queued', 'running')) AS ended,
                    p.kind <> :batch OR p.cancel_requested OR p.options ? 'closed'
                        OR count(child.job_id) >= p.total
                        OR coalesce(max(child.created_at), p.created_at) < :too_old AS complete
                FROM job p LEFT JOIN job child ON child.parent_id = p.job_id
                WHERE p.waiting AND p.state = 'running'
                GROUP BY p.job_id
            ) c
            WHERE job.job_id = c.job_id AND job.state = 'running' AND job.waiting
            RETURNING job.job_id, job.state
            """
        ),
        {"batch": BATCH, "too_old": now() - timedelta(seconds=_IDLE_BATCH_S)},
    )
    states = {row[0]: row[1] for row in counted}
    ended = [job_id for job_id, state in states.items() if state not in OPEN]
    if ended:
        await end_containers(session, ended)
        await session.execute(
            update(Job).where(Job.job_id.in_(ended)).values(waiting=False, finished_at=now())
        )
    return len(states) - len(ended)


async def find_lost(session: AsyncSession) -> Sequence[Job]:
    """Open jobs that no queue holds: their worker could not write down how they ended."""
    unheld = text(
        "NOT EXISTS (SELECT FROM procrastinate_jobs q WHERE q.id = job.queue_id "
        "AND q.status IN ('todo', 'doing'))"
    )
    query = (
        select(Job)
        .where(Job.state.in_(OPEN), ~Job.waiting, unheld)
        .with_for_update(skip_locked=True)
    )
    return (await session.scalars(query)).all()


def finish(job: Job, state: JobState, code: str | None = None, message: str | None = None) -> None:
    """Put a job into its end state."""
    job.state, job.finished_at = state, now()
    job.error_code, job.error_message = code, message


def _visible(scope: AccessScope) -> Select[Job]:
    query = select(Job)
    if scope.is_admin:
        return query
    seen = select(Document.document_id).where(
        Document.document_id == Job.document_id, readable(scope)
    )
    return query.where((Job.owner == scope.user_id) | seen.exists())
