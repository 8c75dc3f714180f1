"""The door for OpenAI-compatible clients."""

from fastapi import APIRouter, Request, Response

from app.api import schemas
from app.api.completions import Completions
from app.api.dependencies import Asker, Wired
from app.api.routes.answers import checked_text
from app.api.streams import streamed, unless_left
from app.domain.assistants import Assistant
from app.domain.documents import SearchFilters
from app.domain.errors import InvalidField, NotFound
from app.services.drafts import Question
from app.wiring import Services

router = APIRouter(prefix="/v1", tags=["openai"])

_OPEN_WEBUI = "x-openwebui-"


@router.get("/models")
async def list_models(services: Wired, caller: Asker) -> dict[str, object]:
    """The assistants, as models."""
    found = await services.assistants.seen_by(caller)
    return {"object": "list", "data": [_model(assistant.name) for assistant, _ in found]}


@router.get("/models/{name}")
async def get_model(services: Wired, _: Asker, name: str) -> dict[str, object]:
    """One assistant."""
    return _model((await _known(services, name)).name)


@router.post("/chat/completions", response_model=None)
async def complete(
    request: Request, services: Wired, caller: Asker, body: schemas.ChatRequest
) -> Response | dict[str, object]:
    """Answer the last user message over the caller's documents, with citations as notes."""
    assistant = await _known(services, body.model)
    asked = body.questions()
    if not asked:
        raise InvalidField("messages", "hold no message of the role `user`")
    question = Question(
        text=checked_text("messages", asked[-1], services.settings.http.max_question_chars),
        filters=SearchFilters(collections=assistant.collections),
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=tuple(body.stop),
        assistant=assistant,
        answer_format=body.response_format.domain() if body.response_format else None,
        history=body.history(),
    )
    events = services.answering.ask(caller, question)
    completions = Completions(
        body.model,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        for_open_webui=any(name.startswith(_OPEN_WEBUI) for name in request.headers),
    )
    if body.stream:
        return await streamed(request, events, completions.chunks)
    return await unless_left(request, completions.whole(events))


async def _known(services: Services, name: str) -> Assistant:
    try:
        return await services.assistants.get(name)
    except NotFound:
        raise NotFound(f"there is no model {name!r}; GET /v1/models lists the assistants") from None


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "opora"}
