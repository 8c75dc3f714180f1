"""Bodies of re-indexing and generations."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.schemas.base import Body
from app.db.models import Generation, Recipe


class NewReindex(Body):
    """What the index is to be made with; what is left out is as the settings say.

    `collections` alone has those documents read anew, for a parser that has become better.
    """

    embedding_model: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    chunk_tokens: Annotated[int, Field(ge=32, le=8192)] | None = None
    collections: list[str] | None = None
    activate: Literal["when_ready", "manual"] = "when_ready"
    force: bool = False


class GenerationView(BaseModel):
    """A saved index: `active` is the one that questions are answered with."""

    generation_id: str
    state: Literal["active", "ready"]
    embedder: str
    chunk_tokens: int
    chunks: int
    recall: float
    log_number: int
    created_at: datetime

    @classmethod
    def of(cls, row: Generation, recipe: Recipe) -> "GenerationView":
        """From the stored rows."""
        serves = row.state == "active" and recipe.state == "serving"
        return cls(
            generation_id=row.generation_id,
            state="active" if serves else "ready",
            embedder=recipe.fingerprint,
            chunk_tokens=recipe.chunk_tokens,
            chunks=row.chunks,
            recall=row.recall,
            log_number=row.log_number,
            created_at=row.created_at,
        )
