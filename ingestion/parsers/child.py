"""What runs in the parsers' processes: one forks a child per file, so that none pays for imports.

A child confines itself, reads one file, reports and ends; it has seen no other file. The report
goes to the pipe that was standard output; what libraries print goes nowhere.
"""

import gc
import importlib
import os
import pkgutil
import resource
import select
import signal
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import DocumentRejected, DocumentTooComplex
from ingestion.parsers import pulse
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


ORDER_HEAD = struct.Struct("=I")
"""Before each order on standard input: its length in bytes."""

END = struct.Struct("=iq")
"""On the pipe that the first argument names, after each child: its exit code, as `Popen` tells it,
and the most memory that it held, in bytes."""


def main() -> None:
    """Serve orders until the worker closes standard input or is gone."""
    ends, beats = int(sys.argv[1]), int(sys.argv[2])
    report = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sys.stdout.fileno())
    orders = os.dup(sys.stdin.fileno())
    os.dup2(nowhere, sys.stdin.fileno())
    _import_parsers()
    gc.freeze()
    while order := _next_order(orders):
        pid = os.fork()
        if pid == 0:
            os.close(ends)
            os.close(orders)
            pulse.begin(beats)
            _work(order, report)
        code, most_bytes = _wait(pid, orders)
        os.write(ends, END.pack(code, most_bytes))


def _import_parsers() -> None:
    import ingestion.parsers as package

    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def _next_order(orders: int) -> Order | None:
    head = _read(orders, ORDER_HEAD.size)
    if not head:
        return None
    (size,) = ORDER_HEAD.unpack(head)
    return msgspec.json.decode(_read(orders, size), type=Order)


def _read(descriptor: int, size: int) -> bytes:
    """Read so many bytes, or none when the worker is gone."""
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            return b""
        data += piece
    return data


def _wait(pid: int, orders: int) -> tuple[int, int]:
    """Wait for a child; when the worker goes away meanwhile, end with the child."""
    with suppress(AttributeError, OSError):  # not every kernel tells of a process by a descriptor
        look = select.poll()
        child = os.pidfd_open(pid)
        look.register(child, select.POLLIN)
        look.register(orders, 0)  # only that it was closed
        if child not in dict(look.poll()):
            os.kill(pid, signal.SIGKILL)
        os.close(child)
    _, status, usage = os.wait4(pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit


def _work(order: Order, report: int) -> None:
    """Carry out an order as a child, and end."""
    try:
        server = os.getppid()
        confine(order)
        if os.getppid() == server:
            data = memoryview(msgspec.msgpack.encode(_carry_out(order)))
            while data:
                data = data[os.write(report, data) :]
            os._exit(0)  # nothing to tidy up, and a damaged library may hang while it tries
    finally:
        os._exit(1)


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
    if not refuse_all_but_reading():
        libc.unshare(user | _CLONE_NEWNET)


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
