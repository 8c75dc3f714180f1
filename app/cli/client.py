"""The command line's way to a running Opora: its HTTP contract."""

import json
import mimetypes
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from app.domain.errors import ConfigurationError, OporaError, Unavailable
from app.settings import Settings

_TIMEOUT_S = 600


class CallFailed(OporaError):
    """The app answered with a problem."""

    code = "call_failed"

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status


class Client:
    """Calls the app of these settings with the admin key that they name or that a start kept."""

    def __init__(self, settings: Settings, key: str | None = None) -> None:
        self._host, self._port = self.address(settings)
        self._key = key or admin_key(settings)

    @staticmethod
    def address(settings: Settings) -> tuple[str, int]:
        """Host and port to call: the loopback when the app listens everywhere."""
        host = settings.http.host
        return "127.0.0.1" if host in ("0.0.0.0", "::") else host, settings.http.port  # noqa: S104

    @property
    def url(self) -> str:
        """Where the app is."""
        return f"http://{self._host}:{self._port}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call a route with a JSON body and return the JSON answer."""
        payload = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return _json(self._send(method, path, payload, headers))

    def pages(self, path: str) -> list[Any]:
        """All items of a list route."""
        found: list[Any] = []
        cursor = ""
        start = f"{path}{'&' if '?' in path else '?'}limit=200"
        while True:
            page = self.call("GET", start + cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={quote(page['next_cursor'])}"

    def put(self, path: str, body: bytes, kind: str) -> Any:
        """Call a route with a body of some media type and return the JSON answer."""
        return _json(self._send("PUT", path, body, {"Content-Type": kind}))

    def upload(self, path: Path, fields: dict[str, str]) -> Any:
        """Upload a file as a new document."""
        boundary = uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        name = path.name.replace('"', "%22").replace("\r", " ").replace("\n", " ")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        body = (
            b"".join(["".join(parts).encode(), head.encode(), path.read_bytes(), b"\r\n"])
            + f"--{boundary}--\r\n".encode()
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return _json(self._send("POST", "/v1/documents", body, headers))

    def events(self, path: str, body: object) -> Iterator[tuple[str, Any]]:
        """Call a route that answers with server-sent events."""
        headers = {"Content-Type": "application/json"}
        response = self._send("POST", path, json.dumps(body).encode(), headers)
        name = ""
        for raw in response:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> HTTPResponse:
        connection = HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        credential = {"Authorization": f"Bearer {self._key}"}
        try:
            connection.request(method, path, body, headers | credential)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise Unavailable(
                f"no Opora answers at {self.url}: {error}; start it with `opora serve`"
            ) from error
        if response.status >= 400:
            problem = json.loads(response.read() or b"{}")
            raise CallFailed(
                response.status, problem.get("code", "unknown"), problem.get("detail", "no reason")
            )
        return response


def admin_key(settings: Settings) -> str:
    """The admin key from the settings or the data directory."""
    if settings.admin_key:
        return settings.admin_key.get_secret_value()
    kept = settings.data / "admin.key"
    try:
        return kept.read_text().strip()
    except OSError:
        raise ConfigurationError(
            f"no admin key: set OPORA_ADMIN_KEY, or OPORA_DATA_DIR to where {kept.name!r} lies "
            f"(looked at {str(kept)!r})"
        ) from None


def _json(response: HTTPResponse) -> Any:
    raw = response.read()
    return json.loads(raw) if raw else None
