"""Runs a command that ends when its starter does: `python -m app.engines.llm.tether COMMAND...`.

Standard input is a pipe whose other end the starter alone holds: end of file means that the starter
is gone, however it died. (Linux's own parent-death signal is bound to the starting *thread*, and
other systems have none.) Ends with the command's exit code.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_S = 10.0
PR_SET_PDEATHSIG = 1


class _End(BaseException):
    """The command has to end."""


def main() -> int:
    """Run the command line given as arguments."""
    command = subprocess.Popen(  # noqa: S603
        sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent
    )
    signal.signal(signal.SIGTERM, _raise_end)
    signal.signal(signal.SIGINT, _raise_end)
    threading.Thread(target=_watch_starter, daemon=True).start()
    try:
        return command.wait()
    except _End:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        command.terminate()
    try:
        return command.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)  # the command with its helpers, and this process
        return 1


def _raise_end(_number: int, _frame: FrameType | None) -> None:
    raise _End


def _watch_starter() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _die_with_parent() -> None:
    """Cover the one case that is left: this process killed outright (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
