"""Assistants."""

from fastapi import APIRouter, Response

from app.api import schemas
from app.api.dependencies import Admin, Asker, Wired
from app.domain.assistants import Assistant

router = APIRouter(prefix="/v1", tags=["assistants"])


@router.get("/assistants")
async def list_assistants(services: Wired, caller: Asker) -> schemas.Page[schemas.AssistantView]:
    """All assistants; their collections are those that the caller may see."""
    found = await services.assistants.seen_by(caller)
    items = [schemas.AssistantView.of(one, collections) for one, collections in found]
    return schemas.Page(items=items, next_cursor=None)


@router.post("/assistants", status_code=201)
async def add_assistant(
    services: Wired, caller: Admin, new: schemas.NewAssistant
) -> schemas.AssistantView:
    """Make an assistant."""
    assistant = new.applied(Assistant(new.name))
    return schemas.AssistantView.of(await services.assistants.create(caller.user_id, assistant))


@router.patch("/assistants/{name}")
async def change_assistant(
    services: Wired, caller: Admin, name: str, change: schemas.AssistantChange
) -> schemas.AssistantView:
    """Change an assistant, also the default one; what is not named stays."""
    changed = await services.assistants.change(caller.user_id, name, change.applied)
    return schemas.AssistantView.of(changed)


@router.delete("/assistants/{name}", status_code=204)
async def delete_assistant(services: Wired, caller: Admin, name: str) -> Response:
    """Delete an assistant; the default one stays."""
    await services.assistants.delete(caller.user_id, name)
    return Response(status_code=204)
