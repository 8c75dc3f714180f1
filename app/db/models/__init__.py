"""All tables; importing this module registers them on Base.metadata."""

from app.db.models.access import ApiKey, AuditRow, Membership, PrincipalRow
from app.db.models.answers import (
    AnswerCitation,
    AnswerPassage,
    AnswerRow,
    Conversation,
    FeedbackRow,
)
from app.db.models.assistants import AssistantRow
from app.db.models.documents import (
    Chunk,
    Collection,
    Document,
    DocumentVersion,
    Embedding,
    ParsedText,
)
from app.db.models.glossary import GlossaryRow
from app.db.models.index import Generation, IndexLog, Recipe
from app.db.models.jobs import Job
from app.db.models.sources import SkippedFile, Source, SourceSync

__all__ = [
    "AnswerCitation",
    "AnswerPassage",
    "AnswerRow",
    "ApiKey",
    "AssistantRow",
    "AuditRow",
    "Chunk",
    "Collection",
    "Conversation",
    "Document",
    "DocumentVersion",
    "Embedding",
    "FeedbackRow",
    "Generation",
    "GlossaryRow",
    "IndexLog",
    "Job",
    "Membership",
    "ParsedText",
    "PrincipalRow",
    "Recipe",
    "SkippedFile",
    "Source",
    "SourceSync",
]
