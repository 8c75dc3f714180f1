"""What a job's handler is given."""

import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import JobCancelled

Progress = Callable[[int, int, str], Coroutine[Any, Any, None]]
"""Told how many are done, of how many, of what."""


@dataclass(frozen=True, slots=True)
class Work:
    """One claimed job.

    `attempt` is the number that fences off a worker that lost the job; `document_id` and `version`
    are those of a file's job, else "" and 0.
    """

    job_id: str
    attempt: int
    owner: str
    document_id: str = ""
    version: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise JobCancelled once somebody wants the end of it."""
        if self.cancelled.is_set():
            raise JobCancelled("the job was cancelled")


Handler = Callable[[Work, Progress], Awaitable[None]]
"""Does a job's work. One that has made children may return before them: they end the job."""
