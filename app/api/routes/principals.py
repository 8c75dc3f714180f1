"""Users and groups."""

from fastapi import APIRouter, Response

from app.api import schemas
from app.api.dependencies import Admin, Auditor, Cursor, Limit, Wired

router = APIRouter(prefix="/v1/admin", tags=["admin"])


@router.get("/users")
async def list_users(
    services: Wired, _: Auditor, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.UserView]:
    """All users, by their ids."""
    found = await services.principals.list_all("user", limit + 1, cursor)
    items = [schemas.UserView.of(view) for view in found[:limit]]
    more = len(found) > limit
    return schemas.Page(items=items, next_cursor=items[-1].user_id if more else None)


@router.post("/users", status_code=201)
async def add_user(services: Wired, caller: Admin, new: schemas.NewUser) -> schemas.UserView:
    """Make a user before the first sign-in, or one that only has API keys."""
    fields = new.model_dump(exclude={"user_id"}, exclude_unset=True)
    view = await services.principals.create(caller, f"user:{new.user_id}", fields)
    return schemas.UserView.of(view)


@router.get("/users/{user_id}")
async def get_user(services: Wired, _: Auditor, user_id: str) -> schemas.UserView:
    """One user."""
    return schemas.UserView.of(await services.principals.get(f"user:{user_id}"))


@router.patch("/users/{user_id}")
async def change_user(
    services: Wired, caller: Admin, user_id: str, change: schemas.UserChange
) -> schemas.UserView:
    """Change name, roles, groups or identity, or disable: what is not named stays."""
    fields = change.model_dump(exclude_unset=True)
    view = await services.principals.change(caller, f"user:{user_id}", fields)
    return schemas.UserView.of(view)


@router.delete("/users/{user_id}", status_code=204)
async def delete_user(services: Wired, caller: Admin, user_id: str) -> Response:
    """Shut a user out for good: keys, roles and groups are gone, and nobody else gets the id."""
    await services.principals.delete(caller, f"user:{user_id}")
    return Response(status_code=204)


@router.get("/groups")
async def list_groups(
    services: Wired, _: Auditor, limit: Limit = 50, cursor: Cursor = None
) -> schemas.Page[schemas.GroupView]:
    """All groups, by their ids."""
    found = await services.principals.list_all("group", limit + 1, cursor)
    items = [schemas.GroupView.of(view) for view in found[:limit]]
    more = len(found) > limit
    return schemas.Page(items=items, next_cursor=items[-1].group_id if more else None)


@router.post("/groups", status_code=201)
async def add_group(services: Wired, caller: Admin, new: schemas.NewGroup) -> schemas.GroupView:
    """Make a group of users and groups."""
    fields = new.model_dump(exclude={"group_id"}, exclude_unset=True)
    view = await services.principals.create(caller, f"group:{new.group_id}", fields)
    return schemas.GroupView.of(view)


@router.get("/groups/{group_id:path}")
async def get_group(services: Wired, _: Auditor, group_id: str) -> schemas.GroupView:
    """One group."""
    return schemas.GroupView.of(await services.principals.get(f"group:{group_id}"))


@router.patch("/groups/{group_id:path}")
async def change_group(
    services: Wired, caller: Admin, group_id: str, change: schemas.GroupChange
) -> schemas.GroupView:
    """Change name, members or roles, or disable: what is not named stays."""
    fields = change.model_dump(exclude_unset=True)
    view = await services.principals.change(caller, f"group:{group_id}", fields)
    return schemas.GroupView.of(view)


@router.delete("/groups/{group_id:path}", status_code=204)
async def delete_group(services: Wired, caller: Admin, group_id: str) -> Response:
    """Delete a group; an identity provider that names it still puts people into it."""
    await services.principals.delete(caller, f"group:{group_id}")
    return Response(status_code=204)
