"""The audit trail as a chain: each event's sum covers the event and the sum before it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PRUNED = "audit.pruned"
"""The event that retention leaves: `through` is the last number deleted, `hash` its sum."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which thing. Numbers begin at 1 and leave none out."""

    number: int
    at: datetime
    actor: str
    action: str
    target: str
    details: Mapping[str, Any]
    hash: bytes


def details_text(details: Mapping[str, Any]) -> str:
    """The one way in which details are written where they are hashed."""
    return json.dumps(details, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def chained_hash(before: bytes, event: AuditEvent) -> bytes:
    """SHA-256 over the sum before and each field behind its length, as `audit_append` in SQL."""
    at = event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = (str(event.number), at, event.actor, event.action, event.target)
    raw = [field.encode() for field in (*fields, details_text(event.details))]
    lengths_and_fields = b"".join(b"%d:%s" % (len(field), field) for field in raw)
    return hashlib.sha256(before + lengths_and_fields).digest()


def broken_links(events: Iterable[AuditEvent]) -> Iterator[str]:
    """Yield what is wrong with a trail that is given from its first event on, oldest first.

    Events changed, left out, put in or put elsewhere break it. Where retention has deleted the
    beginning, the first event left hangs on the sum that retention has recorded. What was cut off
    at the end cannot show here: compare the last sum with one that was noted elsewhere.
    """
    before, expected = b"", 1
    beginning: tuple[int, AuditEvent] | None = None
    pruned: dict[int, str] = {}
    for event in events:
        if beginning is None and event.number > 1:
            beginning = (event.number - 1, event)
        elif event.number != expected:
            yield f"event {event.number} follows event {expected - 1}"
        elif chained_hash(before, event) != event.hash:
            yield f"event {event.number} is not what was recorded"
        if event.action == PRUNED:
            pruned[int(event.details["through"])] = str(event.details["hash"])
        before, expected = event.hash, event.number + 1
        beginning = beginning or (0, event)
    if beginning is not None and beginning[0]:
        through, event = beginning
        noted = pruned.get(through)
        if noted is None:
            yield f"events 1 to {through} are missing, and no retention has deleted them"
        elif chained_hash(bytes.fromhex(noted), event) != event.hash:
            yield f"event {event.number} does not follow what retention has deleted"
