"""Jobs, and the queue that carries them to a worker."""

from collections.abc import Sequence
from datetime import datetime

import procrastinate
import psycopg
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import Document, Job
from app.db.repositories.documents import readable
from app.domain.access import AccessScope
from app.domain.documents import JobState
from app.domain.errors import NotFound

TASK = "opora.run_job"
QUEUE = "opora"
OPEN = (JobState.QUEUED, JobState.RUNNING)


def queue_app(url: str) -> procrastinate.App:
    """The queue library's application on a database URL; it connects when it is opened."""
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))


_enqueuer = queue_app("")


async def enqueue(session: AsyncSession, job: Job, run_at: datetime | None = None) -> None:
    """Put a stored job into the queue, in the session's own transaction."""
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, psycopg.AsyncConnection)
    await session.flush()
    deferrer = _enqueuer.configure_task(
        TASK, queue=QUEUE, schedule_at=run_at, connection=connection
    )
    job.queue_id = await deferrer.defer_async(job_id=job.job_id)


async def add_job(
    session: AsyncSession,
    kind: str,
    owner: str,
    document_id: str | None = None,
    version: int | None = None,
) -> Job:
    """Store a job and enqueue it."""
    job = Job(
        job_id=new_id("job"),
        kind=kind,
        owner=owner,
        document_id=document_id,
        version=version,
        state=JobState.QUEUED,
    )
    session.add(job)
    await enqueue(session, job)
    return job


async def get_job(
    session: AsyncSession, scope: AccessScope, job_id: str, lock: bool = False
) -> Job:
    """Return a job that the caller started or whose document the caller may see, or NotFound."""
    query = _visible(scope).where(Job.job_id == job_id)
    if lock:
        query = query.with_for_update(of=Job)
    found = (await session.scalars(query)).first()
    if found is None:
        raise NotFound(f"there is no job {job_id!r}")
    return found


async def list_jobs(
    session: AsyncSession, scope: AccessScope, state: str | None, limit: int, before: str | None
) -> Sequence[Job]:
    """Visible jobs, newest first."""
    query = _visible(scope).order_by(Job.job_id.desc()).limit(limit)
    if state:
        query = query.where(Job.state == state)
    if before:
        query = query.where(Job.job_id < before)
    return (await session.scalars(query)).all()


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
