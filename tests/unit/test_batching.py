"""Searches that wait together are computed together; texts of like length share a batch."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from app.domain.errors import EmbedderUnavailable, Overloaded
from app.engines.batching import of_like_length
from app.services.batching import Batcher


class Gated:
    """Measures texts, notes its batches, and waits at the gate before each."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        self.entered.release()
        self.gate.acquire()
        if "bad" in texts:
            raise EmbedderUnavailable("down")
        return [len(text) for text in texts]

    def open(self) -> None:
        self.gate.release(1000)


@pytest.fixture
def engine() -> Gated:
    return Gated()


@pytest.fixture
def batcher(engine: Gated) -> Iterator[Batcher[str, int]]:
    made = Batcher("lengths", engine.lengths, most_together=4, most_waiting=8)
    yield made
    engine.open()
    made.close()


async def ask(batcher: Batcher[str, int], engine: Gated, *texts: str) -> list[asyncio.Task[int]]:
    """Ask `first` and, while its batch is being computed, the texts."""
    asked = [asyncio.create_task(batcher.submit("first"))]
    await asyncio.to_thread(engine.entered.acquire)
    asked += [asyncio.create_task(batcher.submit(text)) for text in texts]
    await asyncio.sleep(0)
    return asked


async def test_what_waits_is_computed_together(batcher: Batcher[str, int], engine: Gated) -> None:
    asked = await ask(batcher, engine, "a", "bb", "ccc")
    engine.open()
    assert await asyncio.gather(*asked) == [5, 1, 2, 3]
    assert engine.batches == [["first"], ["a", "bb", "ccc"]]
    assert len(engine.threads) == 1


async def test_a_batch_is_bounded(batcher: Batcher[str, int], engine: Gated) -> None:
    asked = await ask(batcher, engine, *"abcdef")
    engine.open()
    await asyncio.gather(*asked)
    assert engine.batches == [["first"], ["a", "b", "c", "d"], ["e", "f"]]


async def test_one_who_goes_away_leaves_the_others(
    batcher: Batcher[str, int], engine: Gated
) -> None:
    asked = await ask(batcher, engine, "a", "b", "cc")
    asked[0].cancel()
    asked[1].cancel()
    engine.open()
    assert await asyncio.gather(*asked[2:]) == [1, 2]
    assert asked[0].cancelled()
    assert engine.batches == [["first"], ["b", "cc"]]


async def test_an_error_reaches_all_of_its_batch_alone(
    batcher: Batcher[str, int], engine: Gated
) -> None:
    asked = await ask(batcher, engine, "a", "bad", "b", "c", "d", "next")
    asked[3].cancel()
    engine.open()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        int,
        EmbedderUnavailable,
        EmbedderUnavailable,
        asyncio.CancelledError,
        EmbedderUnavailable,
        int,
        int,
    ]
    assert await batcher.submit("again") == 5


async def test_the_queue_is_bounded(batcher: Batcher[str, int], engine: Gated) -> None:
    asked = await ask(batcher, engine, *"abcdefgh")
    with pytest.raises(Overloaded):
        await batcher.submit("i")
    engine.open()
    await asyncio.gather(*asked)


def test_batches_hold_like_lengths_within_the_budget() -> None:
    batches = list(of_like_length([3, 50, 4, 3, 200, 4], budget_tokens=13))
    assert batches == [[0, 3, 2], [5], [1], [4]]
    assert list(of_like_length([], 10)) == []
