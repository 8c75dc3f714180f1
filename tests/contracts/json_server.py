"""A model server of JSON over HTTP on a free loopback port, as wrong as a test wants it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answer = tuple[int, Any]
"""A status, and a body: JSON, or bytes as they are."""


@dataclass
class JsonModelServer:
    """A running server.

    `answer` makes the answer from the path and the body; what is in `faults` goes out first, where
    None breaks the connection.
    """

    port: int
    answer: Callable[[str, Any], Answer]
    faults: list[Answer | None] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def json_model_server(answer: Callable[[str, Any], Answer]) -> Iterator[JsonModelServer]:
    """Serve in threads until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            running.requests.append(body)
            running.keys.append(self.headers["Authorization"])
            fault = running.faults.pop(0) if running.faults else answer(self.path, body)
            if fault is None:
                self.close_connection = True
                return
            status, said = fault
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = JsonModelServer(server.server_port, answer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
