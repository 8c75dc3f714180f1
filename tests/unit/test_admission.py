"""Admission, random arrivals and leavings too: bounds hold, turns are fair, no place is lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Overloaded, Stopping
from app.services.admission import Admission

CALLERS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), CALLERS),
        st.tuples(st.sampled_from(["end", "leave", "end and leave"]), st.integers(0, 40)),
    ),
    max_size=60,
)


@dataclass(eq=False)
class Asker:
    """A question of a caller."""

    caller: str
    ahead: int = 0
    begun: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    overtaken_by: dict[str, int] = field(default_factory=dict)
    task: "asyncio.Task[None] | None" = None

    async def ask(self, house: "House") -> None:
        async with house.admission.place(self.caller):
            self.begun = True
            for other in house.waiting():
                counts = other.overtaken_by
                counts[self.caller] = counts.get(self.caller, 0) + 1
            await self.over.wait()


class House:
    """Askers before one admission."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.admission = Admission(places)
        self.askers: list[Asker] = []

    def running(self, caller: str = "") -> list[Asker]:
        return [one for one in self.askers if one.begun and one.caller.startswith(caller)]

    def waiting(self, caller: str = "") -> list[Asker]:
        return [one for one in self.askers if not one.begun and one.caller.startswith(caller)]

    async def come(self, caller: str) -> None:
        asker = Asker(caller, len(self.waiting(caller)))
        self.askers.append(asker)
        asker.task = asyncio.create_task(asker.ask(self))
        await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        for asker in self.askers:
            if asker.task and asker.task.done() and not asker.task.cancelled():
                error = asker.task.exception()
                assert error is None or isinstance(error, Overloaded)
                if error is not None:
                    line = len(self.waiting(asker.caller)) - 1
                    most = self.admission.most_waiting
                    assert len(self.waiting()) > most or line >= most // 2
        self.askers = [one for one in self.askers if one.task and not one.task.done()]

    def check(self) -> None:
        of_one = self.places - self.places // 4
        assert len(self.running()) == self.admission.running <= self.places
        assert len(self.waiting()) == self.admission.waiting <= self.admission.most_waiting
        for caller in "abc":
            assert len(self.running(caller)) <= of_one
            assert len(self.waiting(caller)) <= self.admission.most_waiting // 2
            if self.waiting(caller) and len(self.running(caller)) < of_one:
                assert len(self.running()) == self.places, "a place is free and somebody waits"


@given(places=st.integers(1, 5), steps=STEPS)
def test_bounds_hold_and_no_place_is_lost(places: int, steps: list[tuple[str, str | int]]) -> None:
    asyncio.run(in_random_order(places, steps))


async def in_random_order(places: int, steps: list[tuple[str, str | int]]) -> None:
    house = House(places)
    for action, which in steps:
        if isinstance(which, str):
            await house.come(which)
        elif house.askers:
            leaver = house.askers[which % len(house.askers)]
            if "end" in action and house.running():
                house.running()[which % len(house.running())].over.set()
                await asyncio.sleep(0)
                leaver = (house.waiting() or house.askers)[0]  # who has just been given the place
            if "leave" in action:
                assert leaver.task is not None
                leaver.task.cancel()
            await house.settle()
        house.check()
    for asker in house.askers:
        asker.over.set()
    tasks = [one.task for one in house.askers if one.task]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (house.admission.running, house.admission.waiting) == (0, 0)


@given(
    places=st.integers(1, 4),
    crowd=st.lists(st.sampled_from("aab"), min_size=5, max_size=40),
    ends=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_a_newcomer_waits_for_one_turn_of_each_other_caller(
    places: int, crowd: list[str], ends: list[int]
) -> None:
    asyncio.run(with_a_crowd(places, crowd, ends))


async def with_a_crowd(places: int, crowd: list[str], ends: list[int]) -> None:
    house = House(places)
    for caller in crowd:
        await house.come(caller)
    await house.come("c")
    newcomer = next(one for one in house.askers if one.caller == "c")
    for which in ends:
        if newcomer.begun:
            break
        house.running()[which % len(house.running())].over.set()
        await house.settle()
    assert newcomer.begun
    assert max(newcomer.overtaken_by.values(), default=0) <= 1, "the others had one turn each"
    for asker in house.askers:
        asker.over.set()
        await house.settle()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_who_is_sent_away_is_told_how_long_the_line_takes() -> None:
    clock = Clock()
    admission = Admission(2, clock=clock)
    for _ in range(50):
        async with admission.place("a"):
            clock.now += 4
    holding = [asyncio.create_task(_hold(admission, "a")) for _ in range(2 + 8)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        async with admission.place("a"):
            raise AssertionError
    assert refused.value.retry_after_s == 18  # 9 answers of 4 s, two at a time
    clock.now += 40  # the model hangs
    with pytest.raises(Overloaded) as refused:
        async with admission.place("a"):
            raise AssertionError
    assert refused.value.retry_after_s == 180
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_who_waits_too_long_is_sent_away() -> None:
    admission = Admission(1, longest_wait_s=0.01)
    async with admission.place("a"):
        with pytest.raises(Overloaded, match="in time"):
            async with admission.place("b"):
                raise AssertionError
        assert admission.waiting == 0
    async with admission.place("b"):
        pass


async def test_closing_sends_away_who_waits_and_stopping_ends_the_rest() -> None:
    admission, cleaned = Admission(2), 0

    async def words() -> AsyncGenerator[str, None]:
        nonlocal cleaned
        try:
            yield "one"
            await asyncio.sleep(3600)
        finally:
            cleaned += 1

    async def answer(caller: str) -> list[str]:
        said = []
        with pytest.raises(Stopping):
            async with (
                admission.place(caller),
                aclosing(words()) as own,
                aclosing(admission.unless_stopped(own)) as events,
            ):
                async for word in events:
                    said.append(word)  # noqa: PERF401
        return said

    answers = [asyncio.create_task(answer(caller)) for caller in "aab"]
    await asyncio.sleep(0.01)
    assert (admission.running, admission.waiting) == (2, 1)
    admission.close()
    assert await answers[2] == []
    with pytest.raises(Stopping):
        async with admission.place("c"):
            raise AssertionError
    assert admission.running == 2
    admission.stop()
    assert [await one for one in answers[:2]] == [["one"], ["one"]]
    assert (admission.running, cleaned) == (0, 2)


async def test_a_caller_who_leaves_while_it_stops_has_left() -> None:
    admission = Admission(1)

    async def hang() -> AsyncGenerator[str, None]:
        await asyncio.sleep(3600)
        yield ""

    async def answer() -> None:
        async with admission.place("a"), aclosing(admission.unless_stopped(hang())) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    task.cancel()
    admission.stop()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admission.running == 0


async def _hold(admission: Admission, caller: str) -> None:
    async with admission.place(caller):
        await asyncio.sleep(3600)
