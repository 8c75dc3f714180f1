"""The stored glossary: as a whole or not at all, and the same in every process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from sqlalchemy import select

from app.db.models import AuditRow
from app.db.session import Database
from app.domain.errors import InvalidLines
from app.domain.glossary import Entry
from app.services.glossary import LiveGlossary
from tests.e2e.running import until

FIRST = "term,expansions\nДМС,полис\n".encode()
SECOND = "term,expansions,language\nИТ,техника,ru\nVPN,туннель; tunnel,\n".encode()


async def test_file_takes_the_place_of_the_one_before(database: Database) -> None:
    glossary = LiveGlossary(database)
    assert (await glossary.stored()).updated_at is None
    terms, first_stored = await glossary.replace("anna", FIRST)
    assert terms == 1
    assert glossary.expansions("о ДМС") == ("полис",)
    terms, second_stored = await glossary.replace("boris", SECOND)
    assert terms == 2
    assert glossary.expansions("о ДМС") == ()
    stored = await glossary.stored()
    assert stored.entries == (
        Entry("ИТ", ("техника",), "ru"),
        Entry("VPN", ("туннель", "tunnel")),
    )
    assert stored.updated_at == second_stored > first_stored


async def test_nothing_of_a_broken_file_is_taken_over(database: Database) -> None:
    glossary = LiveGlossary(database)
    await glossary.replace("anna", FIRST)
    before = await glossary.stored()
    with pytest.raises(InvalidLines, match="line 4"):
        await glossary.replace("anna", SECOND + b"no expansions\n")
    assert await glossary.stored() == before
    assert glossary.expansions("о ДМС") == ("полис",)
    assert glossary.expansions("ИТ") == ()


async def test_changes_stand_in_the_audit_trail(database: Database) -> None:
    glossary = LiveGlossary(database)
    await glossary.replace("anna", SECOND)
    await glossary.clear("boris")
    assert (await glossary.stored()).entries == ()
    assert glossary.expansions("VPN") == ()
    async with database.transaction() as session:
        query = select(AuditRow).order_by(AuditRow.number)
        events = (await session.scalars(query)).all()
    assert [(event.actor, event.action, event.details) for event in events] == [
        ("anna", "glossary.replaced", {"terms": 2}),
        ("boris", "glossary.cleared", {}),
    ]


@asynccontextmanager
async def following(database_url: str, interval_s: float) -> AsyncIterator[LiveGlossary]:
    """The glossary of another process."""
    database = Database(database_url, pool_size=2)
    glossary = LiveGlossary(database)
    follower = asyncio.create_task(glossary.follow(interval_s))
    yield glossary
    follower.cancel()
    with suppress(asyncio.CancelledError):
        await follower
    await database.close()


async def until_it_has(glossary: LiveGlossary, terms: int) -> None:
    async def look() -> bool:
        return len(glossary.current) == terms

    await until(look)


async def test_every_process_follows_at_once(database: Database, database_url: str) -> None:
    writer = LiveGlossary(database)
    async with following(database_url, interval_s=600) as reader:
        await writer.replace("anna", FIRST)
        await until_it_has(reader, 1)
        await writer.replace("anna", SECOND)
        await until_it_has(reader, 2)
        assert reader.expansions("VPN") == ("туннель", "tunnel")
        await writer.clear("anna")
        await until_it_has(reader, 0)


async def test_follower_outlives_its_connection(database: Database, database_url: str) -> None:
    writer = LiveGlossary(database)
    async with following(database_url, interval_s=0.05) as reader:
        await writer.replace("anna", FIRST)
        await until_it_has(reader, 1)
        with psycopg.connect(database.url, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            ).fetchall()
        assert len(ended) == 1
        await writer.replace("anna", SECOND)
        await until_it_has(reader, 2)
