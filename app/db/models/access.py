"""Principals, memberships, API keys and the audit trail."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, now


class PrincipalRow(Base):
    """A person, service or group: `user:<id>` or `group:<id>`.

    Somebody who signs in is known by `issuer` and `subject`. An implicit one is only named by a key
    or a group so far. A deleted user stays, disabled, so that nobody else gets the id.
    """

    __tablename__ = "principal"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    principal: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(default=False)
    implicit: Mapped[bool] = mapped_column(default=False)
    roles: Mapped[list[str]] = mapped_column(default=list)
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Membership(Base):
    """A principal belongs to a group; groups may nest."""

    __tablename__ = "membership"

    member: Mapped[str] = mapped_column(
        ForeignKey("principal.principal", ondelete="CASCADE"), primary_key=True
    )
    group: Mapped[str] = mapped_column(
        ForeignKey("principal.principal", ondelete="CASCADE"), primary_key=True, index=True
    )


class ApiKey(Base):
    """A bearer key; only its SHA-256 is kept."""

    __tablename__ = "api_key"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """Who did what to which thing; see app.domain.audit. Only `audit_append` in SQL makes rows."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_target", "target", "number"),
        Index("ix_audit_event_actor", "actor", "number"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    details: Mapped[dict[str, object]] = mapped_column(JSON)
    hash: Mapped[bytes]
