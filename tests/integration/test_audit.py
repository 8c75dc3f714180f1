"""The audit trail in PostgreSQL: one order whoever writes, and nothing but appended to."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.db.base import now
from app.db.repositories import access as access_rows
from app.domain.audit import AuditEvent, broken_links
from app.domain.follow_ups import Asked
from app.services.audit import Audit
from app.settings import AuditSettings
from tests.integration.house import ADMIN, House, member


async def trail(house: House) -> list[AuditEvent]:
    rows = await house.services.audit.list_events(10_000, newest_first=False)
    names = ("number", "at", "actor", "action", "target", "details", "hash")
    return [AuditEvent(*(getattr(row, name) for name in names)) for row in rows]


async def test_many_writers_make_one_whole_trail(house: House) -> None:
    async def write(number: int) -> None:
        async with house.services.database.transaction() as session:
            await access_rows.record(
                session,
                "анна",
                "tried",
                f'№ {number} \\ "x"\n\u2028',
                what=["ё", number, None, 0.5],
            )

    async def fail() -> None:
        with pytest.raises(RuntimeError):
            async with house.services.database.transaction() as session:
                await access_rows.record(session, "ann", "failed", "x")
                raise RuntimeError

    document_id = await house.add("Отпуск длится 28 дней.")
    await asyncio.gather(*(write(number) for number in range(20)), *(fail() for _ in range(5)))
    found = await house.services.retrieval.search(ADMIN, Asked("отпуск"), 5)
    searches = (house.services.audit.searched(member("ann"), "отпуск", found) for _ in range(7))
    await asyncio.gather(*searches)
    events = await trail(house)
    assert sum(event.action == "searched" for event in events) == 7
    assert list(broken_links(events)) == []
    assert sum(event.action == "tried" for event in events) == 20
    assert not [event for event in events if event.action == "failed"]
    searched = events[-1]
    assert (searched.actor, searched.action) == ("ann", "searched")
    assert searched.details["documents"] == [document_id]
    assert "query" not in searched.details


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'eve'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
    ],
)
async def test_the_trail_is_only_appended_to(house: House, statement: str) -> None:
    await house.add("Отпуск длится 28 дней.")
    before = await trail(house)
    with pytest.raises(ProgrammingError, match="only appended to"):
        async with house.services.database.transaction() as session:
            await session.execute(text(statement))
    assert before
    assert await trail(house) == before


async def test_what_is_older_than_its_days_goes_and_the_rest_still_hangs_together(
    house: House,
) -> None:
    database = house.services.database
    for _ in range(3):
        await house.add("Отпуск длится 28 дней.")
    assert await Audit(database, AuditSettings(days=1)).prune() == 0
    async with database.transaction() as session:  # as if the first two were of last year
        await session.execute(text("SET LOCAL session_replication_role = 'replica'"))
        await session.execute(
            text("UPDATE audit_event SET at = :at WHERE number <= 2"),
            {"at": now() - timedelta(days=365)},
        )
    whole = await trail(house)
    assert await Audit(database, AuditSettings(days=1)).prune() == 2
    left = await trail(house)
    assert left[:-1] == whole[2:]
    assert left[-1].details == {"through": 2, "hash": whole[1].hash.hex()}
    assert list(broken_links(left)) == []
