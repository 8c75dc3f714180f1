"""What routes ask for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from app.domain.access import AccessScope, Scope
from app.domain.errors import Forbidden
from app.wiring import Services


async def services(request: Request) -> Services:
    """The wired use cases. Like all dependencies no plain function: that would cost a thread."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def needs(*scopes: Scope) -> Callable[[Request], Awaitable[AccessScope]]:
    """A dependency that returns the caller if the credential has one of the scopes."""

    async def caller(request: Request) -> AccessScope:
        found = request.state.caller
        assert isinstance(found, AccessScope)
        if not found.scopes.intersection({*scopes, Scope.ADMIN}):
            wanted = " or ".join(f"`{scope}`" for scope in scopes) or "`admin`"
            raise Forbidden(f"this call needs the scope {wanted}")
        return found

    return caller


Wired = Annotated[Services, Depends(services)]
Asker = Annotated[AccessScope, Depends(needs(Scope.ASK))]
Ingester = Annotated[AccessScope, Depends(needs(Scope.INGEST))]
Reader = Annotated[AccessScope, Depends(needs(Scope.ASK, Scope.INGEST))]
Admin = Annotated[AccessScope, Depends(needs())]
Limit = Annotated[int, Query(ge=1, le=200, description="Items per page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
