"""`opora sources`: folders, stores and sites that a running Opora follows."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli import output
from app.cli.client import Client
from app.cli.output import Json, err, out, print_json
from app.cli.progress import jobs_progress, watch
from app.domain.errors import InvalidField, NotFound
from app.domain.sources import SourceKind

commands = typer.Typer(no_args_is_help=True, help="Folders, stores and sites that are followed.")

_Name = Annotated[str, typer.Argument(help="Name or id of the source.")]
_Many = list[str] | None


@commands.command("list")
def list_sources(as_json: Json = False) -> None:
    """List all sources, without their secrets."""
    items = _sources(output.client())
    if as_json:
        print_json({"items": items})
        return
    table = Table("source", "name", "kind", "url", "documents", "not read", "schedule", "synced")
    for source in items:
        last = source["last_sync"]
        table.add_row(
            source["source_id"],
            source["name"],
            source["kind"],
            source["url"],
            str(source["documents"]),
            str(last["counts"]["skipped"]) if last else "",
            str(source["schedule"] or ""),
            last["finished_at"] if last else "never",
        )
    out.print(table)


@commands.command("add")
def add_source(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    url: Annotated[str, typer.Argument(help="A folder's path, a store's URL or a sitemap's.")],
    kind: Annotated[
        SourceKind | None, typer.Option(help="By default what the URL looks like.")
    ] = None,
    collection: Annotated[str, typer.Option(help="Where its documents go.")] = "default",
    reader: Annotated[_Many, typer.Option(help="Who may read them; repeat for several.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Seconds, or a cron expression in UTC.")
    ] = None,
    include: Annotated[_Many, typer.Option(help="Only files that match this glob.")] = None,
    exclude: Annotated[_Many, typer.Option(help="No files that match this glob.")] = None,
    allow_host: Annotated[_Many, typer.Option(help="A further host of its pages.")] = None,
    allow_network: Annotated[
        _Many, typer.Option(help="A private network that its host may be in, as 10.0.0.0/8.")
    ] = None,
    options: Annotated[
        Path | None,
        typer.Option(help="JSON file with further options, secrets too; `-` is standard input."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a source; `opora sources sync` or its schedule then reads it."""
    is_path = "://" not in url
    given = {
        "include": include,
        "exclude": exclude,
        "allow_hosts": allow_host,
        "allow_networks": allow_network,
    }
    body = {
        "name": name,
        "kind": kind or _guess(url),
        "url": str(Path(url).absolute()) if is_path else url,
        "options": {**_read(options), **{key: value for key, value in given.items() if value}},
        "collection": collection,
        "readers": reader or [],
        "schedule": schedule,
    }
    made = output.client().call("POST", "/v1/sources", body)
    if as_json:
        print_json(made)
    else:
        out.print(f"{made['source_id']} is made", highlight=False)


@commands.command("sync")
def sync_source(
    source: _Name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would change.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Believe a source that lists no file any more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Sync a source and wait for its end; exit code 1 if it, or a file, failed."""
    client = output.client()
    source_id = _find(client, source)["source_id"]
    order = {"dry_run": dry_run, "force": force}
    started = client.call("POST", f"/v1/sources/{source_id}/sync", order)
    with jobs_progress(err) as progress:
        job = watch(client, started["job_id"], progress, "syncing")
    report = client.call("GET", f"/v1/sources/{source_id}/syncs/{job['job_id']}")
    if as_json:
        print_json({**report, "state": job["state"], "error": job["error"]})
    else:
        _tell(report, dry_run)
        if job["error"]:
            out.print(job["error"]["message"], highlight=False, markup=False, soft_wrap=True)
    if job["state"] != "succeeded":
        raise typer.Exit(1)


@commands.command("skipped")
def list_skipped(source: _Name, as_json: Json = False) -> None:
    """List the files of a source that are not read, and why."""
    client = output.client()
    source_id = _find(client, source)["source_id"]
    items = client.pages(f"/v1/sources/{source_id}/skipped")
    if as_json:
        print_json({"items": items})
        return
    for item in items:
        out.print(f"{item['key']}: {item['reason']}", highlight=False, markup=False, soft_wrap=True)


@commands.command("remove")
def remove_source(
    source: _Name,
    keep_documents: Annotated[
        bool, typer.Option("--keep-documents", help="As if they had been uploaded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove a source, and with it its documents."""
    client = output.client()
    source_id = _find(client, source)["source_id"]
    query = "?keep_documents=true" if keep_documents else ""
    client.call("DELETE", f"/v1/sources/{source_id}{query}")
    if as_json:
        print_json({"source_id": source_id, "removed": True})
    else:
        out.print(f"{source_id} is removed", highlight=False)


def _tell(report: Any, dry_run: bool) -> None:
    counts = ", ".join(f"{count} {fate}" for fate, count in report["counts"].items() if count)
    out.print(f"{'would be: ' if dry_run else ''}{counts or 'nothing there'}", highlight=False)
    shown = ("added", "changed", "removed", "skipped") if dry_run else ("skipped",)
    for fate in shown:
        for name in report["names"][fate]:
            out.print(f"{fate}: {name}", highlight=False, markup=False, soft_wrap=True)


def _find(client: Client, name: str) -> Any:
    found = [one for one in _sources(client) if name in (one["source_id"], one["name"])]
    if not found:
        raise NotFound(f"there is no source {name!r}; `opora sources list` names them")
    return found[0]


def _sources(client: Client) -> list[Any]:
    return client.pages("/v1/sources")


def _guess(url: str) -> SourceKind:
    if url.startswith(("http://", "https://")):
        return SourceKind.SITEMAP
    return SourceKind.FSSPEC if "://" in url else SourceKind.FOLDER


def _read(options: Path | None) -> dict[str, Any]:
    if options is None:
        return {}
    try:
        text = sys.stdin.read() if str(options) == "-" else options.read_text("utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidField("--options", f"cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InvalidField("--options", "is no JSON object")
    return found
