"""The one place where errors become HTTP statuses and bodies."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from structlog.contextvars import get_contextvars

from app.domain.errors import (
    BadInput,
    BodyTooLarge,
    Conflict,
    DatabaseBusy,
    Forbidden,
    InvalidField,
    InvalidLines,
    ModelServerTimeout,
    NotFound,
    OporaError,
    Overloaded,
    PromptTooLong,
    SchemaMismatch,
    StorageUnavailable,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from app.telemetry import get_logger

log = get_logger(__name__)

_STATUSES: tuple[tuple[type[OporaError], int, str], ...] = (
    (Unauthenticated, 401, "Not authenticated"),
    (Forbidden, 403, "Not allowed"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (BodyTooLarge, 413, "Body too large"),
    (UnsupportedMedia, 415, "Unsupported media type"),
    (InvalidField, 422, "Invalid input"),
    (PromptTooLong, 422, "Prompt too long"),
    (BadInput, 400, "Bad request"),
    (Overloaded, 429, "Too many requests"),
    (DatabaseBusy, 429, "Too many requests"),
    (ModelServerTimeout, 504, "The model server is too slow"),
    (Unavailable, 503, "Unavailable"),
    (SchemaMismatch, 502, "The model did not keep to the schema"),
    (OporaError, 500, "Internal error"),
)
OPENAI_PATHS = ("/v1/chat/completions", "/v1/models")


def status_of(error: OporaError) -> tuple[int, str]:
    """The HTTP status and title of an error."""
    return next((status, title) for kind, status, title in _STATUSES if isinstance(error, kind))


def problem(error: OporaError) -> dict[str, object]:
    """An RFC 9457 problem; one of a table names its lines in `errors`."""
    status, title = status_of(error)
    body: dict[str, object] = {
        "type": f"urn:opora:error:{error.code}",
        "title": title,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "request_id": get_contextvars().get("request_id"),
    }
    if isinstance(error, InvalidLines):
        body["errors"] = [{"line": number, "reason": reason} for number, reason in error.lines]
    return body


def openai_error(error: OporaError) -> dict[str, object]:
    """OpenAI's error object."""
    status, _ = status_of(error)
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    default = "invalid_request_error" if status < 500 else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": kinds.get(status, default),
            "param": error.field if isinstance(error, InvalidField) else None,
            "code": error.code,
        }
    }


def error_response(path: str, error: OporaError) -> Response:
    """Answer an error in the shape that the path's clients expect."""
    status, _ = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Overloaded | Unavailable) and status in (429, 503):
        headers["Retry-After"] = str(error.retry_after_s)
    if path.startswith(OPENAI_PATHS):
        return JSONResponse(openai_error(error), status, headers)
    return JSONResponse(problem(error), status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Register the handlers."""

    async def on_opora(request: Request, error: Exception) -> Response:
        assert isinstance(error, OporaError)
        if status_of(error)[0] >= 500:
            log.warning("request.failed", code=error.code, reason=error.message)
        return error_response(request.url.path, error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return error_response(request.url.path, InvalidField(field, first["msg"]))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, OSError):  # the framework keeps a large form in a file
            reason = error.__cause__.strerror or str(error.__cause__)
            return error_response(
                request.url.path, StorageUnavailable(f"the upload cannot be kept: {reason}")
            )
        known: Mapping[int, type[BadInput]] = {404: NotFound}
        wrapped = known.get(error.status_code, BadInput)(str(error.detail))
        response = error_response(request.url.path, wrapped)
        response.status_code = error.status_code
        return response

    async def on_crash(request: Request, error: Exception) -> Response:
        log.error("request.crashed", exc_info=error)
        return error_response(request.url.path, OporaError("an unexpected error; see the log"))

    app.add_exception_handler(OporaError, on_opora)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_crash)
