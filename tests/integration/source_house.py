"""A house with sources: makes them, syncs them, and says what they gave."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from app.db.models import Document, DocumentVersion, Job, Source
from app.db.repositories import jobs as job_rows
from app.db.repositories import sources as source_rows
from app.domain.source_options import SourceOptions
from app.domain.sources import SourceKind, SyncReport
from app.services.sources import SourceDraft, SyncRequest
from tests.integration.house import ADMIN, House


@dataclass
class SourceHouse:
    """A house whose documents come by themselves."""

    house: House

    async def add(
        self,
        url: object,
        kind: str = "folder",
        *,
        name: str = "files",
        readers: tuple[str, ...] = (),
        schedule: int | str | None = None,
        **options: Any,
    ) -> Source:
        draft = SourceDraft(
            name=name,
            kind=SourceKind(kind),
            url=str(url),
            options=SourceOptions.model_validate(options),
            collection="default",
            readers=readers,
            schedule=schedule,
        )
        return await self.house.services.sources.add("admin", draft)

    async def start(self, source: Source, **wishes: bool) -> str:
        """Let the worker sync a source, but not yet read its files; return the job's id."""
        request = SyncRequest(source.source_id, **wishes)
        job = await self.house.services.sources.request_sync("admin", request)
        await self.house.tasks.run(job.job_id)
        return job.job_id

    async def sync(self, source: Source, **wishes: bool) -> SyncReport:
        """Sync a source and read its files; return what was done."""
        job = await self.ended(await self.start(source, **wishes))
        assert job.state in ("succeeded", "failed"), job.state
        if job.error_code not in (None, "children_failed"):
            raise AssertionError(f"{job.error_code}: {job.error_message}")
        return await self.report(job.job_id)

    async def ended(self, job_id: str) -> Job:
        """Work until nothing is queued, sum up, and return a job."""
        for _ in range(6):
            await self.house.work()
            async with self.house.services.database.transaction() as session:
                await job_rows.sum_up(session)
            if (await self.house.job(job_id)).state not in job_rows.OPEN:
                break
        await self.house.services.index.catch_up()
        return await self.house.job(job_id)

    async def report(self, job_id: str) -> SyncReport:
        async with self.house.services.database.transaction() as session:
            row = await session.scalar(
                text("SELECT report FROM source_sync WHERE job_id = :id"), {"id": job_id}
            )
        return SyncReport.of(row or {})

    async def documents(self, source_id: str) -> dict[str, tuple[Document, DocumentVersion]]:
        """The documents of a source that are there, by their keys."""
        query = (
            select(Document, DocumentVersion)
            .join(
                DocumentVersion,
                (DocumentVersion.document_id == Document.document_id)
                & (DocumentVersion.version == Document.latest_version),
            )
            .where(Document.source_id == source_id, Document.deleted_at.is_(None))
        )
        async with self.house.services.database.transaction() as session:
            rows = (await session.execute(query)).all()
        return {document.source_key or "": (document, version) for document, version in rows}

    async def skipped(self, source_id: str) -> dict[str, str]:
        """What is not read, and why."""
        async with self.house.services.database.transaction() as session:
            found = await source_rows.list_skipped(session, source_id)
        return {one.key: one.reason for one in found}

    async def jobs(self) -> int:
        """How many jobs there have been."""
        async with self.house.services.database.transaction() as session:
            return int(await session.scalar(text("SELECT count(*) FROM job")) or 0)

    async def delete_document(self, document_id: str) -> None:
        await self.house.services.documents.delete(ADMIN, document_id)


def happened(report: SyncReport) -> dict[str, int]:
    """What there was at all of what a report counts."""
    return {fate: count for fate, count in report.counts.items() if count}


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
