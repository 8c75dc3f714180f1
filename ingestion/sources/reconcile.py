"""Makes the documents of a source, or of a ZIP archive, equal to what it holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from app.domain.errors import BadInput, RemovalUnconfirmed, UnsupportedMedia
from app.domain.source_options import Placement
from app.domain.sources import (
    Held,
    Listing,
    Plan,
    Skipped,
    SourceFile,
    SyncReport,
    make_plan,
    needs_confirmation,
)
from app.services.documents import Upload
from app.services.source_documents import Origin, SourceDocuments, Taken
from ingestion.sources.reading import Absent, Fetched, SourceReader, storing, too_large
from ingestion.work import Progress, Work

TEMPORARY = "sync-"
_LONGEST_NAME = 255
_TELL_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of a sync.

    `takes` says of a key whether it is read, `place` where it goes. A `dry_run` changes nothing;
    with `force` a source that lists nothing any more is believed.
    """

    takes: Callable[[str], bool]
    place: Callable[[str], Placement]
    dry_run: bool = False
    force: bool = False


class Reconciliation:
    """One comparison of a source with its documents, and what follows from it."""

    def __init__(
        self,
        documents: SourceDocuments,
        reader: SourceReader,
        origin: Origin,
        wishes: Wishes,
        most_bytes: int,
        temporary: Path,
    ) -> None:
        self._documents = documents
        self._reader = reader
        self._origin = origin
        self._wishes = wishes
        self._most_bytes = most_bytes
        self._temporary = temporary
        self._skipped: list[Skipped] = []
        self._gone: list[Held] = []
        self._not_read: dict[str, Skipped] = {}
        self.report = SyncReport()

    async def run(self, work: Work, progress: Progress) -> None:
        """List, compare, fetch what is new, delete what is gone; `report` tells what was done.

        Raises:
            SourceUnavailable: The source cannot be reached; nothing was deleted.
            RemovalUnconfirmed: It lists nothing where files were; nothing was deleted.
            JobCancelled: Somebody asked the work to stop.
        """
        listing = await self._reader.list_files()
        held, not_read = await self._documents.known(self._origin.source_id)
        if self._wishes.force:
            not_read = []
        listing = replace(
            listing, files=tuple(f for f in listing.files if self._wishes.takes(f.key))
        )
        self._not_read = {one.key: one for one in not_read}
        plan = make_plan(listing, held, not_read)
        self._skipped += [*listing.skipped, *plan.skipped]
        for what in ("unchanged", "withdrawn"):
            self.report.note(what, [one.key for one in getattr(plan, what)])
        if not self._wishes.dry_run:
            self._confirm(listing, plan.removed)
        with storing():
            folder = TemporaryDirectory(prefix=TEMPORARY, dir=self._temporary)
        with folder as name:
            await self._fetch_all(plan, Path(name) / "file", work, progress)
        removed = [*plan.removed, *self._gone]
        self.report.skip(self._skipped)
        self.report.note("removed", [one.key for one in removed])
        if not self._wishes.dry_run:
            await self._documents.remember(self._origin, self._skipped)
            self._confirm(listing, removed)
            await self._documents.remove(self._origin, removed)

    @property
    def skipped(self) -> list[Skipped]:
        """The files that are not read."""
        return self._skipped

    async def _fetch_all(self, plan: Plan, target: Path, work: Work, progress: Progress) -> None:
        pending: list[tuple[SourceFile, Held | None]] = [
            *((file, None) for file in plan.added),
            *plan.changed,
            *plan.unsure,
        ]
        told_at = monotonic()
        sure = {file.key for file in plan.added} | {file.key for file, _ in plan.changed}
        for number, (file, held) in enumerate(pending):
            work.check()
            if monotonic() - told_at > _TELL_INTERVAL_S:
                told_at = monotonic()
                await progress(number, len(pending), "files")
            if file.size_bytes is not None and file.size_bytes > self._most_bytes:
                self._skipped.append(too_large(file, self._most_bytes))
            elif self._wishes.dry_run and file.key in sure:
                self.report.note("added" if held is None else "changed", [file.key])
            else:
                await self._fetch(file, held, target)
        for one in plan.again:
            work.check()
            if not self._wishes.dry_run:
                await self._documents.read_again(self._origin, one)
            self.report.note("changed", [one.key])
        await progress(len(pending), len(pending), "files")

    async def _fetch(self, file: SourceFile, held: Held | None, target: Path) -> None:
        before = self._not_read.get(file.key) or held
        outcome = await self._reader.fetch(file, before.mark if before else None, target)
        match outcome:
            case Skipped():
                self._skipped.append(outcome)
            case Absent.SAME if isinstance(before, Skipped):
                self._skipped.append(before)
            case Absent.SAME if held is not None and held.cancelled and not self._wishes.dry_run:
                await self._documents.read_again(self._origin, held)
                self.report.note("changed", [file.key])
            case Absent.SAME:
                self.report.note("unchanged", [file.key])
            case Absent.GONE if held is not None:
                self._gone.append(held)
            case Absent.GONE:
                self._skipped.append(Skipped(file.key, "it is listed but not there"))
            case Fetched():
                await self._take(replace(file, mark=outcome.mark), outcome, held)

    async def _take(self, file: SourceFile, fetched: Fetched, held: Held | None) -> None:
        upload = Upload(
            fetched.path, fetched.filename[-_LONGEST_NAME:], fetched.sha256, fetched.size_bytes
        )
        try:
            taken = await self._judge(file, upload, held)
        except UnsupportedMedia as error:
            taken = Skipped(file.key, error.message, file.mark)
        except BadInput as error:  # of this file alone; the next sync tries it again
            taken = Skipped(file.key, error.message)
        finally:
            fetched.path.unlink(missing_ok=True)
        if isinstance(taken, Skipped):
            self._skipped.append(taken)
        else:
            self.report.note(taken, [file.key])

    async def _judge(self, file: SourceFile, upload: Upload, held: Held | None) -> Taken | Skipped:
        if self._wishes.dry_run:
            return await self._documents.compare(upload, held)
        place = self._wishes.place(file.key)
        return await self._documents.take(self._origin, file, upload, held, place)

    def _confirm(self, listing: Listing, removed: "list[Held] | tuple[Held, ...]") -> None:
        listed = len(listing.files) - len(self._gone)
        if not self._wishes.force and needs_confirmation(listed, len(removed)):
            raise RemovalUnconfirmed(
                f"the source lists no file, where it had given {len(removed)} documents; nothing "
                "was deleted. If they are really gone, sync again with `force`"
            )
