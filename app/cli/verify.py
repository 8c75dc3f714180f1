"""`opora verify`: exported answers checked again, without a model and without a running Opora."""

import asyncio
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.output import Json, out
from app.domain.errors import ConfigurationError, OporaError
from app.engines.blobs.folder import FolderBlobStore
from app.quality.recheck import ExportedAnswer, Recheck, Sources, read_answers, recheck
from app.settings import Settings, load_settings

Known = dict[tuple[str, int], tuple[str | None, str]]
"""By document and version: the parsed text, if there is one, and the stored sum."""
_NOTHING = (None, None)


def verify(
    file: Annotated[Path, typer.Argument(help="An answer, a list, a conversation or JSON lines.")],
    texts: Annotated[
        Path | None,
        typer.Option(help="Folder of parsed texts: `<document_id>[.<version>].txt`."),
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="Folder of the original files, to compare their sums.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check exported answers again; exit code 1 if anything fails.

    Quotes are compared with the texts of --texts, or else of the database of these settings where
    one answers. What could not be checked is said.
    """
    answers = read_answers(file)
    with _sources(answers, texts, documents) as (sources, place):
        results = [recheck(answer, sources) for answer in answers]
    failed = [result for result in results if not result.ok]
    if as_json:
        report = {
            "ok": not failed,
            "texts": place,
            "checked": _sum(result.checked for result in results),
            "not_checked": _sum(result.unchecked for result in results),
            "answers": [_described(result) for result in results],
        }
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(results, place)
    if failed:
        raise typer.Exit(1)


def _described(result: Recheck) -> dict[str, object]:
    return {
        "answer_id": result.answer_id,
        "ok": result.ok,
        "failures": result.failures,
        "checked": result.checked,
        "not_checked": result.unchecked,
    }


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _print(results: list[Recheck], place: str) -> None:
    for result in results:
        for failure in result.failures:
            where = f", citation {failure.citation}" if failure.citation else ""
            line = f"FAIL {result.answer_id}{where}: {failure.check}: {failure.detail}"
            out.print(line, highlight=False, markup=False, soft_wrap=True)
    for name, counts in (
        ("checked", _sum(result.checked for result in results)),
        ("not checked", _sum(result.unchecked for result in results)),
    ):
        if counts:
            told = ", ".join(f"{count} {check}" for check, count in counts.items())
            out.print(f"{name}: {told}", highlight=False, markup=False, soft_wrap=True)
    good = sum(result.ok for result in results)
    total = f"{good} of {len(results)} answers hold; texts looked up in {place}"
    out.print(total, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _sources(
    answers: list[ExportedAnswer], texts: Path | None, documents: Path | None
) -> Iterator[tuple[Sources, str]]:
    """Where the cited documents can be looked up, and where that is in words."""
    for folder in (texts, documents):
        if folder is not None and not folder.is_dir():
            raise ConfigurationError(f"{str(folder)!r} is no folder")
    sums = _sums_below(documents) if documents else None
    if texts is not None:
        known: Known = {}
        yield Sources(partial(_text_in, texts), partial(_sum_in, sums, known, None)), "the folder"
        return
    cited = {(c.document_id, c.version) for answer in answers for c in answer.citations}
    try:
        settings = load_settings()
        known = _look_up(settings, cited)
        place, blobs = "the database", FolderBlobStore(settings.data / "blobs")
    except OporaError as error:
        known, place, blobs = {}, f"nothing ({error.message})", None
    yield (
        Sources(
            lambda document_id, version: known.get((document_id, version), _NOTHING)[0],
            partial(_sum_in, sums, known, blobs),
        ),
        place,
    )


def _text_in(folder: Path, document_id: str, version: int) -> str | None:
    if not re.fullmatch(r"[\w-]+", document_id):
        return None
    for name in (f"{document_id}.{version}.txt", f"{document_id}.txt"):
        if (folder / name).is_file():
            return (folder / name).read_bytes().decode(errors="replace")
    return None


def _sums_below(folder: Path) -> set[str]:
    return {_sum_of(path) for path in folder.rglob("*") if path.is_file()}


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_in(
    sums: set[str] | None,
    known: Known,
    blobs: FolderBlobStore | None,
    document_id: str,
    version: int,
    said: str,
) -> str | None:
    """The document's sum now: among the given files, else of its stored bytes, else as stored."""
    if sums is not None:
        return said if said in sums else "of none of the given files"
    stored = known.get((document_id, version), _NOTHING)[1]
    if stored and blobs and blobs.local_path(stored).is_file():
        return _sum_of(blobs.local_path(stored))
    return stored


def _look_up(settings: Settings, cited: Iterable[tuple[str, int]]) -> Known:
    """Texts and sums from the configured database, or from the one under the data directory."""
    if settings.database.url is not None:
        url = settings.database.url.get_secret_value()
    elif (settings.data / "postgres").is_dir():
        from app.db.embedded import start_embedded

        url = start_embedded(settings.data).get_uri()
    else:
        raise ConfigurationError("no database is configured and none lies in the data directory")
    return asyncio.run(_read(url, cited))


async def _read(url: str, cited: Iterable[tuple[str, int]]) -> Known:
    from app.db.repositories import documents as document_rows
    from app.db.session import Database

    database = Database(url)
    known: Known = {}
    try:
        async with database.transaction() as session:
            for document_id, version in cited:
                found = await document_rows.get_version(session, document_id, version)
                if found is not None:
                    text = await document_rows.get_text(session, document_id, version)
                    known[document_id, version] = (text, found.version.sha256)
    finally:
        await database.close()
    return known
