"""The glossary: taken over as a whole from a CSV file."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from app.api import schemas
from app.api.dependencies import Admin, Wired
from app.domain.glossary import write_glossary

router = APIRouter(prefix="/v1/admin", tags=["admin"])

_CSV = "text/csv"
_FILE: dict[str, Any] = {"content": {_CSV: {"schema": {"type": "string"}}}}


@router.put("/glossary", openapi_extra={"requestBody": {"required": True, **_FILE}})
async def replace_glossary(
    services: Wired, caller: Admin, request: Request
) -> schemas.GlossaryReplaced:
    """Take over a CSV file as the whole glossary, or, when a line is broken, nothing of it."""
    terms, updated_at = await services.glossary.replace(caller.user_id, await request.body())
    return schemas.GlossaryReplaced(terms=terms, updated_at=updated_at)


@router.get("/glossary", response_model=schemas.GlossaryView, responses={200: _FILE})
async def get_glossary(services: Wired, _: Admin, request: Request) -> Any:
    """The glossary, as JSON or, with `Accept: text/csv`, as the file."""
    stored = await services.glossary.stored()
    if _CSV in request.headers.get("accept", ""):
        return PlainTextResponse(write_glossary(stored.entries), media_type=_CSV)
    return schemas.GlossaryView.of(stored)


@router.delete("/glossary", status_code=204)
async def clear_glossary(services: Wired, caller: Admin) -> Response:
    """Remove the glossary."""
    await services.glossary.clear(caller.user_id)
    return Response(status_code=204)
