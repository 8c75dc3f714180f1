"""API keys."""

from fastapi import APIRouter, Response

from app.api import schemas
from app.api.dependencies import Admin, Auditor, Wired

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
