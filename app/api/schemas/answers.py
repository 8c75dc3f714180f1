"""Bodies of search, questions and conversations."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from app.api.schemas.assistants import ResponseFormat, Stages
from app.api.schemas.base import Body
from app.db.models import AnswerCitation, AnswerRow
from app.domain import answers, documents
from app.services.answering import Finished
from app.services.retrieval import SearchMode


class Filters(Body):
    """Narrows a search."""

    language: Literal["ru", "en"] | None = None
    media_type: str | None = None
    updated_after: AwareDatetime | None = None
    source_uri_prefix: str | None = None


class SearchRequest(Body):
    """A search."""

    query: str
    collections: list[str] = []
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    filters: Filters = Filters()
    mode: SearchMode = SearchMode.HYBRID
    prefer_recent: bool = False


class Passage(BaseModel):
    """A found piece of a document.

    `context` is the header of the table that its rows belong to; `duplicates` are other documents
    that say the same.
    """

    chunk_id: str
    document_id: str
    version: int
    title: str
    source_uri: str | None
    text: str
    context: str
    pages: list[int]
    heading_path: list[str]
    char_start: int
    char_end: int
    score: float
    rank: int
    found_by: list[str]
    duplicates: list[str]

    @classmethod
    def of(cls, passage: documents.Passage) -> "Passage":
        """From the domain's passage."""
        fields = {name: getattr(passage, name) for name in cls.model_fields}
        return cls.model_validate(fields | {"chunk_id": str(passage.chunk_id)}, strict=False)


class SearchResponse(BaseModel):
    """Passages, best first.

    `searched_for` is the query as it was understood: typed in the wrong keyboard layout, it is
    repaired.
    """

    passages: list[Passage]
    searched_for: str
    generation_id: str
    timings_ms: dict[str, float]


class AskRequest(Body):
    """A question."""

    question: str
    conversation_id: str | None = None
    collections: list[str] = []
    filters: Filters = Filters()
    assistant: str | None = None
    language: Literal["auto", "ru", "en"] = "auto"
    stages: Stages | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False


class Layers(BaseModel):
    """What each layer of the check found, in [0, 1]; null where it was not asked."""

    facts: float
    lexical: float
    embedding: float | None
    entailment: float | None


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
    layers: Layers | None
    document_sha256: str | None

    @classmethod
    def of(cls, citation: answers.Citation) -> "Citation":
        """From the domain's citation."""
        fields = {name: getattr(citation, name) for name in cls.model_fields}
        layers = asdict(citation.layers) if citation.layers else None
        changed = {"chunk_id": str(citation.chunk_id), "layers": layers}
        return cls.model_validate(fields | changed, strict=False)

    @classmethod
    def stored(cls, row: AnswerCitation) -> "Citation":
        """From the stored row."""
        fields = {name: getattr(row, name) for name in cls.model_fields}
        return cls.model_validate(fields | {"chunk_id": str(row.chunk_id)})


class Usage(BaseModel):
    """Tokens as the model server counted them."""

    prompt_tokens: int
    completion_tokens: int


class AskResponse(BaseModel):
    """An answer or an abstention; `data` is there where the answer's form is `json_schema`."""

    answer_id: str
    conversation_id: str
    status: answers.AnswerStatus
    reason: answers.AbstentionReason | None = None
    text: str
    data: Any = None
    citations: list[Citation]
    passages: list[Passage]
    assistant: str
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
            data=result.data if isinstance(result, answers.Answer) else None,
            citations=[Citation.of(c) for c in result.citations]
            if isinstance(result, answers.Answer)
            else [],
            passages=[Passage.of(passage) for passage in result.passages],
            assistant=result.provenance.assistant,
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
    """A question and its answer, as stored.

    The answer is withheld, without text, data and citations, where it stands on a document that is
    gone or not the caller's to read any more.
    """

    answer_id: str
    question: str
    assistant: str
    status: answers.AnswerStatus
    reason: answers.AbstentionReason | None
    withheld: bool
    text: str
    data: Any
    citations: list[Citation]
    created_at: datetime

    @classmethod
    def of(cls, row: AnswerRow, citations: Sequence[AnswerCitation], is_lost: bool) -> "Turn":
        """From what is stored."""
        return cls(
            answer_id=row.answer_id,
            question=row.question,
            assistant=row.assistant,
            status=answers.AnswerStatus(row.status),
            reason=answers.AbstentionReason(row.reason) if row.reason else None,
            withheld=is_lost,
            text="" if is_lost else row.text,
            data=None if is_lost else row.data,
            citations=[] if is_lost else [Citation.stored(citation) for citation in citations],
            created_at=row.created_at,
        )


class ConversationChange(Body):
    """What may be changed of a conversation."""

    title: Annotated[str, Field(min_length=1, max_length=200)]


class ConversationDetail(ConversationView):
    """A thread with its turns."""

    turns: list[Turn]


class Feedback(Body):
    """What a user thought of an answer."""

    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=4000)] | None = None
    correction: Annotated[str, Field(max_length=20000)] | None = None
    reasons: Annotated[list[str], Field(max_length=20)] = []
