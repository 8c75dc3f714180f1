"""Sources: where documents come from by themselves, and what a sync has to do about them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MOST_FILES = 1_000_000


class SourceKind(StrEnum):
    """How a source is read."""

    FOLDER = "folder"
    FSSPEC = "fsspec"
    SITEMAP = "sitemap"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as its source lists it.

    `key` is its name within the source. `mark` changes when the content does (an etag, or the time
    of its last change with its size); None where only reading the file can tell.
    """

    key: str
    uri: str
    mark: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not read, and why; it is looked at again once its mark is another one."""

    key: str
    reason: str
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a source holds.

    `unlisted` names what could not be looked at, a folder with a slash at its end: nothing of it
    counts as removed.
    """

    files: tuple[SourceFile, ...]
    skipped: tuple[Skipped, ...] = ()
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A document that a source gave before.

    `withdrawn`: a person deleted it, so it stays away. `cancelled`: its newest version was never
    read because its job was cancelled.
    """

    document_id: str
    key: str
    mark: str | None
    withdrawn: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync has to do; each listed file stands in one of the first seven."""

    added: tuple[SourceFile, ...] = ()
    changed: tuple[tuple[SourceFile, Held], ...] = ()
    unsure: tuple[tuple[SourceFile, Held], ...] = ()
    again: tuple[Held, ...] = ()
    unchanged: tuple[Held, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    withdrawn: tuple[Held, ...] = ()
    removed: tuple[Held, ...] = ()


def make_plan(listing: Listing, held: Iterable[Held], skipped: Iterable[Skipped] = ()) -> Plan:
    """Compare what a source holds now with what it gave before.

    Args:
        listing: What it holds, each key once.
        held: The documents of it, each key once.
        skipped: The files of it that were not read the last time.
    """
    plan = _Drafts()
    before = {known.key: known for known in held}
    not_read = {known.key: known for known in skipped}
    for file in listing.files:
        known, left_out = before.pop(file.key, None), not_read.get(file.key)
        if known is not None and known.withdrawn:
            plan.withdrawn.append(known)
        elif left_out is not None and file.mark is not None and left_out.mark == file.mark:
            plan.skipped.append(left_out)
        elif known is None:
            plan.added.append(file)
        elif file.mark is None:
            plan.unsure.append((file, known))
        elif known.mark != file.mark:
            plan.changed.append((file, known))
        elif known.cancelled:
            plan.again.append(known)
        else:
            plan.unchanged.append(known)
    folders = tuple(name for name in listing.unlisted if name.endswith("/"))
    plan.removed = [
        known
        for known in before.values()
        if not (known.key.startswith(folders) or known.key in listing.unlisted)
    ]
    return plan.frozen()


@dataclass(slots=True)
class _Drafts:
    added: list[SourceFile] = field(default_factory=list)
    changed: list[tuple[SourceFile, Held]] = field(default_factory=list)
    unsure: list[tuple[SourceFile, Held]] = field(default_factory=list)
    again: list[Held] = field(default_factory=list)
    unchanged: list[Held] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    withdrawn: list[Held] = field(default_factory=list)
    removed: list[Held] = field(default_factory=list)

    def frozen(self) -> Plan:
        return Plan(*(tuple(getattr(self, name)) for name in Plan.__dataclass_fields__))


def needs_confirmation(listed: int, removed: int) -> bool:
    """Whether a removal looks like a mount that is gone: nothing is listed where files were."""
    return listed == 0 and removed > 1


_FATES = ("added", "changed", "unchanged", "removed", "skipped", "withdrawn")
_NAMED = 200


@dataclass(slots=True)
class SyncReport:
    """What a sync did, or would do: counts, and the first names of each."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FATES, 0))
    names: dict[str, list[str]] = field(default_factory=lambda: {fate: [] for fate in _FATES})

    def note(self, fate: str, names: Sequence[str]) -> None:
        """Count files and name them."""
        self.counts[fate] += len(names)
        kept = self.names[fate]
        kept.extend(names[: _NAMED - len(kept)])

    def skip(self, skipped: Sequence[Skipped]) -> None:
        """Count files that were not read and name them with the reason."""
        self.note("skipped", [f"{one.key}: {one.reason}" for one in skipped])

    def as_dict(self) -> dict[str, object]:
        """For the database."""
        return {"counts": self.counts, "names": self.names}

    @classmethod
    def of(cls, stored: Mapping[str, object]) -> "SyncReport":
        """From the database."""
        counts, names = stored.get("counts"), stored.get("names")
        assert isinstance(counts, dict)
        assert isinstance(names, dict)
        return cls(counts, names)
