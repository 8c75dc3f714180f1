"""Progress bars over jobs of a running Opora."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.client import Client

_LOOK_INTERVAL_S = 0.4
_OPEN = ("queued", "running")


def jobs_progress(console: Console) -> Progress:
    """A bar for each of several steps."""
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def watch(client: Client, job_id: str, progress: Progress, name: str) -> Any:
    """Show a job until it has ended; return it."""
    bar = progress.add_task(name, total=None, note="")
    while True:
        job = client.call("GET", f"/v1/jobs/{job_id}")
        step, eta_s = job["progress"], job["eta_s"]
        note = f"{eta_s:.0f} s left" if eta_s is not None and job["state"] == "running" else ""
        progress.update(bar, completed=step["done"], total=step["total"] or None, note=note)
        if job["state"] not in _OPEN:
            return job
        time.sleep(_LOOK_INTERVAL_S)
