"""What routes ask for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from app.domain.access import AccessScope, Scope, authorize
from app.wiring import Services


async def services(request: Request) -> Services:
    """The wired use cases. Like all dependencies no plain function: that would cost a thread."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def needs(*scopes: Scope) -> Callable[[Request], Awaitable[AccessScope]]:
    """A dependency that returns the caller, whom `authorize` has let pass."""

    async def caller(request: Request) -> AccessScope:
        found = request.state.caller
        assert isinstance(found, AccessScope)
        authorize(found, *scopes)
        return found

    return caller


Wired = Annotated[Services, Depends(services)]
Asker = Annotated[AccessScope, Depends(needs(Scope.ASK))]
Ingester = Annotated[AccessScope, Depends(needs(Scope.INGEST))]
Reader = Annotated[AccessScope, Depends(needs(Scope.ASK, Scope.INGEST))]
Auditor = Annotated[AccessScope, Depends(needs(Scope.AUDIT))]
Admin = Annotated[AccessScope, Depends(needs())]
Limit = Annotated[int, Query(ge=1, le=200, description="Items per page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
