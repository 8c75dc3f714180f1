"""Bodies of requests and responses, as the HTTP contract names them."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.db.models import ApiKey, Job
from app.db.models import Chunk as ChunkRow
from app.db.models import Collection as CollectionRow
from app.db.repositories.documents import DocumentView
from app.domain import answers, documents
from app.domain.access import Scope
from app.services.answering import Finished
from app.services.documents import Accepted as AcceptedUpload
from app.services.retrieval import SearchMode

T = TypeVar("T")

Name = Annotated[str, StringConstraints(pattern=r"^[\w][\w.-]{0,63}$")]


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None


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


class CollectionChange(Body):
    """What may be changed of a collection; readers count for documents that come later."""

    description: str | None = None
    readers: Annotated[list[str], Field(min_length=1)] | None = None


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


class Filters(Body):
    """Narrows a search."""

    language: Literal["ru", "en"] | None = None
    media_type: str | None = None
    updated_after: datetime | None = None
    source_uri_prefix: str | None = None


class SearchRequest(Body):
    """A search."""

    query: str
    collections: list[str] = []
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    filters: Filters = Filters()
    mode: SearchMode = SearchMode.HYBRID


class Passage(BaseModel):
    """A found piece of a document."""

    chunk_id: str
    document_id: str
    version: int
    title: str
    source_uri: str | None
    text: str
    pages: list[int]
    heading_path: list[str]
    char_start: int
    char_end: int
    score: float
    rank: int
    found_by: list[str]

    @classmethod
    def of(cls, passage: documents.Passage) -> "Passage":
        """From the domain's passage."""
        fields = {name: getattr(passage, name) for name in cls.model_fields}
        return cls.model_validate(fields | {"chunk_id": str(passage.chunk_id)}, strict=False)


class SearchResponse(BaseModel):
    """Passages, best first."""

    passages: list[Passage]
    generation_id: str
    timings_ms: dict[str, float]


class ResponseFormat(BaseModel):
    """The form of the answer."""

    type: Literal["text", "html", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = None


class AskRequest(Body):
    """A question."""

    question: str
    conversation_id: str | None = None
    collections: list[str] = []
    filters: Filters = Filters()
    assistant: str | None = None
    language: Literal["auto", "ru", "en"] = "auto"
    stages: Literal[1, 2] = 1
    response_format: ResponseFormat = ResponseFormat()
    stream: bool = False


class Citation(BaseModel):
    """A sentence of the answer and the exact piece of a document that carries it."""

    marker: int
    document_id: str
    version: int
    chunk_id: str
    title: str
    source_uri: str | None
    pages: list[int]
    quote: str
    char_start: int
    char_end: int
    answer_start: int
    answer_end: int
    support: float

    @classmethod
    def of(cls, citation: answers.Citation) -> "Citation":
        """From the domain's citation."""
        fields = {name: getattr(citation, name) for name in cls.model_fields}
        return cls.model_validate(fields | {"chunk_id": str(citation.chunk_id)}, strict=False)


class Usage(BaseModel):
    """Tokens as the model server counted them."""

    prompt_tokens: int
    completion_tokens: int


class AskResponse(BaseModel):
    """An answer or an abstention."""

    answer_id: str
    conversation_id: str
    status: answers.AnswerStatus
    reason: answers.AbstentionReason | None = None
    text: str
    citations: list[Citation]
    passages: list[Passage]
    model: str
    adapter: str | None = None
    generation_id: str
    prompt_version: str
    usage: Usage
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, finished: Finished) -> "AskResponse":
        """From the use case's last event."""
        result = finished.result
        answered = isinstance(result, answers.Answer)
        return cls(
            answer_id=finished.answer_id,
            conversation_id=finished.conversation_id,
            status=answers.AnswerStatus.ANSWERED if answered else answers.AnswerStatus.ABSTAINED,
            reason=None if isinstance(result, answers.Answer) else result.reason,
            text=result.text,
            citations=[Citation.of(c) for c in result.citations]
            if isinstance(result, answers.Answer)
            else [],
            passages=[Passage.of(passage) for passage in result.passages],
            model=result.provenance.model,
            adapter=result.provenance.adapter,
            generation_id=result.provenance.generation_id,
            prompt_version=result.provenance.prompt_version,
            usage=Usage(
                prompt_tokens=result.usage.prompt_tokens,
                completion_tokens=result.usage.completion_tokens,
            ),
            timings_ms=result.timings_ms,
        )


class ConversationView(BaseModel):
    """A thread of questions."""

    conversation_id: str
    title: str
    created_at: datetime
    updated_at: datetime


class Turn(BaseModel):
    """A question and its answer, as stored."""

    answer_id: str
    question: str
    status: answers.AnswerStatus
    reason: answers.AbstentionReason | None
    text: str
    citations: list[Citation]
    created_at: datetime


class ConversationDetail(ConversationView):
    """A thread with its turns."""

    turns: list[Turn]


class Feedback(Body):
    """What a user thought of an answer."""

    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=4000)] | None = None
    correction: Annotated[str, Field(max_length=20000)] | None = None
    reasons: Annotated[list[str], Field(max_length=20)] = []


class NewKey(Body):
    """An API key to be made."""

    user_id: Name
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires_at: datetime | None = None


class CreatedKey(BaseModel):
    """A new API key; it is shown this once."""

    key_id: str
    key: str


class KeyView(BaseModel):
    """An API key without the key."""

    key_id: str
    user_id: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey) -> "KeyView":
        """From the stored row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})
