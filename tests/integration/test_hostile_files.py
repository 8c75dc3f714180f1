"""Files that mean harm: each ends with a true reason, in a worker that lives on and stays small."""

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from app.db.repositories import documents as document_rows
from app.domain.documents import TERMINAL
from app.domain.errors import BadInput
from app.services.documents import Upload
from app.settings import EmbedderSettings, Settings
from app.wiring import Services, build_services, prepare_database
from tests.conftest import open_folder
from tests.e2e.running import Process, environment, running, until
from tests.fixtures import hostile_packages as packages
from tests.fixtures import hostile_pdfs as pdfs
from tests.fixtures import hostile_texts as texts
from tests.fixtures.hostile_packages import SECRET
from tests.fixtures.make_files import make_docx, make_eml, make_ole, make_pdf, make_pptx, make_xlsx
from tests.integration.house import ADMIN

LIMITS = {
    "parser_memory_bytes": 512 * 1024**2,
    "parser_cpu_s": 6,
    "parser_wall_s": 30,
    "max_text_chars": 3_000_000,
    "max_blocks": 50_000,
}
WORKER_BYTES = 700 * 1024**2
TRAVELLER = str(Path(tempfile.gettempdir()) / "opora-was-here")
LIVE, EMPTY, FAILED, REFUSED = {"live"}, {"empty"}, {"failed"}, {"refused"}


@dataclass(frozen=True)
class Trial:
    """A hostile file, where it may end, and what its reason must say."""

    make: Callable[[Path], Path]
    ends: set[str]
    reason: str = ""
    filename: str = ""


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The same file without its end."""

    def make_cut(path: Path) -> Path:
        whole = make(path).read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        return path

    return make_cut


def bytes_of(content: str | bytes) -> Callable[[Path], Path]:
    return lambda path: texts.text(path, content)


def some_pdf(path: Path) -> Path:
    return make_pdf(path, [[(12.0, "Some words on a page.")]])


def some_xlsx(path: Path) -> Path:
    return make_xlsx(path, {"S": [["a", "b"], ["c", "d"]]})


TRIALS = {
    # bombs
    "bomb.docx": Trial(packages.docx_bomb, FAILED, "would unpack to 41\\d+ bytes"),
    "bomb.xlsx": Trial(packages.xlsx_bomb, FAILED, "would unpack to 41\\d+ bytes"),
    "bomb.pdf": Trial(pdfs.flate_bomb, FAILED, "512 MiB of memory"),
    "liar.docx": Trial(packages.docx_liar, FAILED, "damaged: Bad CRC"),
    "overlapping.docx": Trial(packages.overlapping_zip, FAILED | LIVE, "damaged|parts|"),
    "tower.pdf": Trial(pdfs.filter_tower, LIVE),
    "nested.zip": Trial(packages.nested_zip, EMPTY, "nothing that can be read"),
    "crowded.zip": Trial(packages.crowded_zip, FAILED | LIVE),
    "laughs.docx": Trial(packages.docx_laughs, FAILED, "entity amplification"),
    "laughs.xlsx": Trial(packages.xlsx_laughs, FAILED, "damaged"),
    "laughs.html": Trial(texts.page_of_laughs, LIVE),
    "outside.docx": Trial(packages.docx_outside, FAILED, "declares a document type"),
    # too much of everything
    "paragraphs.docx": Trial(packages.many_paragraphs, FAILED, "blocks|512 MiB of memory"),
    "pages.pdf": Trial(pdfs.many_pages, LIVE),
    "cells.xlsx": Trial(packages.many_cells, FAILED, "longer than 3000000 characters"),
    "far.xlsx": Trial(packages.far_cells, FAILED, "512 MiB of memory"),
    "gigabyte.txt": Trial(lambda p: texts.one_line(p, texts.GIGABYTE), FAILED, "512 MiB of memory"),
    "line.txt": Trial(lambda p: texts.one_line(p, 4_000_000), LIVE),
    "row.csv": Trial(bytes_of("a,b\n" + "x," * 1_000_000), FAILED, "3000000 characters"),
    "quote.csv": Trial(bytes_of('a,b\n1,"' + "never closed, " * 300_000), FAILED, "limit .3000000"),
    "wide.docx": Trial(packages.wide_table, LIVE),
    "wide.html": Trial(texts.wide_table_html, LIVE),
    "attachments.eml": Trial(texts.wide_mail, FAILED, "3000000 characters|6 s of CPU time"),
    # too deep
    "deep.docx": Trial(packages.deep_tables, FAILED, "damaged: Excessive depth"),
    "deep.html": Trial(lambda p: texts.deep_html(p, "div", 100_000), FAILED, "too deeply"),
    "bold.html": Trial(lambda p: texts.deep_html(p, "b", 100_000), FAILED, "too deeply"),
    "tables.html": Trial(texts.deep_table_html, FAILED, "too deeply"),
    "deep.eml": Trial(texts.deep_mail, FAILED, "too deeply"),
    "deep.json": Trial(bytes_of("[" * 500_000 + "]" * 500_000), EMPTY | FAILED, "no text|deep"),
    "deep.rtf": Trial(bytes_of("{\\rtf1 " + "{" * 500_000 + "x"), FAILED, "nests more than"),
    "quotes.md": Trial(bytes_of("> " * 200_000 + "deep"), LIVE),
    "brackets.md": Trial(bytes_of("[" * 200_000 + "a" + "](" * 100_000), LIVE),
    "lists.md": Trial(
        bytes_of("".join(" " * 2 * n + "- x\n" for n in range(1_500))), LIVE | FAILED, "|CPU"
    ),
    "arrays.pdf": Trial(pdfs.deep_arrays, EMPTY, "no text was found"),
    "tree.pdf": Trial(pdfs.endless_tree, EMPTY, "no text was found"),
    "form.pdf": Trial(pdfs.endless_form, FAILED, "512 MiB of memory|CPU time"),
    "page.pdf": Trial(pdfs.huge_page, LIVE),
    "font.pdf": Trial(pdfs.broken_font, EMPTY, "no text was found"),
    # locked, cut off, renamed
    "locked.pdf": Trial(lambda p: make_pdf(p, [[(12.0, "Words.")]], locked=True), FAILED, "passw"),
    "locked.xlsx": Trial(lambda p: make_ole(p, "EncryptedPackage"), FAILED, "password"),
    "cut.pdf": Trial(cut(some_pdf, 0.6), FAILED, "damaged"),
    "cut.docx": Trial(cut(make_docx, 0.6), FAILED, "damaged"),
    "cut.xlsx": Trial(cut(some_xlsx, 0.6), FAILED, "damaged"),
    "cut.pptx": Trial(cut(make_pptx, 0.6), FAILED, "damaged"),
    "cut.eml": Trial(cut(make_eml, 0.6), LIVE),
    "program.pdf": Trial(bytes_of(b"MZ\x90\0" + bytes(500)), REFUSED, "Windows program"),
    "program.txt": Trial(bytes_of(b"\x7fELF" + bytes(500)), REFUSED, "ELF"),
    "text.pdf": Trial(bytes_of("Просто текст под чужим именем.\n"), LIVE),
    "pdf.docx": Trial(some_pdf, LIVE),
    "noise.docx": Trial(bytes_of(b"PK\3\4" + bytes(range(256)) * 100), FAILED, "damaged"),
    # names that lead elsewhere, odd characters
    "travels.docx": Trial(lambda p: packages.travelling_docx(p, TRAVELLER), LIVE),
    "name.txt": Trial(bytes_of("Имя ведёт прочь."), LIVE, filename=f"../../../..{TRAVELLER}"),
    "control.txt": Trial(
        bytes_of("Имя с управляющими знаками."), LIVE, filename="a\x01\x1b[31m\u202etxt.exe\n.txt"
    ),
    "long.txt": Trial(bytes_of("Имя длиной в тысячи букв."), LIVE, filename="ы" * 10_000 + ".txt"),
    "nul.txt": Trial(bytes_of("Имя с нулём в середине."), REFUSED, "NUL", "a\0b.txt"),
    "halves.txt": Trial(bytes_of(b"\xff\xfe" + b"\x00\xd8" * 5_000 + b"a\0"), LIVE),
    "nuls.txt": Trial(bytes_of("Слово\0" * 50 + "конец " * 10_000), LIVE),
    # pictures
    "giant.gif": Trial(texts.gif, FAILED, "image"),
    "giant.png": Trial(lambda p: texts.png(p, 1_000_000, 1_000_000), FAILED, "pixels"),
}


@dataclass(frozen=True)
class End:
    """Where a file ended."""

    status: str
    reason: str
    text: str = ""


@dataclass(frozen=True)
class Aftermath:
    """What all the trials left."""

    ends: dict[str, End]
    worker: Process
    most_bytes: int
    strangers: list[Path]


@pytest.fixture(scope="module")
async def aftermath(new_database: Callable[[], str]) -> AsyncIterator[Aftermath]:
    """All files, handed to one worker process."""
    with open_folder() as folder:
        url = new_database()
        made = folder / "made"
        made.mkdir()
        settings = Settings(data_dir=folder / "data", embedder=EmbedderSettings(model="hash"))
        await prepare_database(settings, url)
        services = build_services(settings, url)
        limits = {f"ingestion__{name}": value for name, value in LIMITS.items()}
        own = environment(settings.data, database__url=url, embedder__model="hash", **limits)
        with running(("worker",), own, folder / "worker.log") as worker:
            ends = await suffer(services, made)
            assert worker.popen.poll() is None, worker.output[-3000:]
            known = {"data", "made", "worker.log"}
            strangers = [path for path in folder.iterdir() if path.name not in known]
            strangers += [path for path in (Path(TRAVELLER), Path("evil.txt")) if path.exists()]
            yield Aftermath(ends, worker, most_bytes(worker), strangers)
        await services.close()


def most_bytes(process: Process) -> int:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def suffer(services: Services, folder: Path) -> dict[str, End]:
    """Hand in every file and wait for its end."""
    ends, accepted = dict[str, End](), dict[str, str]()
    for name, trial in TRIALS.items():
        path = trial.make(folder / name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        upload = Upload(path, trial.filename or name, digest, path.stat().st_size)
        try:
            accepted[name] = (await services.documents.add(ADMIN, upload)).document_id
        except BadInput as error:
            ends[name] = End("refused", error.message)
        path.unlink(missing_ok=True)
    for name, document_id in accepted.items():
        ends[name] = await until(partial(look, services, document_id), 120)
    return ends


async def look(services: Services, document_id: str) -> End | None:
    """Where a document ended, None before that."""
    async with services.database.transaction() as session:
        view = await document_rows.get_document(session, ADMIN, document_id)
        text = await document_rows.get_text(session, document_id, 1)
    if view.status not in TERMINAL:
        return None
    return End(view.status, view.version.reason or "", text or "")


@pytest.mark.parametrize("name", TRIALS)
async def test_hostile_file_ends_with_a_true_reason(aftermath: Aftermath, name: str) -> None:
    trial, end = TRIALS[name], aftermath.ends[name]
    assert end.status in trial.ends, end
    assert end.reason or end.status == "live", end
    assert re.search(trial.reason, end.reason), end
    assert SECRET not in end.text


async def test_worker_lives_on_and_stays_small(aftermath: Aftermath) -> None:
    assert "job.crashed" not in aftermath.worker.output
    assert aftermath.most_bytes < WORKER_BYTES, f"{aftermath.most_bytes / 1024**2:.0f} MiB"


async def test_nothing_outside_the_data_directory_is_touched(aftermath: Aftermath) -> None:
    assert aftermath.strangers == []
