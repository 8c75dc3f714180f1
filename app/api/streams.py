"""Server-sent events, and stopping work when its caller leaves."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

T = TypeVar("T")
_CLIENT_LEFT = 499  # nginx's number; nobody reads it, the log and the metrics do
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(event: str | None, data: object) -> bytes:
    """One server-sent event with a JSON payload."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


def event_stream(chunks: AsyncIterator[bytes]) -> StreamingResponse:
    """A response that ends its generator as soon as the client leaves."""
    return StreamingResponse(chunks, media_type="text/event-stream", headers=_HEADERS)


async def streamed(
    request: Request,
    events: AsyncGenerator[T, None],
    chunks: Callable[[AsyncGenerator[T, None]], AsyncIterator[bytes]],
) -> Response:
    """Stream events as chunks, once there is a first one: what fails before is a plain error."""
    begun = await unless_left(request, _begun(events))
    return begun if isinstance(begun, Response) else event_stream(chunks(begun))


async def _begun(events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    first = await anext(events)

    async def all_events() -> AsyncGenerator[T, None]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()

    return all_events()


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T | Response:
    """Await work, but cancel it as soon as the client closes the connection.

    Returns:
        What the work gives, or a response for nobody.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            return Response(status_code=_CLIENT_LEFT)
        return await task
    finally:
        for future in (task, watcher):
            future.cancel()
