"""Bodies of sources."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from app.api.schemas.base import Body
from app.db.models import Source, SourceSync
from app.domain import sources
from app.domain.source_options import SourceOptions
from app.services.documents import DEFAULT_COLLECTION

SourceName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Schedule = Annotated[
    int | str | None,
    Field(description="A number of seconds, or a cron expression in UTC; null: only when asked."),
]


class NewSource(Body):
    """A source to be made."""

    name: SourceName
    kind: sources.SourceKind
    url: Url
    options: SourceOptions = SourceOptions()
    collection: str = DEFAULT_COLLECTION
    readers: list[str] = Field([], description="Of its documents; none: those of the collection.")
    schedule: Schedule = None


class SourceChange(Body):
    """What may be changed of a source; a secret that `options` does not name stays."""

    name: SourceName | None = None
    url: Url | None = None
    options: SourceOptions | None = None
    collection: str | None = None
    readers: list[str] | None = None
    schedule: Schedule = None


class SyncReport(BaseModel):
    """What a sync did, or with `dry_run` would do: counts, and the first names of each."""

    job_id: str
    dry_run: bool
    counts: dict[str, int]
    names: dict[str, list[str]]
    finished_at: datetime

    @classmethod
    def of(cls, row: SourceSync) -> "SyncReport":
        """From the stored row."""
        report = sources.SyncReport.of(row.report)
        return cls(
            job_id=row.job_id,
            dry_run=row.dry_run,
            counts=report.counts,
            names=report.names,
            finished_at=row.finished_at,
        )


class SourceView(BaseModel):
    """A source; `secrets` names the options that are set but never shown."""

    source_id: str
    name: str
    kind: sources.SourceKind
    url: str
    options: dict[str, Any]
    secrets: list[str]
    collection: str
    readers: list[str]
    schedule: int | str | None
    next_sync_at: datetime | None
    documents: int
    last_sync: SyncReport | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(
        cls, row: Source, secrets: list[str], documents: int, last_sync: SourceSync | None
    ) -> "SourceView":
        """From the stored rows."""
        schedule = row.schedule
        return cls(
            source_id=row.source_id,
            name=row.name,
            kind=sources.SourceKind(row.kind),
            url=row.url,
            options=row.options,
            secrets=secrets,
            collection=row.collection,
            readers=row.readers,
            schedule=int(schedule) if schedule and schedule.isdigit() else schedule,
            next_sync_at=row.next_sync_at,
            documents=documents,
            last_sync=SyncReport.of(last_sync) if last_sync else None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class SyncOrder(Body):
    """How to sync."""

    dry_run: bool = Field(False, description="Only list what would change.")
    force: bool = Field(False, description="Believe a source that lists no file any more.")


class SkippedFile(BaseModel):
    """A file that is not read, and why."""

    key: str
    reason: str
