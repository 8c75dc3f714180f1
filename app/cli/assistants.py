"""`opora assistants`: list, set and delete the assistants of a running Opora."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.output import Json, print_json
from app.domain.errors import InvalidField

commands = typer.Typer(no_args_is_help=True, help="Assistants: how questions are answered.")

_ROUTE = "/v1/assistants"


@commands.command("list")
def list_assistants(as_json: Json = False) -> None:
    """Print all assistants."""
    found = output.client().call("GET", _ROUTE)
    if as_json:
        print_json(found)
        return
    for one in found["items"]:
        where = ", ".join(one["collections"]) or "all collections"
        form, language = one["response_format"]["type"], one["language"]
        sys.stdout.write(f"{one['name']}: {form}, language {language}, {where}\n")


@commands.command("set")
def set_assistant(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON object.")],
) -> None:
    """Make the assistant that a JSON file describes, or change the one of its name."""
    try:
        wanted: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidField("file", f"is no JSON in UTF-8: {error}") from None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
        raise InvalidField("file", "holds no JSON object with a `name`")
    client, name = output.client(), wanted["name"]
    known = {one["name"] for one in client.call("GET", _ROUTE)["items"]}
    if name in known:
        change = {field: value for field, value in wanted.items() if field != "name"}
        client.call("PATCH", f"{_ROUTE}/{name}", change)
    else:
        client.call("POST", _ROUTE, wanted)
    sys.stdout.write(f"{name} is {'changed' if name in known else 'made'}\n")


@commands.command("delete")
def delete_assistant(name: str) -> None:
    """Delete an assistant; the default one stays."""
    output.client().call("DELETE", f"{_ROUTE}/{name}")
    sys.stdout.write(f"{name} is deleted\n")
