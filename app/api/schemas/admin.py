"""Bodies of API keys and of the audit trail."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.api.schemas.base import Body, UserId
from app.db.models import ApiKey, AuditRow
from app.domain.access import Scope


class NewKey(Body):
    """An API key to be made."""

    user_id: UserId
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


class AuditView(BaseModel):
    """An event of the audit trail; `hash` is hexadecimal."""

    number: int
    at: datetime
    actor: str
    action: str
    target: str
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, row: AuditRow) -> "AuditView":
        """From the stored row."""
        fields = {name: getattr(row, name) for name in cls.model_fields}
        return cls(**fields | {"hash": row.hash.hex()})
