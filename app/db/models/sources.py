"""Sources that documents come from by themselves, and what their syncs did."""

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class Source(Base):
    """Where documents come from, and for whom.

    `options` holds what may be shown, `secrets` the rest, sealed. No `readers`: those of the
    collection. `schedule` is a number of seconds or a cron expression, `next_sync_at` its next
    time.
    """

    __tablename__ = "source"

    source_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    url: Mapped[str]
    options: Mapped[dict[str, object]]
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    collection: Mapped[str] = mapped_column(ForeignKey("collection.name"))
    readers: Mapped[list[str]]
    owner: Mapped[str]
    schedule: Mapped[str | None]
    next_sync_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class SourceSync(Base):
    """What a sync did, or would do; see app.domain.sources.SyncReport."""

    __tablename__ = "source_sync"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(
        ForeignKey("source.source_id", ondelete="CASCADE"), index=True
    )
    dry_run: Mapped[bool]
    report: Mapped[dict[str, object]]
    finished_at: Mapped[datetime] = mapped_column(default=now)


class SkippedFile(Base):
    """A file of a source, or of a ZIP archive, that is not read, and why."""

    __tablename__ = "skipped_file"

    source_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    mark: Mapped[str | None]
    reason: Mapped[str]
