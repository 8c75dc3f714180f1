"""Lets the model server of the tests say something else for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.engines.llm.scripted import echo_evidence, fixed
from tests.e2e.model_server import EchoServer


@contextmanager
def saying(server: EchoServer, *texts: str) -> Iterator[None]:
    """It says these texts, one after the other, whatever it is asked."""
    server.chat.reply = fixed(*texts)
    server.requests.clear()
    try:
        yield
    finally:
        server.chat.reply = echo_evidence
