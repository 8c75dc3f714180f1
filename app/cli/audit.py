"""`opora audit`: export the trail of who did what, and check that nothing of it was changed."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.output import Json, out, print_json
from app.domain.audit import AuditEvent, broken_links
from app.domain.errors import InvalidField

commands = typer.Typer(no_args_is_help=True, help="The audit trail of a running Opora.")

_TRAIL = "/v1/admin/audit?order=oldest"
_File = Annotated[
    Path | None, typer.Argument(exists=True, dir_okay=False, help="An export of the whole trail.")
]


@commands.command("export")
def export() -> None:
    """Print the whole trail as JSON lines, oldest first."""
    for event in output.client().pages(_TRAIL):
        print_json(event)


@commands.command("verify")
def verify(
    file: _File = None,
    head: Annotated[
        str | None, typer.Option(help="The sum of an event as it was noted elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every sum of the trail, or of an export; exit code 1 when one is wrong.

    Events cut off at the end do not show in the sums. Note the last one at another place from time
    to time, and give it as --head.
    """
    rows = _lines(file) if file else iter(output.client().pages(_TRAIL))
    events = [_event(row, place) for place, row in enumerate(rows, start=1)]
    wrong = list(broken_links(events))
    if head is not None and head.lower() not in {event.hash.hex() for event in events}:
        wrong.append(f"no event has the sum {head}")
    last = events[-1].hash.hex() if events else None
    if as_json:
        print_json({"ok": not wrong, "events": len(events), "head": last, "wrong": wrong})
    else:
        for line in wrong:
            out.print(f"FAIL {line}", highlight=False, markup=False, soft_wrap=True)
        state = "is whole" if not wrong else "is broken"
        out.print(
            f"the trail of {len(events)} events {state}; its last sum is {last}", soft_wrap=True
        )
    if wrong:
        raise typer.Exit(1)


def _lines(file: Path) -> Iterator[Any]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise InvalidField("file", f"line {number} is no JSON: {error}") from None


def _event(row: Any, place: int) -> AuditEvent:
    try:
        return AuditEvent(
            int(row["number"]),
            datetime.fromisoformat(row["at"]),
            str(row["actor"]),
            str(row["action"]),
            str(row["target"]),
            dict(row["details"]),
            bytes.fromhex(row["hash"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidField("file", f"event {place} is no event of a trail: {error!r}") from None
