"""`opora glossary`: set, show and clear the glossary of a running Opora."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.output import Json
from app.domain.glossary import Entry, write_glossary

commands = typer.Typer(no_args_is_help=True, help="The glossary: terms and what means the same.")

_ROUTE = "/v1/admin/glossary"
_File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV in UTF-8.")]


@commands.command("set")
def set_glossary(file: _File) -> None:
    """Take over a CSV file as the whole glossary, or, when a line is broken, nothing of it."""
    taken = output.client().put(_ROUTE, file.read_bytes(), "text/csv")
    sys.stdout.write(f"{taken['terms']} terms are taken over\n")


@commands.command("show")
def show_glossary(as_json: Json = False) -> None:
    """Print the glossary as the CSV file that `set` reads."""
    glossary = output.client().call("GET", _ROUTE)
    sys.stdout.write(json.dumps(glossary, ensure_ascii=False) + "\n" if as_json else _csv(glossary))


@commands.command("clear")
def clear_glossary() -> None:
    """Remove the glossary."""
    output.client().call("DELETE", _ROUTE)
    sys.stdout.write("the glossary is empty\n")


def _csv(glossary: Any) -> str:
    return write_glossary(Entry(**term) for term in glossary["terms"])
