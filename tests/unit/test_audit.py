"""The audit trail: whatever is changed, left out, put in or put elsewhere breaks its sums."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.audit import PRUNED, AuditEvent, broken_links, chained_hash

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
details = st.dictionaries(words, st.one_of(words, st.integers(), st.lists(words, max_size=3)))
described = st.tuples(words, words, words, details)


def trail(described: Sequence[tuple[str, str, str, dict[str, object]]]) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    before = b""
    for number, (actor, action, target, told) in enumerate(described, start=1):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
        event = AuditEvent(number, at, actor, action, target, told, b"")
        before = chained_hash(before, event)
        events.append(replace(event, hash=before))
    return events


@given(st.lists(described, max_size=6))
def test_a_trail_as_it_was_written_is_whole(
    parts: list[tuple[str, str, str, dict[str, object]]],
) -> None:
    assert list(broken_links(trail(parts))) == []


@given(st.lists(described, min_size=2, max_size=6), st.data())
def test_whatever_is_done_to_it_shows(
    parts: list[tuple[str, str, str, dict[str, object]]], data: st.DataObject
) -> None:
    events = trail(parts)
    place = data.draw(st.integers(0, len(events) - 2))
    event = events[place]
    changed = data.draw(
        st.sampled_from(
            [
                replace(event, actor=event.actor + "x"),
                replace(event, action=event.action + "x"),
                replace(event, target=event.target + "x"),
                replace(event, actor=event.actor + event.action + "x", action=""),
                replace(event, details={**event.details, "more": 1}),
                replace(event, at=event.at + timedelta(microseconds=1)),
                replace(event, hash=bytes(32)),
                None,
            ]
        )
    )
    others = [changed] if changed else []
    assert list(broken_links([*events[:place], *others, *events[place + 1 :]]))
    assert list(broken_links([*events[:place], event, event, *events[place + 1 :]]))
    swapped = [*events[:place], events[place + 1], event, *events[place + 2 :]]
    assert list(broken_links(swapped))


def test_only_retention_may_take_the_beginning() -> None:
    events = trail([("ann", "asked", str(number), {}) for number in range(5)])
    assert list(broken_links(events[2:])) == [
        "events 1 to 2 are missing, and no retention has deleted them"
    ]
    note = {"through": 2, "hash": events[1].hash.hex()}
    pruned = AuditEvent(6, events[-1].at, "system", PRUNED, "audit", note, b"")
    pruned = replace(pruned, hash=chained_hash(events[-1].hash, pruned))
    assert list(broken_links([*events[2:], pruned])) == []
    forged = replace(events[2], actor="eve")
    assert list(broken_links([forged, *events[3:], pruned])) == [
        "event 3 does not follow what retention has deleted"
    ]
