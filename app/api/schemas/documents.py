"""Bodies of documents, collections and jobs."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.base import Body, Name
from app.db.models import Chunk as ChunkRow
from app.db.models import Collection as CollectionRow
from app.db.models import Job
from app.db.repositories.documents import DocumentView
from app.domain import documents
from app.services.documents import Accepted as AcceptedUpload


class Accepted(BaseModel):
    """An upload that was taken in."""

    document_id: str
    version: int
    job_id: str
    status: documents.DocumentStatus
    duplicate: bool

    @classmethod
    def of(cls, accepted: AcceptedUpload) -> "Accepted":
        """From the use case's result."""
        return cls(**{name: getattr(accepted, name) for name in cls.model_fields})


class Document(BaseModel):
    """A document and its newest version; `live_version` is the one that search sees."""

    document_id: str
    collection: str
    title: str
    source_uri: str | None
    source_id: str | None
    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    language: str | None
    version: int
    live_version: int | None
    status: documents.DocumentStatus
    reason: str | None
    flags: list[str]
    pages: int | None
    chunks: int
    readers: list[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: DocumentView) -> "Document":
        """From the stored rows."""
        document, version = view.document, view.version
        return cls(
            document_id=document.document_id,
            collection=document.collection,
            title=document.title,
            source_uri=document.source_uri,
            source_id=document.source_id,
            filename=version.filename,
            media_type=version.media_type,
            size_bytes=version.size_bytes,
            sha256=version.sha256,
            language=version.language,
            version=version.version,
            live_version=document.live_version,
            status=view.status,
            reason=version.reason,
            flags=version.flags,
            pages=version.pages,
            chunks=version.chunks,
            readers=document.readers,
            created_at=document.created_at,
            updated_at=document.updated_at,
        )


class DocumentChange(Body):
    """What may be changed of a document."""

    title: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    readers: list[str] | None = None
    collection: str | None = None


class Chunk(BaseModel):
    """A chunk; offsets count code points of the parsed text."""

    chunk_id: str
    ordinal: int
    char_start: int
    char_end: int
    text: str
    context: str
    heading_path: list[str]
    pages: list[int]
    tokens: int

    @classmethod
    def of(cls, row: ChunkRow) -> "Chunk":
        """From the stored row."""
        fields = {name: getattr(row, name) for name in cls.model_fields}
        return cls(**fields | {"chunk_id": str(row.chunk_id)})


class Collection(BaseModel):
    """A named set of documents."""

    name: str
    description: str
    readers: list[str]
    editors: list[str]
    created_at: datetime

    @classmethod
    def of(cls, row: CollectionRow) -> "Collection":
        """From the stored row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class NewCollection(Body):
    """A collection to be made."""

    name: Name
    description: str = ""
    readers: Annotated[list[str], Field(min_length=1)]
    editors: list[str] = []


class CollectionChange(Body):
    """What may be changed of a collection; readers count for documents that come later."""

    description: str | None = None
    readers: Annotated[list[str], Field(min_length=1)] | None = None
    editors: list[str] | None = None


class NewBatch(Body):
    """A batch to be made: how many files its maker is going to upload."""

    files: Annotated[int, Field(ge=1)]


class Progress(BaseModel):
    """How far a job is."""

    done: int
    total: int
    unit: str


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobView(BaseModel):
    """A job."""

    job_id: str
    kind: str
    document_id: str | None
    parent_id: str | None
    state: documents.JobState
    progress: Progress
    eta_s: float | None
    attempts: int
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, at: datetime) -> "JobView":
        """From the stored row, as it stands at a time."""
        eta_s = None
        if job.state == documents.JobState.RUNNING and job.started_at and job.done > 0:
            spent = (at - job.started_at).total_seconds()
            eta_s = round(spent / job.done * max(job.total - job.done, 0), 1)
        return cls(
            job_id=job.job_id,
            kind=job.kind,
            document_id=job.document_id,
            parent_id=job.parent_id,
            state=documents.JobState(job.state),
            progress=Progress(done=job.done, total=job.total, unit=job.unit),
            eta_s=eta_s,
            attempts=job.attempts,
            error=JobError(code=job.error_code, message=job.error_message or "")
            if job.error_code
            else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )
