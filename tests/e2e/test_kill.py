"""Killed in the middle, edited and deleted under way: nothing is lost, doubled or left over."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from tests.e2e.campaign import campaign, word
from tests.e2e.killing import Killer, Point
from tests.e2e.running import Client


async def test_killed_at_every_point(
    tmp_path: Path, new_database: Callable[[], str], http: aiohttp.ClientSession
) -> None:
    url = new_database()
    async with campaign(tmp_path, url, http, seed=4) as fought:
        killer = Killer(fought.pair, url, fought.data, random.Random(4), patience_s=60)
        await asyncio.gather(fought.feed(20), fought.fire(killer, list(Point)))
        found = await fought.settle()
        wrong = await fought.wrong_files(found.chunks)
    assert killer.hits == dict.fromkeys(Point, 1)
    assert found.faults == {}
    assert wrong == []


async def test_edited_document_is_found_by_its_new_words_only(admin: Client) -> None:
    document_id = await admin.ingest(f"Редакция {word(0)} действует.")
    await admin.find(word(0), document_id)
    for turn in range(1, 4):
        edited = await admin.upload(f"Редакция {word(turn)} действует.", document_id=document_id)
        job = await admin.ended_job(edited.json["job_id"])
        assert job["state"] == "succeeded"
        ended_at = monotonic()
        while True:
            seconds = monotonic() - ended_at
            new, old = await admin.holders(word(turn)), await admin.holders(word(turn - 1))
            if (new, old) == ({document_id}, set()):
                break
            assert seconds <= 2, f"after {seconds:.1f} s: new words {new}, old words {old}"


async def test_deleted_document_is_in_no_answer_any_more(admin: Client) -> None:
    question = "Где хранится ключ yyqx от склада?"
    leaks: list[Any] = []

    async def ask(document_id: str, over: asyncio.Event) -> None:
        while not over.is_set():
            deleted_before = deleted.is_set()
            found = [passage["document_id"] for passage in await admin.search(question)]
            events = await admin.ask_stream(question)
            if deleted_before and document_id in str((found, [e.data for e in events])):
                leaks.append((found, events))

    for _ in range(2):
        document_id = await admin.ingest("Ключ yyqx от склада хранится у охраны.")
        await admin.find("yyqx", document_id)
        deleted, over = asyncio.Event(), asyncio.Event()
        asking = asyncio.create_task(ask(document_id, over))
        await asyncio.sleep(0.2)
        answered = await admin.call("DELETE", f"/v1/documents/{document_id}")
        deleted.set()
        assert answered.status == 204
        for _ in range(10):
            assert document_id not in await admin.holders("yyqx")
        over.set()
        await asking
    assert leaks == []
