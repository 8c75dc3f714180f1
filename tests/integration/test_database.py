"""Migrations, the order of the index log, and the embedded PostgreSQL."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from alembic import command
from sqlalchemy import text

from app.db import session as session_module
from app.db.embedded import start_embedded
from app.db.migrate import alembic_config, current_and_newest, downgrade, upgrade
from app.db.repositories.index import append_log, log_number, read_log
from app.db.session import Database
from app.domain.errors import DatabaseBusy, DatabaseUnavailable

_SCHEMA = """
    SELECT format('%%s.%%s %%s %%s', table_name, column_name, data_type, is_nullable)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
    ORDER BY 1
"""


def schema(url: str) -> list[str]:
    """Columns, indexes, functions and types, in words."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(_SCHEMA, ()).fetchall()]


def test_migrations_go_up_down_and_up_again(database_url: str) -> None:
    made = schema(database_url)
    assert any(line.startswith("chunk.chunk_id") for line in made)
    assert any("procrastinate_jobs" in line for line in made)
    downgrade(database_url, "base")
    left = [line for line in schema(database_url) if "alembic_version" not in line]
    assert left == []
    upgrade(database_url)
    assert schema(database_url) == made
    current, newest = current_and_newest(database_url)
    assert current == newest


def test_each_migration_goes_down_by_itself(database_url: str) -> None:
    downgrade(database_url, "-1")
    upgrade(database_url, "+1")
    current, newest = current_and_newest(database_url)
    assert current == newest


def test_models_and_migrations_agree(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_empty_database_has_no_revision(postgres_url: str) -> None:
    assert current_and_newest(postgres_url)[0] is None


def test_two_starts_migrate_one_after_the_other(database_url: str) -> None:
    downgrade(database_url, "base")
    script = "import sys; from app.db.migrate import upgrade; upgrade(sys.argv[1])"
    starts = [subprocess.Popen([sys.executable, "-c", script, database_url]) for _ in range(2)]
    assert [start.wait(60) for start in starts] == [0, 0]
    current, newest = current_and_newest(database_url)
    assert current == newest


async def test_log_numbers_follow_the_order_of_commits(database: Database) -> None:
    first_may_commit, first_has_number = asyncio.Event(), asyncio.Event()
    committed: list[str] = []

    async def first() -> None:
        async with database.transaction() as session:
            await append_log(session, "set", "doc_first")
            first_has_number.set()
            await first_may_commit.wait()
        committed.append("doc_first")

    async def second() -> None:
        await first_has_number.wait()
        async with database.transaction() as session:
            await append_log(session, "set", "doc_second")
        committed.append("doc_second")

    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await first_has_number.wait()
    await asyncio.sleep(0.2)
    async with database.transaction() as session:
        assert await read_log(session, 0) == []  # the second one waits for the first one's end
    first_may_commit.set()
    await asyncio.gather(*tasks)
    assert committed == ["doc_first", "doc_second"]
    async with database.transaction() as session:
        rows = await read_log(session, 0)
    assert [(row.number, row.document_id) for row in rows] == [(1, "doc_first"), (2, "doc_second")]


async def test_follower_never_misses_a_row_of_many_writers(database: Database) -> None:
    seen: list[int] = []
    writing = True

    async def write(writer: int) -> None:
        for turn in range(15):
            async with database.transaction() as session:
                await append_log(session, "set", f"doc_{writer}")
                await asyncio.sleep(0.001 * ((writer + turn) % 3))
                if turn % 5 == 4:
                    await session.execute(text("ROLLBACK"))

    async def follow() -> None:
        last = 0
        while True:
            done = not writing
            async with database.transaction() as session:
                rows = await read_log(session, last, limit=3)
            seen.extend(row.number for row in rows)
            last = seen[-1] if seen else 0
            if done and not rows:
                return
            await asyncio.sleep(0)

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(write(writer) for writer in range(3)))
    writing = False
    await follower
    async with database.transaction() as session:
        total = await log_number(session)
    assert seen == list(range(1, total + 1))
    assert total == 3 * 12


async def test_no_answer_is_an_error_of_its_own(tmp_path: Path) -> None:
    database = Database(f"postgresql://postgres@/postgres?host={tmp_path}", pool_size=1)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await database.check()
    await database.close()


_JOIN = """
import sys, psycopg
from pathlib import Path
from app.db.embedded import start_embedded
server = start_embedded(Path(sys.argv[1]))
with psycopg.connect(server.get_uri()) as connection:
    print(connection.execute("SELECT pg_postmaster_start_time()").fetchone()[0], flush=True)
sys.stdin.read()
server.cleanup()
"""


def join(data: Path) -> "subprocess.Popen[str]":
    """Another process that uses the embedded PostgreSQL until its standard input ends."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _JOIN, str(data)], stdin=pipe, stdout=pipe, text=True
    )


def wait_for_end(pid: int) -> None:
    """Wait until a process of somebody else is gone, but for its name in the table."""
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
    except psutil.NoSuchProcess:
        return


def test_embedded_postgres_is_shared_and_survives_a_kill(data_folder: Path) -> None:
    data = data_folder
    first = join(data)
    assert first.stdout is not None
    started = first.stdout.readline()
    assert started

    second = join(data)
    assert second.stdout is not None
    assert second.stdout.readline() == started
    first.communicate()  # it leaves; the second one still works
    postmaster = int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, 0)

    second.kill()  # it leaves without a word, and so does PostgreSQL
    second.communicate()
    os.kill(postmaster, signal.SIGKILL)
    wait_for_end(postmaster)
    note = data / "postgres" / "postmaster.pid"
    locks = (note, *note.parent.glob(".s.PGSQL.*.lock"))
    assert len(locks) == 2
    for lock in locks:  # after a restart of the machine the number is some other process's
        lock.write_text(lock.read_text().replace(str(postmaster), str(os.getpid()), 1))

    third = join(data)
    assert third.stdout is not None
    restarted = third.stdout.readline()
    assert restarted
    assert restarted != started
    third.communicate()
    assert third.returncode == 0
    assert not note.exists()


def test_embedded_postgres_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("a file where a folder belongs")
    with pytest.raises(DatabaseUnavailable, match="does not start"):
        start_embedded(tmp_path)


async def test_reads_survive_that_postgresql_ends_their_connections(database_url: str) -> None:
    database = Database(database_url)
    try:
        await database.check()
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for _ in range(3):
            await database.check()
        async with database.transaction() as session:
            assert await session.scalar(text("SELECT 1")) == 1
    finally:
        await database.close()


@pytest.mark.parametrize("way", ["transaction", "reading"])
async def test_who_waits_too_long_for_a_connection_is_told_that_all_are_busy(
    database_url: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    database = Database(database_url, pool_size=1)
    use = getattr(database, way)

    async def hold(seconds: float) -> None:
        async with use():
            await asyncio.sleep(seconds)

    await asyncio.gather(*(hold(0.001) for _ in range(50)))
    monkeypatch.setattr(session_module, "LONGEST_TURN_S", 0.05)
    holding = asyncio.create_task(hold(3600))
    await asyncio.sleep(0.02)
    with pytest.raises(DatabaseBusy):
        await hold(0)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await hold(0)
    await database.close()
