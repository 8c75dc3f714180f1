"""Sources: made, changed and synced by admins, and by their schedules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import new_id, now
from app.db.models import Job, Source
from app.db.repositories import access as access_rows
from app.db.repositories import documents as document_rows
from app.db.repositories import jobs as job_rows
from app.db.repositories import sources as source_rows
from app.db.repositories.sources import SYNC
from app.db.session import Database
from app.domain.access import check_principal
from app.domain.documents import JobState
from app.domain.errors import Conflict, InvalidField, SourceRefused
from app.domain.schedules import check_schedule, next_sync_at
from app.domain.source_options import Selection, SourceOptions, check_source
from app.domain.sources import SourceKind, SyncReport
from app.services.secrets import SecretBox
from app.telemetry import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SourceDraft:
    """What an admin says of a source; no `readers`: those of the collection."""

    name: str
    kind: SourceKind
    url: str
    options: SourceOptions
    collection: str
    readers: Sequence[str]
    schedule: int | str | None


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What a sync is asked for; stored as its job's options."""

    source_id: str
    dry_run: bool = False
    force: bool = False


class Sources:
    """Sources and their syncs; a worker carries these out."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def add(self, actor: str, draft: SourceDraft) -> Source:
        """Make a source; its first sync is due at once if it has a schedule.

        Raises:
            InvalidField: It could not work as it is.
            NotFound: No such collection.
            Conflict: The name is taken.
        """
        _check(draft)
        schedule = None if draft.schedule is None else check_schedule(draft.schedule)
        secrets = draft.options.secrets()
        async with self._database.transaction() as session:
            await _check_collections(session, draft)
            if await source_rows.name_is_taken(session, draft.name):
                raise Conflict(f"there is already a source {draft.name!r}")
            source = Source(
                source_id=new_id("src"),
                name=draft.name,
                kind=draft.kind,
                url=draft.url,
                options=draft.options.public(),
                secrets=self._box.seal(secrets) if secrets else None,
                collection=draft.collection,
                readers=sorted(set(draft.readers)),
                owner=actor,
                schedule=schedule,
                next_sync_at=now() if schedule else None,
            )
            session.add(source)
            await session.flush()
            await _record(session, actor, "source.added", source)
        return source

    async def change(self, actor: str, source_id: str, changes: dict[str, Any]) -> Source:
        """Change a source. New readers and collections count at once, for its documents too.

        Args:
            actor: Who does it.
            source_id: Of the source.
            changes: Fields of a SourceDraft. `options` are taken over as a whole, but a secret
                that they do not name stays.

        Raises:
            InvalidField, NotFound, Conflict: As `add`; Conflict too while it is being synced,
                unless only its name or schedule is changed.
        """
        async with self._database.transaction() as session:
            source = await source_rows.get_source(session, source_id, lock=True)
            if changes.keys() - {"name", "schedule"}:
                await _refuse_while_syncing(session, source_id)
            before = self._draft_of(source)
            if "options" in changes:
                kept = {
                    name: SecretStr(value)
                    for name, value in before.options.secrets().items()
                    if name not in changes["options"].model_fields_set
                }
                changes["options"] = changes["options"].model_copy(update=kept)
            draft = replace(before, **changes)
            _refuse_to_carry_secrets(before, draft)
            _check(draft)
            await _check_collections(session, draft)
            if draft.name != source.name and await source_rows.name_is_taken(session, draft.name):
                raise Conflict(f"there is already a source {draft.name!r}")
            secrets = draft.options.secrets()
            source.name, source.url = draft.name, draft.url
            source.options = draft.options.public()
            source.secrets = self._box.seal(secrets) if secrets else None
            source.collection, source.readers = draft.collection, sorted(set(draft.readers))
            if draft.schedule is None:
                source.schedule = source.next_sync_at = None
            elif (schedule := check_schedule(draft.schedule)) != source.schedule:
                source.schedule, source.next_sync_at = schedule, next_sync_at(schedule, now())
            source.updated_at = now()
            await session.flush()
            if {"options", "collection", "readers"} & changes.keys():
                await _place_all(session, source, Selection(draft.options))
            await _record(session, actor, "source.changed", source)
        return source

    async def delete(self, actor: str, source_id: str, keep_documents: bool) -> None:
        """Delete a source, and with it its documents unless they shall stay as plain ones."""
        async with self._database.transaction() as session:
            source = await source_rows.get_source(session, source_id, lock=True)
            running = await source_rows.open_sync(session, source_id)
            if running is not None:
                await job_rows.cancel(session, running)
            if keep_documents:
                await source_rows.release(session, source_id)
            else:
                keys = await source_rows.keys_of(session, source_id)
                ids = [document_id for document_id, _ in keys]
                await source_rows.remove(session, ids, forget=True)
            await source_rows.replace_skipped(session, source_id, ())
            await session.delete(source)
            await session.flush()
            await _record(session, actor, "source.deleted", source)

    async def request_sync(self, actor: str, request: SyncRequest) -> Job:
        """Let a worker sync a source; the same sync that no worker has begun yet is not doubled.

        Raises:
            NotFound: No such source.
            Conflict: It is being synced.
        """
        async with self._database.transaction() as session:
            await source_rows.get_source(session, request.source_id, lock=True)
            running = await source_rows.open_sync(session, request.source_id)
            if running is not None:
                if running.state == JobState.QUEUED and running.options == _options(request):
                    return running
                await _refuse_while_syncing(session, request.source_id)
            return await job_rows.add_job(session, SYNC, actor, options=_options(request))

    async def sync_due(self) -> int:
        """Let a worker sync the sources that are due; one that is being synced is left alone.

        Returns:
            How many were due.
        """
        due = 0
        while True:
            async with self._database.transaction() as session:
                source = await source_rows.take_due(session, now())
                if source is None:
                    return due
                due += 1
                source.next_sync_at = _next(source, now())
                if await source_rows.open_sync(session, source.source_id) is None:
                    request = SyncRequest(source.source_id)
                    await job_rows.add_job(session, SYNC, source.owner, options=_options(request))

    def secret_names(self, source: Source) -> list[str]:
        """Which secrets a source has; none of them can be opened without the key."""
        if source.secrets is None:
            return []
        try:
            return sorted(self._box.open(source.secrets))
        except SourceRefused as error:
            log.warning("source.sealed", source_id=source.source_id, reason=error.message)
            return []

    async def load(self, source_id: str) -> SourceDraft:
        """A source with its secrets, for the worker.

        Raises:
            NotFound: It was deleted.
            SourceRefused: Its secrets cannot be opened.
        """
        async with self._database.transaction() as session:
            return self._draft_of(await source_rows.get_source(session, source_id))

    async def save_report(self, job_id: str, request: SyncRequest, report: SyncReport) -> None:
        """Write down what a sync did; nothing when the source was deleted meanwhile."""
        async with self._database.transaction() as session:
            await source_rows.get_source(session, request.source_id, lock=True)
            await source_rows.save_report(
                session, job_id, request.source_id, request.dry_run, report
            )

    def _draft_of(self, source: Source) -> SourceDraft:
        secrets = self._box.open(source.secrets) if source.secrets is not None else {}
        return SourceDraft(
            source.name,
            SourceKind(source.kind),
            source.url,
            SourceOptions.model_validate({**source.options, **secrets}),
            source.collection,
            source.readers,
            source.schedule,
        )


async def _refuse_while_syncing(session: AsyncSession, source_id: str) -> None:
    """A sync that runs goes by what it began with: it would give new files the old readers."""
    running = await source_rows.open_sync(session, source_id)
    if running is not None:
        raise Conflict(f"job {running.job_id!r} is syncing the source: wait or cancel it")


def _refuse_to_carry_secrets(before: SourceDraft, after: SourceDraft) -> None:
    """Refuse to send kept secrets to another host: whoever names it has to know them."""
    kept = before.options.secrets().items() & after.options.secrets().items()
    moved = _place(before) != _place(after)
    if kept and moved:
        name, _ = min(kept)
        raise InvalidField(f"options.{name}", "must be given anew for another server")


def _place(draft: SourceDraft) -> tuple[str, str, str | None]:
    parts = urlsplit(draft.url)
    return parts.scheme, parts.netloc, draft.options.endpoint_url


def _check(draft: SourceDraft) -> None:
    if not draft.url.strip():
        raise InvalidField("url", "is empty")
    for reader in draft.readers:
        check_principal(reader)
    check_source(draft.kind, draft.url, draft.options)


async def _check_collections(session: AsyncSession, draft: SourceDraft) -> None:
    ruled = {rule.collection for rule in draft.options.rules if rule.collection}
    for name in {draft.collection, *ruled}:
        await document_rows.get_collection(session, name)


async def _place_all(session: AsyncSession, source: Source, selection: Selection) -> None:
    """Put each document of a source where its rules say."""
    placed: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for document_id, key in await source_rows.keys_of(session, source.source_id):
        place = selection.place(key, source.collection, source.readers)
        placed.setdefault((place.collection, place.readers), []).append(document_id)
    for (collection, readers), ids in placed.items():
        home = await document_rows.get_collection(session, collection)
        await source_rows.place(session, ids, collection, list(readers) or home.readers)


async def _record(session: AsyncSession, actor: str, action: str, source: Source) -> None:
    await access_rows.record(
        session, actor, action, source.source_id, name=source.name, kind=source.kind
    )


def _next(source: Source, at: datetime) -> datetime | None:
    return next_sync_at(source.schedule, at) if source.schedule else None


def _options(request: SyncRequest) -> dict[str, object]:
    return {
        "source_id": request.source_id,
        "dry_run": request.dry_run,
        "force": request.force,
    }
