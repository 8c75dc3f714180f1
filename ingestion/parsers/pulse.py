"""What a parser tells the worker while it reads, and how long it has been reading."""

import os
import struct
from contextlib import suppress
from time import monotonic

FRAME = struct.Struct("=II")
"""Pages done, and of how many."""

_pipe: int | None = None
_began = monotonic()


def begin(pipe: int) -> None:
    """Start the clock of this process's file; frames go to a pipe that does not block."""
    global _pipe, _began
    _pipe, _began = pipe, monotonic()


def elapsed_s() -> float:
    """Seconds since the file was begun."""
    return monotonic() - _began


def pages(done: int, total: int) -> None:
    """Tell how far the reading is; a worker that does not listen misses it."""
    if _pipe is not None:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(_pipe, FRAME.pack(done, total))
