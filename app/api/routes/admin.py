"""API keys and the audit trail."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime

from app.api import schemas
from app.api.dependencies import Admin, Auditor, Cursor, Limit, Wired
from app.domain.errors import InvalidField

router = APIRouter(prefix="/v1/admin", tags=["admin"])


@router.get("/api-keys")
async def list_keys(services: Wired, _: Auditor) -> schemas.Page[schemas.KeyView]:
    """All keys, without the keys."""
    rows = await services.access.list_keys()
    return schemas.Page(items=[schemas.KeyView.of(row) for row in rows], next_cursor=None)


@router.post("/api-keys", status_code=201)
async def create_key(services: Wired, caller: Admin, new: schemas.NewKey) -> schemas.CreatedKey:
    """Make a key; it is shown this once."""
    row, key = await services.access.create_key(
        caller.user_id, new.user_id, new.scopes, new.expires_at
    )
    return schemas.CreatedKey(key_id=row.key_id, key=key)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_key(services: Wired, caller: Admin, key_id: str) -> Response:
    """Revoke a key; it is refused from the next request on."""
    await services.access.revoke_key(caller.user_id, key_id)
    return Response(status_code=204)


@router.get("/audit")
async def list_audit(
    services: Wired,
    _: Auditor,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    order: Literal["newest", "oldest"] = "newest",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.Page[schemas.AuditView]:
    """Who did, asked and read what; each event's sum covers the one before."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidField("cursor", "not one that a page before gave")
    rows = await services.audit.list_events(
        limit + 1,
        order == "newest",
        int(cursor) if cursor else None,
        actor=actor,
        action=action,
        target=target,
        since=since,
        until=until,
    )
    page = rows[:limit]
    return schemas.Page(
        items=[schemas.AuditView.of(row) for row in page],
        next_cursor=str(page[-1].number) if len(rows) > limit else None,
    )
