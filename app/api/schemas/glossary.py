"""Bodies of the glossary."""

from datetime import datetime

from pydantic import BaseModel

from app.db.repositories.glossary import StoredGlossary


class GlossaryEntry(BaseModel):
    """A term and what means the same."""

    term: str
    expansions: list[str]
    language: str | None


class GlossaryView(BaseModel):
    """The glossary; `updated_at` is null while there is none."""

    terms: list[GlossaryEntry]
    updated_at: datetime | None

    @classmethod
    def of(cls, stored: StoredGlossary) -> "GlossaryView":
        """From the stored entries."""
        terms = [
            GlossaryEntry(term=e.term, expansions=list(e.expansions), language=e.language)
            for e in stored.entries
        ]
        return cls(terms=terms, updated_at=stored.updated_at)


class GlossaryReplaced(BaseModel):
    """How many terms were taken over, and when."""

    terms: int
    updated_at: datetime
