"""Re-indexing and generations."""

from fastapi import APIRouter, Response

from app.api import schemas
from app.api.dependencies import Admin, Wired
from app.db.base import now
from app.domain.errors import InvalidField

router = APIRouter(prefix="/v1/admin", tags=["admin"])


@router.post("/reindex", status_code=202)
async def reindex(services: Wired, caller: Admin, new: schemas.NewReindex) -> schemas.JobView:
    """Make the index anew beside the one that serves, with another embedder or chunk size."""
    if new.collections is not None:
        if new.embedding_model or new.chunk_tokens:
            raise InvalidField("collections", "all collections have the same embedder and chunks")
        job = await services.reindexes.read_anew(caller, new.collections)
    else:
        options = new.model_dump(exclude={"collections"}, exclude_none=True)
        job = await services.reindexes.start(caller, options)
    return schemas.JobView.of(job, now())


@router.get("/generations")
async def list_generations(services: Wired, _: Admin) -> schemas.Page[schemas.GenerationView]:
    """Saved indexes, newest first."""
    rows = await services.reindexes.list_all()
    items = [schemas.GenerationView.of(row, recipe) for row, recipe in rows]
    return schemas.Page(items=items, next_cursor=None)


@router.post("/generations/{generation_id}/activate", status_code=202)
async def activate(services: Wired, caller: Admin, generation_id: str) -> schemas.JobView:
    """Answer with a generation's embedder and chunks, once it has what came since; the way back."""
    job = await services.reindexes.activate(caller, generation_id)
    return schemas.JobView.of(job, now())


@router.delete("/generations/{generation_id}", status_code=204)
async def delete_generation(services: Wired, caller: Admin, generation_id: str) -> Response:
    """Delete a generation that does not serve, with all its chunks and vectors."""
    await services.reindexes.delete(caller, generation_id)
    return Response(status_code=204)
