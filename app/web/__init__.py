"""The page at `/`."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from app.web.reference import render

router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).with_name("static") / "index.html"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def page() -> FileResponse:
    """The page; everything that it shows it fetches with the key that its user types in."""
    return FileResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """The API's description; no script, and nothing from another host."""
    page = render(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
