"""`opora jobs` and `opora reindex`: watch and steer the worker of a running Opora."""

from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli import output
from app.cli.client import Client
from app.cli.output import Json, err, out, print_json
from app.cli.progress import jobs_progress, watch
from app.domain.errors import OporaError

commands = typer.Typer(invoke_without_command=True, help="Jobs of a running Opora.")
generations = typer.Typer(invoke_without_command=True, help="Saved indexes, and the way back.")


@commands.callback()
def list_jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only the files of this batch.")] = None,
    as_json: Json = False,
) -> None:
    """List the newest jobs, or do something with one."""
    if context.invoked_subcommand is not None:
        return
    query = "&".join(f"{k}={v}" for k, v in {"state": state, "parent": parent}.items() if v)
    page = output.client().call("GET", f"/v1/jobs?{query}")
    if as_json:
        print_json(page)
        return
    table = Table("job", "kind", "document", "state", "progress", "left", "error")
    for job in page["items"]:
        progress, eta_s = job["progress"], job["eta_s"]
        table.add_row(
            job["job_id"],
            job["kind"],
            job["document_id"] or "",
            job["state"],
            f"{progress['done']}/{progress['total']} {progress['unit']}",
            "" if eta_s is None else f"{eta_s:.0f} s",
            job["error"]["message"] if job["error"] else "",
        )
    out.print(table)


@commands.command("cancel")
def cancel(job_id: str, as_json: Json = False) -> None:
    """Cancel a job, with all files of a batch."""
    job = output.client().call("POST", f"/v1/jobs/{job_id}/cancel")
    _tell(job, as_json, f"{job_id} is cancelled" if job["finished_at"] else f"{job_id} is ending")


@commands.command("retry")
def retry(job_id: str, as_json: Json = False) -> None:
    """Do a failed or cancelled job's work again; also the way out of quarantine."""
    job = output.client().call("POST", f"/v1/jobs/{job_id}/retry")
    _tell(job, as_json, f"{job['job_id']} does it again")


@commands.command("watch")
def watch_job(job_id: str, as_json: Json = False) -> None:
    """Show a job until it has ended; exit code 1 unless it succeeded."""
    _watch(output.client(), job_id, as_json)


def reindex(
    embedding_model: Annotated[
        str | None, typer.Option(help="By default OPORA_EMBEDDER__MODEL of the worker.")
    ] = None,
    chunk_tokens: Annotated[int | None, typer.Option(min=32)] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only parse the documents of these collections anew.")
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="Prepare it, and let `generations activate` flip.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Flip even where the held-out questions lose.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the index anew beside the one that serves, and let it serve when it is whole."""
    body = {
        "embedding_model": embedding_model,
        "chunk_tokens": chunk_tokens,
        "collections": collection or None,
        "activate": "manual" if manual else "when_ready",
        "force": force,
    }
    client = output.client()
    job = client.call("POST", "/v1/admin/reindex", body)
    _watch(client, job["job_id"], as_json)


@generations.callback()
def list_generations(context: typer.Context, as_json: Json = False) -> None:
    """List saved indexes, newest first, or do something with one."""
    if context.invoked_subcommand is not None:
        return
    page = output.client().call("GET", "/v1/admin/generations")
    if as_json:
        print_json(page)
        return
    table = Table("generation", "state", "embedder", "chunk tokens", "chunks", "recall")
    for row in page["items"]:
        numbers = (str(row[name]) for name in ("chunk_tokens", "chunks", "recall"))
        table.add_row(row["generation_id"], row["state"], row["embedder"], *numbers)
    out.print(table)


@generations.command("activate")
def activate(generation_id: str, as_json: Json = False) -> None:
    """Answer with another generation; what came since it served is taken along first."""
    client = output.client()
    job = client.call("POST", f"/v1/admin/generations/{generation_id}/activate")
    _watch(client, job["job_id"], as_json)


@generations.command("delete")
def delete(generation_id: str) -> None:
    """Delete a generation that does not serve, with its chunks and vectors."""
    output.client().call("DELETE", f"/v1/admin/generations/{generation_id}")
    out.print(f"{generation_id} is deleted", highlight=False)


def _watch(client: Client, job_id: str, as_json: bool) -> None:
    err.print(job_id, highlight=False)
    with jobs_progress(err) as progress:
        job = watch(client, job_id, progress, "working")
    if as_json:
        print_json(job)
    if job["state"] != "succeeded":
        error = job["error"] or {"message": f"the job was {job['state']}"}
        if as_json:
            raise typer.Exit(1)
        raise OporaError(error["message"])
    if not as_json:
        out.print("done")


def _tell(job: Any, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(job)
    else:
        out.print(sentence, highlight=False)
