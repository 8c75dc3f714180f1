"""Reads a file in a child process that cannot harm the worker, whatever the file does."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import (
    DocumentRejected,
    DocumentTooComplex,
    EmptyDocument,
    EncryptedDocument,
    JobCancelled,
    ParserDied,
    StorageUnavailable,
    UnreadableDocument,
)
from app.settings import IngestionSettings
from app.telemetry import get_logger
from ingestion.parsers import child
from ingestion.parsers.child_server import ChildServers, Ended

log = get_logger(__name__)

_REJECTIONS: dict[str, type[DocumentRejected]] = {
    kind.code: kind
    for kind in (EmptyDocument, EncryptedDocument, DocumentTooComplex, UnreadableDocument)
}
SERVERS = ChildServers()
# A library in C ends so when it gets no memory; whether that was it, its size tells.
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGTRAP, signal.SIGILL, signal.SIGBUS)
_STARVED = 0.8
_OUT_OF_MEMORY = (b"memory allocation", b"bad_alloc", b"out of memory", b"MemoryError")


def parse_in_sandbox(
    path: Path,
    media_type: MediaType,
    limits: IngestionSettings,
    cancelled: threading.Event | None = None,
    parser: str = "ingestion.parsers.registry",
    tell_pages: Callable[[int, int], None] | None = None,
) -> ParsedDocument:
    """Read a file in a process of its own; blocks until that ends.

    The child has limits of memory, CPU and wall time, writes no files, starts no processes,
    inherits no environment, and has no network where the kernel lets it go without. It ends with
    the worker, however that ends.

    Args:
        path: The file; only read.
        media_type: What `app.services.media_types.sniff` said.
        limits: The worker's settings.
        cancelled: When set from another thread, the child is killed within a second.
        parser: The module whose `parse` reads the file.
        tell_pages: Told from this thread how many pages have been read, and of how many.

    Returns:
        The document; its offsets have been checked.

    Raises:
        DocumentRejected: What the parser said; DocumentTooComplex too for a passed limit of memory,
            time or output; ParserDied if the child ended without a result.
        JobCancelled: `cancelled` was set.
        StorageUnavailable: The file cannot be opened, which is no fault of the file.
        Unavailable: The machine has no room for one more process.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise StorageUnavailable(
            f"the stored bytes cannot be opened ({error.strerror}): {str(path)!r}"
        ) from error
    order = child.Order(
        parser=parser,
        path=str(path.absolute()),
        media_type=media_type,
        max_text_chars=limits.max_text_chars,
        max_blocks=limits.max_blocks,
        memory_bytes=limits.parser_memory_bytes,
        cpu_s=limits.parser_cpu_s,
    )
    server = SERVERS.take()
    try:
        ended = server.run(order, _watch(limits, cancelled, tell_pages))
    except BaseException:
        server.close()
        raise
    SERVERS.give_back(server)
    document = _judge(ended, limits)
    _check_offsets(document, limits)
    return document


def _watch(
    limits: IngestionSettings,
    cancelled: threading.Event | None,
    tell_pages: Callable[[int, int], None] | None,
) -> Callable[[Ended], None]:
    """What ends the wait for a child that takes too long, says too much, or is not wanted."""
    deadline = monotonic() + limits.parser_wall_s
    # A block costs about 60 bytes beside its text.
    most = 4 * limits.max_text_chars + 100 * limits.max_blocks + 1024**2

    told: tuple[int, int] | None = None

    def check(ended: Ended) -> None:
        nonlocal told
        if tell_pages is not None and ended.pages is not None and ended.pages != told:
            told = ended.pages
            tell_pages(*told)
        if cancelled is not None and cancelled.is_set():
            raise JobCancelled("the job was cancelled while its file was being read")
        if monotonic() > deadline:
            raise DocumentTooComplex(
                f"reading took longer than {limits.parser_wall_s:g} s: split the document or "
                "raise OPORA_INGESTION__PARSER_WALL_S"
            )
        if len(ended.report) > most:
            raise DocumentTooComplex(f"the parser's output is larger than {most} bytes")

    return check


def _judge(ended: Ended, limits: IngestionSettings) -> ParsedDocument:
    """Turn the child's end into a document or the error that tells why there is none."""
    if ended.returncode != 0:
        raise _death(ended, limits)
    report: child.Report
    try:
        report = msgspec.msgpack.decode(ended.report, type=child.Report)
    except msgspec.DecodeError as error:
        raise ParserDied(f"the parser's report cannot be read: {error}") from error
    match report:
        case child.Parsed(document):
            return document
        case child.Rejected(code, message):
            raise _REJECTIONS.get(code, UnreadableDocument)(message)
        case child.OutOfMemory():
            raise _memory_limit(limits)
        case child.Crashed(error=name, where=where):
            log.warning("parser.crashed", error=name, where=where)
            raise UnreadableDocument(
                f"the parser failed with {name}: the file is probably damaged; open it in its "
                "own program, save it anew and try again"
            )


def _death(ended: Ended, limits: IngestionSettings) -> DocumentRejected:
    log.warning(
        "parser.died",
        returncode=ended.returncode,
        most_mb=ended.most_bytes // 10**6,
        complaints=ended.complaints.decode(errors="replace"),
    )
    if ended.returncode == -signal.SIGXCPU:
        return DocumentTooComplex(
            f"reading took more than {limits.parser_cpu_s} s of CPU time: split the document or "
            "raise OPORA_INGESTION__PARSER_CPU_S"
        )
    starved = ended.most_bytes > _STARVED * limits.parser_memory_bytes
    if any(sign in ended.complaints for sign in _OUT_OF_MEMORY) or (
        starved and -ended.returncode in _CRASHES
    ):
        return _memory_limit(limits)
    if ended.returncode > 0:
        return ParserDied(f"the parser's process ended with exit status {ended.returncode}")
    name = signal.Signals(-ended.returncode).name
    if -ended.returncode == signal.SIGKILL:
        return ParserDied(
            f"the parser's process was killed ({name}): the machine may be out of memory"
        )
    return ParserDied(
        f"the parser's process crashed ({name}): the file is damaged, or needs more than "
        f"{limits.parser_memory_bytes // 1024**2} MiB of memory at once"
    )


def _memory_limit(limits: IngestionSettings) -> DocumentTooComplex:
    return DocumentTooComplex(
        f"reading needs more than {limits.parser_memory_bytes // 1024**2} MiB of memory: split "
        "the document or raise OPORA_INGESTION__PARSER_MEMORY_BYTES"
    )


def _check_offsets(document: ParsedDocument, limits: IngestionSettings) -> None:
    """Refuse what only a parser that was taken over could send."""
    end = 0
    for block in document.blocks:
        if not end <= block.char_start < block.char_end:
            raise ParserDied("the parser reported blocks that are out of order")
        end = block.char_end
    if end > len(document.text):
        raise ParserDied("the parser reported blocks beyond the end of the text")
    if len(document.text) > limits.max_text_chars or len(document.blocks) > limits.max_blocks:
        raise ParserDied("the parser passed the limits that it was given")
