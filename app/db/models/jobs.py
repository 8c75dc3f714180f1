"""Jobs as people see them; the queue library's own tables carry them out."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class Job(Base):
    """A piece of work for the worker, with its progress and its end.

    A job whose own work is done but not that of its children is `waiting`; their ends end it.
    `attempts` fences off a worker that lost the job. `failures` counts the ends that were put back,
    `deaths` those of the parser's process.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_document_id", "document_id"),
        Index("ix_job_open", "state", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_job_parent_id_state", "parent_id", "state"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    owner: Mapped[str]
    document_id: Mapped[str | None]
    version: Mapped[int | None]
    state: Mapped[str]
    parent_id: Mapped[str | None]
    options: Mapped[dict[str, object]] = mapped_column(default=dict)
    queue_id: Mapped[int | None]
    waiting: Mapped[bool] = mapped_column(default=False)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    unit: Mapped[str] = mapped_column(default="steps")
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
