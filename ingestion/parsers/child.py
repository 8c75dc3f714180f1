"""What runs inside the parser's process: confine itself, read one file, report, end.

Imports stay few: each file pays for them. The report goes to the pipe that was standard output;
what libraries print goes nowhere.
"""

import importlib
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import DocumentRejected, DocumentTooComplex
from ingestion.parsers.builder import TextLimits
from ingestion.parsers.syscalls import refuse_all_but_reading

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


class Order(msgspec.Struct, frozen=True):
    """What the child is asked to do; satisfies TextLimits."""

    parser: str
    path: str
    media_type: MediaType
    max_text_chars: int
    max_blocks: int
    memory_bytes: int
    cpu_s: int
    worker_pid: int


class Parsed(msgspec.Struct, frozen=True, tag=True):
    """The file was read."""

    document: ParsedDocument


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The parser refused the file."""

    code: str
    message: str


class OutOfMemory(msgspec.Struct, frozen=True, tag=True):
    """Python's own allocator met the limit."""


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The parser raised something that it should not; `where` holds no line of the document."""

    error: str
    where: str


Report = Parsed | Rejected | OutOfMemory | Crashed


class Parser(Protocol):
    """A module with the registry's one function."""

    def parse(self, path: Path, media_type: MediaType, limits: TextLimits) -> ParsedDocument:
        """Read a file."""
        ...


def main() -> None:
    """Carry out the order in the first argument."""
    pipe = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    order = msgspec.json.decode(sys.argv[1].encode(), type=Order)
    confine(order)
    if os.getppid() != order.worker_pid:
        os._exit(1)  # the worker died before it could take this process with it
    report = msgspec.msgpack.encode(_carry_out(order))
    with os.fdopen(pipe, "wb") as stream:
        stream.write(report)
        stream.flush()
    os._exit(0)  # nothing to tidy up, and a damaged library may hang while it tries


def confine(order: Order) -> None:
    """Give up what reading one file does not need; what the kernel refuses stays as it was."""
    os.nice(10)
    limits = {
        "RLIMIT_AS": (order.memory_bytes, order.memory_bytes),
        "RLIMIT_CPU": (order.cpu_s, order.cpu_s + 2),
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_CORE": (0, 0),
    }
    if sys.platform == "linux":
        _confine_on_linux()
    for name, pair in limits.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, name), pair)


def _confine_on_linux() -> None:
    """Die with the worker, gain no privileges, lose the network, and keep only reading."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Root needs no user namespace, and would lose its right to read other people's files in it.
    user = 0 if os.geteuid() == 0 else _CLONE_NEWUSER
    libc.unshare(user | _CLONE_NEWNET)
    refuse_all_but_reading()


def _carry_out(order: Order) -> Report:
    try:
        parser: Parser = importlib.import_module(order.parser)
        return Parsed(parser.parse(Path(order.path), order.media_type, order))
    except DocumentRejected as error:
        return Rejected(error.code, error.message)
    except RecursionError:
        return Rejected(DocumentTooComplex.code, "the document nests its parts too deeply")
    except MemoryError:
        return OutOfMemory()
    except Exception as error:  # noqa: BLE001  the sandbox is one of the three places for it
        where = "".join(traceback.format_tb(error.__traceback__))
        return Crashed(type(error).__name__, where[-4000:])


if __name__ == "__main__":
    main()
