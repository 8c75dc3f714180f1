"""What all commands share: where they print, `--json`, and their way to a running Opora."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli.client import Client
from app.settings import load_settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

out, err = Console(), Console(stderr=True)


def client() -> Client:
    """A caller of the Opora that the settings name."""
    return Client(load_settings())


def print_json(value: Any) -> None:
    """Print a value on one line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
