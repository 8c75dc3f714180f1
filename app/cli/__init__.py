"""The `opora` command."""

import asyncio
import os
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli import assistants, audit, evaluate, glossary, jobs, output, sources, verify
from app.cli.output import Json, err, out, print_json
from app.domain.access import Scope
from app.domain.errors import ConfigurationError, OporaError
from app.settings import Settings, load_settings

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Opora answers questions from your company's own documents.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
cli.add_typer(keys, name="keys")
cli.add_typer(assistants.commands, name="assistants")
cli.add_typer(audit.commands, name="audit")
cli.add_typer(glossary.commands, name="glossary")
cli.add_typer(evaluate.commands, name="evaluate")
cli.add_typer(jobs.commands, name="jobs")
cli.add_typer(sources.commands, name="sources")
cli.add_typer(jobs.generations, name="generations")
cli.command()(jobs.reindex)
cli.command()(verify.verify)

FollowParent = Annotated[bool, typer.Option("--follow-parent", hidden=True)]


def main() -> None:
    """Run the command; an expected error is one sentence and exit code 1."""
    try:
        cli()
    except OporaError as error:
        err.print(f"opora: {error.message}", style="red", highlight=False, soft_wrap=True)
        sys.exit(1)


@cli.command()
def serve(
    first_documents: Annotated[
        Path | None, typer.Option(help="Ingest this folder when the database is new.")
    ] = None,
) -> None:
    """Run everything on this machine: database, model server, worker, app."""
    settings = load_settings()
    from app.cli.serve import serve as run

    run(settings, first_documents, out)


@cli.command()
def app(follow_parent: FollowParent = False) -> None:
    """Run the HTTP app alone."""
    from app.serving import Server, allow_open_files
    from app.telemetry import configure_logging
    from app.wiring import build_services

    settings, url = _start(follow_parent)
    configure_logging(settings.log)
    allow_open_files(settings.http)
    server = Server(build_services(settings, url))
    try:
        server.run()
    except KeyboardInterrupt:
        return
    if not server.started:
        raise typer.Exit(3)


@cli.command()
def worker(follow_parent: FollowParent = False) -> None:
    """Run one ingestion worker alone."""
    from app.telemetry import configure_logging
    from app.wiring import build_services
    from ingestion.handlers import build_tasks
    from ingestion.worker import run_worker

    settings, url = _start(follow_parent)
    configure_logging(settings.log)

    async def run() -> None:
        services = build_services(settings, url)
        try:
            tasks = build_tasks(services)
            await run_worker(services.database, tasks, services.sources, settings.ingestion)
        finally:
            await services.close()

    asyncio.run(run())


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema; make the default collection and an admin key."""
    from app.db.migrate import current_and_newest, upgrade
    from app.wiring import prepare_database

    settings = load_settings()
    url = _database_url(settings)
    upgrade(url)
    key, _ = asyncio.run(prepare_database(settings, url))
    if key is not None and settings.admin_key is None:
        out.print(f"the admin key is in {settings.data / 'admin.key'}", highlight=False)
    out.print(f"the schema is at revision {current_and_newest(url)[0]}")


@cli.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with all below.")],
    collection: Annotated[str, typer.Option(help="Where they go.")] = "default",
    as_json: Json = False,
) -> None:
    """Upload files to a running Opora and wait until each has ended."""
    from app.cli.ingest import ingest as run
    from app.cli.ingest import summary

    results = run(output.client(), paths, collection, err)
    if as_json:
        print_json(summary(results))
    else:
        out.print(", ".join(f"{n} {status}" for status, n in _counts(summary(results)).items()))
        for result in results:
            if result.failed or result.status == "empty":
                out.print(f"{result.status}: {result.path}: {result.reason}", highlight=False)
    if any(result.failed for result in results):
        raise typer.Exit(1)


@cli.command()
def ask(
    question: str,
    collection: Annotated[list[str] | None, typer.Option(help="Only in these.")] = None,
    assistant: Annotated[str | None, typer.Option(help="The one that answers.")] = None,
    stages: Annotated[
        int | None, typer.Option(min=1, max=2, help="2 searches again with a draft.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a running Opora."""
    body = {
        "question": question,
        "collections": collection or [],
        "assistant": assistant,
        "stages": stages,
        "stream": not as_json,
    }
    client = output.client()
    if as_json:
        print_json(client.call("POST", "/v1/ask", body))
        return
    for event, data in client.events("/v1/ask", body):
        if event == "token":
            out.print(data["text"], end="", highlight=False, markup=False, soft_wrap=True)
        elif event == "failed":
            raise OporaError(f"{data['detail']} ({data['code']})")
        elif event == "finished":
            if data["status"] == "abstained":
                out.print(data["text"], highlight=False, markup=False)
            out.print("\n")
            for citation in data["citations"]:
                quote = " ".join(citation["quote"].split())
                line = f"[{citation['marker']}] {citation['title']}: «{quote}»"
                out.print(line, highlight=False, markup=False)


@cli.command()
def search(
    query: str,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 5,
    mode: Annotated[str, typer.Option(help="hybrid, dense or lexical.")] = "hybrid",
    as_json: Json = False,
) -> None:
    """Search in a running Opora."""
    found = output.client().call(
        "POST", "/v1/search", {"query": query, "limit": limit, "mode": mode}
    )
    if as_json:
        print_json(found)
        return
    for passage in found["passages"]:
        place = " › ".join([passage["title"], *passage["heading_path"]])
        out.print(f"{passage['rank']}. {place}  ({passage['score']:.3f})", style="bold")
        out.print(passage["text"], highlight=False, markup=False)
        out.print()


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """List all keys, without the keys."""
    page = output.client().call("GET", "/v1/admin/api-keys")
    if as_json:
        print_json(page)
        return
    table = Table("key", "user", "scopes", "created", "expires", "revoked")
    for key in page["items"]:
        table.add_row(
            key["key_id"],
            key["user_id"],
            " ".join(key["scopes"]),
            key["created_at"],
            key["expires_at"] or "never",
            key["revoked_at"] or "",
        )
    out.print(table)


@keys.command("create")
def create_key(
    user_id: str,
    scope: Annotated[list[Scope], typer.Option(help="Repeat for several.")] = [Scope.ASK],  # noqa: B006
    expires_at: Annotated[datetime | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Make a key; it is shown this once."""
    body: dict[str, Any] = {"user_id": user_id, "scopes": list(scope)}
    if expires_at:
        body["expires_at"] = expires_at.astimezone().isoformat()
    made = output.client().call("POST", "/v1/admin/api-keys", body)
    if as_json:
        print_json(made)
    else:
        out.print(made["key"], highlight=False, soft_wrap=True)


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke a key at once."""
    output.client().call("DELETE", f"/v1/admin/api-keys/{key_id}")
    out.print(f"{key_id} is revoked", highlight=False)


@cli.command()
def doctor(as_json: Json = False) -> None:
    """Say in plain words what works here and what does not."""
    from app.cli.doctor import examine

    findings = examine(load_settings())
    if as_json:
        print_json({"ok": all(f.ok for f in findings), "findings": [f.as_dict() for f in findings]})
    else:
        for finding in findings:
            mark, style = ("ok  ", "green") if finding.ok else ("FAIL", "red")
            out.print(f"[{style}]{mark}[/{style}] {finding.name}: ", end="")
            out.print(finding.detail, highlight=False, markup=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _start(follow_parent: bool) -> tuple[Settings, str]:
    if follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = load_settings()
    url = _database_url(settings)
    from app.db.migrate import current_and_newest

    current, newest = current_and_newest(url)
    if current != newest:
        raise ConfigurationError(
            f"the database's schema is {current or 'empty'} and not {newest}: run `opora migrate`"
        )
    return settings, url


def _database_url(settings: Settings) -> str:
    """The configured database, or the embedded one, which ends with its last user."""
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    from app.db.embedded import start_embedded

    url: str = start_embedded(settings.data).get_uri()
    return url


def _end_with_parent() -> None:
    """End this process once `opora serve`, which holds the other end of stdin, is gone."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _counts(report: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = report["counts"]
    return counts
