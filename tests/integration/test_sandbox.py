"""Whatever a file does to its parser, the worker gets a document or a reason."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from app.domain.documents import MediaType
from app.domain.errors import (
    DocumentTooComplex,
    EncryptedDocument,
    JobCancelled,
    ParserDied,
    StorageUnavailable,
    Unavailable,
    UnreadableDocument,
)
from app.settings import IngestionSettings
from ingestion.parsers import child, sandbox
from ingestion.parsers.sandbox import parse_in_sandbox
from tests.e2e.running import is_running
from tests.fixtures import make_files

HOSTILE = "tests.fixtures.hostile_parsers"


def limits(**changes: float) -> IngestionSettings:
    values = {"parser_memory_bytes": 512 * 1024**2, "parser_cpu_s": 20, "parser_wall_s": 30}
    return IngestionSettings.model_validate(values | changes)


def suffer(tmp_path: Path, deed: str, **changes: float) -> str:
    path = tmp_path / "file"
    path.write_text(deed)
    return parse_in_sandbox(path, MediaType.TEXT, limits(**changes), parser=HOSTILE).text


def test_pages_are_told_while_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("pages")
    for _ in range(2):  # the second child is of the same server
        told: list[tuple[int, int]] = []
        parsed = parse_in_sandbox(
            path,
            MediaType.TEXT,
            limits(),
            parser=HOSTILE,
            tell_pages=lambda done, total, told=told: told.append((done, total)),  # type: ignore[misc]
        )
        assert told == [(1, 3), (2, 3), (3, 3)]
        assert parsed.text in ("1", "2")  # of this file, whatever the server's age


def test_a_real_file_comes_back_whole(tmp_path: Path) -> None:
    path = make_files.make_docx(tmp_path / "a.docx")
    parsed = parse_in_sandbox(path, MediaType.DOCX, limits())
    assert parsed.title == "Положение об отпусках"
    assert "Сроки" in parsed.text
    assert parsed.blocks[-1].char_end == len(parsed.text)


def test_a_rejection_keeps_its_class_and_message(tmp_path: Path) -> None:
    with pytest.raises(EncryptedDocument, match="asks for a password"):
        suffer(tmp_path, "encrypted")


def test_a_memory_hog_meets_its_limit(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="512 MiB of memory"):
        suffer(tmp_path, "hog")


def test_an_endless_loop_meets_the_cpu_limit(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="1 s of CPU time"):
        suffer(tmp_path, "spin", parser_cpu_s=1)


def test_a_hanging_parser_meets_the_wall_limit(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="longer than 1 s"):
        suffer(tmp_path, "sleep", parser_wall_s=1)


def test_a_flood_meets_the_output_limit(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="output is larger"):
        suffer(tmp_path, "flood", max_text_chars=100, max_blocks=10)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", "SIGSEGV"),
        ("exit", "exit status 3"),
        ("garbage", "report cannot be read"),
        ("liar", "beyond the end of the text"),
    ],
)
def test_a_parser_that_dies_or_lies_is_named(tmp_path: Path, deed: str, reason: str) -> None:
    with pytest.raises(ParserDied, match=reason):
        suffer(tmp_path, deed)


def test_a_bug_is_named_without_the_documents_words(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="ZeroDivisionError") as caught:
        suffer(tmp_path, "bug")
    assert "a word of the document" not in str(caught.value)


def test_a_cancelled_job_kills_the_child_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("sleep")
    cancelled = threading.Event()
    timer = threading.Timer(1.0, cancelled.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(JobCancelled):
        parse_in_sandbox(path, MediaType.TEXT, limits(), cancelled, parser=HOSTILE)
    assert time.monotonic() - started < 3
    timer.join()


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    servers = sandbox.SERVERS
    servers.close()
    for deed in ("orphan", "sleep", "crash"):
        with pytest.raises((DocumentTooComplex, UnreadableDocument, ParserDied)):
            suffer(tmp_path, deed, parser_wall_s=2)
    servers.close()
    assert servers_of_this_process() == []


def test_parsers_end_with_a_killed_worker(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("sleep")
    code = (
        "from pathlib import Path; from app.domain.documents import MediaType;"
        "from app.settings import IngestionSettings;"
        "from ingestion.parsers.sandbox import parse_in_sandbox;"
        f"parse_in_sandbox(Path({str(path)!r}), MediaType.TEXT, IngestionSettings(), None,"
        f" {HOSTILE!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as worker:
        deadline = time.monotonic() + 30
        while len(family := parsers_of(psutil.Process(worker.pid))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker.kill()
    _, living = psutil.wait_procs(family, timeout=5)
    assert living == []


def servers_of_this_process() -> list[psutil.Process]:
    """Its own; workers that other tests have started below it have theirs."""
    own = psutil.Process().children()
    return [one for one in own if child.__name__ in one.cmdline()]


def parsers_of(process: psutil.Process) -> list[psutil.Process]:
    """The parsers' processes below a process, children of children too."""
    below = process.children(recursive=True)
    return [one for one in below if child.__name__ in one.cmdline()]


def test_files_are_read_one_after_the_other_by_one_server(tmp_path: Path) -> None:
    sandbox.SERVERS.close()
    path = tmp_path / "a.txt"
    path.write_text("words")
    servers = set()
    for deed in ("crash", "exit", "hog", "bug"):
        with pytest.raises((DocumentTooComplex, UnreadableDocument, ParserDied)):
            suffer(tmp_path, deed)
        assert parse_in_sandbox(path, MediaType.TEXT, limits()).text == "words"
        servers |= set(servers_of_this_process())
    assert len(servers) == 1
    (server,) = servers
    server.kill()
    while is_running(server):
        time.sleep(0.01)
    assert parse_in_sandbox(path, MediaType.TEXT, limits()).text == "words"


def test_a_parser_reaches_nothing_but_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPORA_ADMIN_KEY", "secret-secret-secret")
    beside = tmp_path / "beside"
    beside.write_text("stays")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(f"{beside}.socket")
        local.listen()
        path = tmp_path / f"file.{server.getsockname()[1]}"
        path.write_text("look around")
        world = parse_in_sandbox(path, MediaType.TEXT, limits(), parser=HOSTILE).text
    if "Seccomp:" not in Path("/proc/self/status").read_text():
        pytest.skip("this kernel has no filter of system calls")
    assert world.startswith("reached [], environment ")
    assert "OPORA" not in world
    assert beside.read_text() == "stays"
    assert sorted(tmp_path.iterdir()) == sorted([path, beside, Path(f"{beside}.socket")])


def test_a_missing_file_is_no_fault_of_the_document(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="No such file"):
        parse_in_sandbox(tmp_path / "gone", MediaType.TEXT, limits())


def test_a_machine_without_room_for_a_process_is_no_fault_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")
    sandbox.SERVERS.close()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(Unavailable, match="can be started"):
        parse_in_sandbox(path, MediaType.TEXT, limits())


def test_many_threads_parse_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Привет, мир")
    texts: list[str] = []

    def work() -> None:
        texts.append(parse_in_sandbox(path, MediaType.TEXT, limits()).text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["Привет, мир"] * 4
