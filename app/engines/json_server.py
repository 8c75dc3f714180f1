"""The blocking way to a model server that speaks JSON over HTTP."""

import time
from typing import Any, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5
_CONNECTIONS = 16
_PAUSES_S = (0.1, 0.4)  # before the second and the third try
_BUSY = (429, 503)
_LARGEST_ANSWER_BYTES = 64 * 1024**2
_LONGEST_REASON = 300  # characters of the server's own words in a message


class JsonServerError(Exception):
    """The server cannot be reached, refuses, or answers something else than was asked for."""


class _Busy(JsonServerError):
    """It may answer if asked again."""


class JsonServer:
    """Posts JSON to one server through a pool of connections. Thread-safe."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            base_url: What the paths are put after.
            api_key: Sent as a Bearer key; never part of a message.
            timeout_s: Longest silence of the server, in seconds.
        """
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            block=True,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=timeout_s),
            retries=False,  # by urllib3; it would follow redirects too, with the key
        )

    def post(self, path: str, body: dict[str, Any], answer: type[T]) -> T:
        """Return the decoded answer; a lost connection and a busy server get two more tries.

        Raises:
            JsonServerError: See there; the message names the server and says why.
        """
        url = self._base_url + path
        for pause_s in _PAUSES_S:
            try:
                return self._ask(url, body, answer)
            except _Busy:
                time.sleep(pause_s)
        return self._ask(url, body, answer)

    def _ask(self, url: str, body: dict[str, Any], answer: type[T]) -> T:
        try:
            response = self._pool.request("POST", url, json=body, preload_content=False)
            raw = response.read(_LARGEST_ANSWER_BYTES + 1)
            response.release_conn()
        except (NewConnectionError, ProtocolError) as error:
            raise _Busy(f"{url}: no connection, or it broke: {error}") from error
        except HTTPError as error:
            raise JsonServerError(f"{url}: {error}") from error
        if len(raw) > _LARGEST_ANSWER_BYTES:
            response.close()
            raise JsonServerError(f"{url}: the answer is over {_LARGEST_ANSWER_BYTES} bytes")
        if response.status != 200:
            refused = _Busy if response.status in _BUSY else JsonServerError
            raise refused(f"{url}: status {response.status}: {self._reason(raw)}")
        try:
            return msgspec.json.decode(raw, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JsonServerError(f"{url}: not the answer that was asked for: {error}") from error

    def _reason(self, raw: bytes) -> str:
        """The beginning of what the server said, without the key."""
        said = raw.decode(errors="replace")
        if self._api_key:
            said = said.replace(self._api_key, "***")
        return said[:_LONGEST_REASON]
