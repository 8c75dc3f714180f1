"""What stands before every route, in plain ASGI: credential, body limit, request id, metrics."""

import secrets
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.errors import error_response
from app.domain.errors import BodyTooLarge, Forbidden, OporaError, Unauthenticated
from app.domain.glossary import MOST_BYTES
from app.services.access import USER_HEADER, Access
from app.settings import HttpSettings
from app.telemetry import REQUEST_SECONDS, REQUESTS, get_logger

log = get_logger(__name__)

_OPEN = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/favicon.ico")
_SAFE = ("GET", "HEAD", "OPTIONS")
_FROM_PAGE = "sec-fetch-site"  # a browser's own word, that no page can change
_FOREIGN = ("cross-site", "same-site")
_UPLOADS = "/v1/documents"
_GLOSSARY = "/v1/admin/glossary"


class Gate:
    """Refuses before it reads: no byte of a body is taken without a good credential."""

    def __init__(self, app: ASGIApp, access: Access, settings: HttpSettings) -> None:
        self._app = app
        self._access = access
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        request_id = secrets.token_hex(8)
        status = 499

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._guard(scope, receive, tagged)
            finally:
                route = getattr(scope.get("route"), "path", "other")
                elapsed = perf_counter() - started
                REQUESTS.labels(scope["method"], route, status).inc()
                REQUEST_SECONDS.labels(route).observe(elapsed)
                log.info(
                    "request.served",
                    method=scope["method"],
                    route=route,
                    status=status,
                    ms=round(elapsed * 1000),
                )

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        try:
            if scope["method"] not in _SAFE and headers.get(_FROM_PAGE) in _FOREIGN:
                raise Forbidden("a page of another site may not send this")
            if not (path == "/" or path in _OPEN or path.startswith(("/static/", "/docs/"))):
                caller = await self._access.authenticate(_bearer(headers))
                caller = await self._access.behind(caller, headers.get(USER_HEADER))
                scope.setdefault("state", {})["caller"] = caller
            limit = self._limit(scope["method"], path)
            declared = headers.get("content-length", "")
            if declared.isdigit() and int(declared) > limit:
                raise _too_large(limit)
        except OporaError as error:
            await error_response(path, error)(scope, receive, send)
            return
        await self._serve_limited(scope, receive, send, limit)

    async def _serve_limited(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Serve, and answer 413 instead as soon as the body passes the limit."""
        seen, started, exceeded = 0, False, False

        async def counted() -> Message:
            nonlocal seen, exceeded
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    exceeded = True
                    raise _too_large(limit)
            return message

        async def unless_exceeded(message: Message) -> None:
            nonlocal started
            if not exceeded or started:
                started = True
                await send(message)

        try:
            await self._app(scope, counted, unless_exceeded)
        except BodyTooLarge:
            if started:
                raise
        if exceeded and not started:
            await error_response(scope["path"], _too_large(limit))(scope, receive, send)

    def _limit(self, method: str, path: str) -> int:
        upload = method in ("POST", "PUT") and path.startswith(_UPLOADS)
        if upload:
            return self._settings.max_upload_bytes + 64 * 1024  # the form around the file
        return MOST_BYTES if path == _GLOSSARY else self._settings.max_body_bytes


def _bearer(headers: Headers) -> str:
    given = headers.getlist("authorization")
    scheme, _, credential = (given[0] if len(given) == 1 else "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated(
            "send one API key or access token as `Authorization: Bearer <key or token>`"
        )
    return credential.strip()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over the limit of {limit} bytes")
