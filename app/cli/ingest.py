"""Uploading files and folders and waiting for their end."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.client import CallFailed, Client
from app.domain.errors import InvalidField

_LOOK_INTERVAL_S = 0.3
_ENDED = ("live", "empty", "failed", "quarantined", "cancelled", "deleted")


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
    """Upload files, folders recursively, and wait until each has ended; show a progress bar."""
    files = list(_files(paths))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        sending = progress.add_task("uploading", total=len(files))
        results = []
        for path in files:
            results.append(_upload(client, path, collection))
            progress.advance(sending)
        reading = progress.add_task("reading  ", total=len(files))
        waiting = [result for result in results if result.document_id]
        progress.update(reading, completed=len(files) - len(waiting))
        while waiting:
            for result in list(waiting):
                document = client.call("GET", f"/v1/documents/{result.document_id}")
                result.status, result.reason = document["status"], document["reason"]
                if result.status in _ENDED:
                    waiting.remove(result)
                    progress.advance(reading)
            time.sleep(_LOOK_INTERVAL_S if waiting else 0)
    return results


def summary(results: Sequence[Ingested]) -> dict[str, object]:
    """Counts by status and every file, for machines."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    return {"counts": counts, "files": [asdict(result) for result in results]}


def _upload(client: Client, path: Path, collection: str) -> Ingested:
    fields = {"collection": collection, "source_uri": path.absolute().as_uri()}
    try:
        accepted = client.upload(path, fields)
    except CallFailed as error:
        return Ingested(str(path), "refused", reason=error.message)
    return Ingested(str(path), accepted["status"], accepted["document_id"], accepted["duplicate"])


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
