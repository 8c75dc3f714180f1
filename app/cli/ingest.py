"""Uploading files and folders and waiting for their end."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.client import CallFailed, Client
from app.cli.progress import jobs_progress, watch
from app.domain.errors import InvalidField

_UPLOADS = 4  # side by side
_LOOK_INTERVAL_S = 0.3
_OPEN = ("received", "parsing", "embedding")
_STATUSES = {"document_empty": "empty", "parser_died": "quarantined", "worker_lost": "quarantined"}


@dataclass
class Ingested:
    """What became of one file."""

    path: str
    status: str
    document_id: str | None = None
    duplicate: bool = False
    reason: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the file is not what its owner hoped for."""
        return self.status in ("refused", "failed", "quarantined", "cancelled")


def ingest(
    client: Client, paths: Sequence[Path], collection: str, console: Console
) -> list[Ingested]:
    """Upload files, folders recursively, and wait until each has ended; show a progress bar.

    Several files are a batch: one job that can be watched and cancelled as a whole.
    """
    files = list(_files(paths))
    batch = client.call("POST", "/v1/jobs", {"files": len(files)}) if len(files) > 1 else None
    batch_id = batch["job_id"] if batch else None
    with jobs_progress(console) as progress, ThreadPoolExecutor(_UPLOADS) as uploads:
        sending = progress.add_task("uploading", total=len(files), note="")
        stopped = threading.Event()

        def upload(path: Path) -> Ingested:
            result = _upload(client, path, collection, batch_id, stopped)
            progress.advance(sending)
            return result

        results = list(uploads.map(upload, files))
        if batch_id:
            _end_batch(client, batch_id, results, progress)
    for result in results:
        _follow(client, result)
    return results


def summary(results: Sequence[Ingested]) -> dict[str, object]:
    """Counts by status and every file, for machines."""
    counts = Counter(result.status for result in results)
    return {"counts": dict(counts), "files": [asdict(result) for result in results]}


def _upload(
    client: Client, path: Path, collection: str, batch: str | None, stopped: threading.Event
) -> Ingested:
    """Upload a file, unless the batch was cancelled meanwhile."""
    if stopped.is_set():
        return Ingested(str(path), "cancelled", reason="the batch was cancelled")
    fields = {"collection": collection, "source_uri": path.absolute().as_uri()}
    if batch:
        fields["batch"] = batch
    try:
        accepted = client.upload(path, fields)
    except CallFailed as error:
        if batch and error.status == HTTPStatus.CONFLICT:
            stopped.set()
        return Ingested(str(path), "refused", reason=error.message)
    except OSError as error:
        return Ingested(str(path), "refused", reason=error.strerror or str(error))
    return Ingested(str(path), accepted["status"], accepted["document_id"], accepted["duplicate"])


def _end_batch(client: Client, batch: str, results: Sequence[Ingested], progress: Any) -> None:
    """Wait for the end of a batch, and take over how its files ended."""
    client.call("POST", f"/v1/jobs/{batch}/close")
    watch(client, batch, progress, "reading")
    ends = {job["document_id"]: job for job in client.pages(f"/v1/jobs?parent={batch}")}
    for result in results:
        job = ends.get(result.document_id)
        if job is None:
            continue
        error = job["error"] or {}
        fallback = "live" if job["state"] == "succeeded" else job["state"]
        result.status = _STATUSES.get(error.get("code", ""), fallback)
        result.reason = error.get("message")


def _follow(client: Client, result: Ingested) -> None:
    """Wait for a file that no batch has waited for."""
    while result.status in _OPEN:
        document = client.call("GET", f"/v1/documents/{result.document_id}")
        result.status, result.reason = document["status"], document["reason"]
        if result.status in _OPEN:
            time.sleep(_LOOK_INTERVAL_S)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
                if inner.is_file() and not hidden:
                    yield inner
        elif path.is_file():
            yield path
        else:
            raise InvalidField("PATH", f"there is no file or folder {str(path)!r}")
