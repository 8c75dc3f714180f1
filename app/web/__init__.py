"""The page at `/`."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from app.web.reference import render

router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).with_name("static") / "index.html"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def page(request: Request) -> Response:
    """The page; everything that it shows it fetches with the key that its user types in.

    A reverse proxy that signs users in adds their credential to this request too: then it asks for
    no key.
    """
    headers = {"Content-Security-Policy": _POLICY, "Vary": "Authorization"}
    if "authorization" not in request.headers:
        return FileResponse(_PAGE, headers=headers)
    text = await asyncio.to_thread(_PAGE.read_text, "utf-8")
    marked = text.replace("<html", "<html data-signed-in", 1)
    return HTMLResponse(marked, headers=headers | {"Cache-Control": "no-store"})


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """The API's description; no script, and nothing from another host."""
    page = render(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
