"""Who has an answer made now, who waits for it, and who is sent away to come back later."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from app.domain.errors import Overloaded, Stopping
from app.telemetry import ANSWERS_IN_FLIGHT, ANSWERS_WAITING, observe_stage

WAITING_PER_PLACE = 8
LONGEST_WAIT_S = 60.0

_LONGEST_RETRY_S = 300
_FIRST_GUESS_S = 10.0  # of how long an answer takes, before one was measured
_NEWEST_WEIGHT = 0.2

Event = TypeVar("Event")


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A caller's right to have one answer made, and when it was given."""

    caller: str
    since: float


class Admission:
    """Bounds the answers in the making; where they are many, callers take turns.

    One caller holds at most three quarters of the places and half of the line, so that another one
    finds room at once. Where the line is full, whoever has most in it loses the last question.
    Belongs to one event loop.

    Args:
        places: Answers in the making at most; 8 times as many may wait.
        longest_wait_s: After it a waiting caller is sent away.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        places: int,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._places = places
        self._places_of_one = places - places // 4
        self.most_waiting = WAITING_PER_PLACE * places
        self._longest_wait_s = longest_wait_s
        self._clock = clock
        self._taken: set[Place] = set()
        self._taken_by: Counter[str] = Counter()
        # The first caller in it who may have another place is the next to get one.
        self._lines: dict[str, deque[asyncio.Future[Place]]] = {}
        self._steps: set[asyncio.Task[object]] = set()  # those that make an event right now
        self._answer_s, self._ended = _FIRST_GUESS_S, 0
        self.is_closed = False
        self._is_stopped = False

    @property
    def running(self) -> int:
        """Answers in the making."""
        return len(self._taken)

    @property
    def waiting(self) -> int:
        """Questions that wait for a place."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """Hold a place, waiting for it in the caller's line; who leaves gives the place back.

        Raises:
            Overloaded: Too many wait, or the wait was too long.
            Stopping: The process takes no more questions.
        """
        begun = self._clock()
        taken = await self._enter(caller)
        observe_stage("admission", self._clock() - begun)
        try:
            yield
        finally:
            self._give_back(taken)

    async def unless_stopped(
        self, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of an answer until `stop`, which cancels what makes them.

        Raises:
            Stopping: The answer was stopped.
        """
        while not self._is_stopped:
            task = asyncio.current_task()
            assert task is not None
            cancelled_before = task.cancelling()
            self._steps.add(task)
            try:
                event = await anext(events, None)
            except asyncio.CancelledError:
                if self._is_stopped and task.uncancel() <= cancelled_before:
                    break
                raise  # the caller left
            finally:
                self._steps.discard(task)
            if event is None:
                return
            yield event
        raise _stopping()

    def close(self) -> None:
        """Send away who waits and who comes; the answers in the making go on."""
        self.is_closed = True
        for line in self._lines.values():
            for turn in line:
                if not turn.done():
                    turn.set_exception(_stopping())
        self._lines.clear()

    def stop(self) -> None:
        """End the answers in the making too."""
        self.close()
        self._is_stopped = True
        for step in self._steps:
            step.cancel()

    async def _enter(self, caller: str) -> Place:
        if self.is_closed:
            raise _stopping()
        if self._may_take(caller):
            return self._take(caller)
        own = len(self._lines.get(caller, ()))
        if own >= self.most_waiting // 2:
            raise self._overloaded(caller, "too many of your questions wait for an answer")
        if self.waiting >= self.most_waiting:
            self._make_room(caller, own)
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(caller, deque()).append(turn)
        ANSWERS_WAITING.inc()
        try:
            async with asyncio.timeout(self._longest_wait_s):
                return await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            self._leave_line(caller, turn)
            if isinstance(error, TimeoutError):
                raise self._overloaded(caller, "no answer could be begun in time") from None
            raise
        finally:
            ANSWERS_WAITING.dec()

    def _make_room(self, caller: str, own: int) -> None:
        """Send away the last question of the longest line, unless the caller's is as long."""
        crowd = max(self._lines, key=lambda one: len(self._lines[one]))
        reason = "too many questions wait for an answer"
        if len(self._lines[crowd]) <= own + 1:
            raise self._overloaded(caller, reason)
        last = self._lines[crowd].pop()
        if not last.done():
            last.set_exception(self._overloaded(crowd, reason))

    def _leave_line(self, caller: str, turn: asyncio.Future[Place]) -> None:
        """Undo a wait, also one that was granted a place in the moment of leaving."""
        if turn.done() and not turn.cancelled():
            if turn.exception() is None:
                self._give_back(turn.result())
            return
        line = self._lines.get(caller)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[caller]

    def _may_take(self, caller: str) -> bool:
        return len(self._taken) < self._places and self._taken_by[caller] < self._places_of_one

    def _take(self, caller: str) -> Place:
        place = Place(caller, self._clock())
        self._taken.add(place)
        self._taken_by[caller] += 1
        ANSWERS_IN_FLIGHT.inc()
        return place

    def _give_back(self, place: Place) -> None:
        self._taken.remove(place)
        self._taken_by -= Counter([place.caller])
        ANSWERS_IN_FLIGHT.dec()
        took_s = self._clock() - place.since
        self._ended += 1
        self._answer_s += max(_NEWEST_WEIGHT, 1 / self._ended) * (took_s - self._answer_s)
        self._call_next()

    def _call_next(self) -> None:
        """Give the free places to who waits, one to each caller in turn."""
        while caller := next((one for one in self._lines if self._may_take(one)), None):
            line = self._lines.pop(caller)
            turn = line.popleft()
            if line:
                self._lines[caller] = line  # behind the others
            if not turn.done():
                turn.set_result(self._take(caller))

    def _overloaded(self, caller: str, reason: str) -> Overloaded:
        """An error that says when those are through whose turn comes before the caller's next."""
        own = len(self._lines.get(caller, ()))
        ahead = sum(min(len(line), own + 1) for line in self._lines.values())
        side_by_side = self._places if len(self._lines) > 1 else self._places_of_one
        now = self._clock()
        ages = [now - place.since for place in self._taken]
        answer_s = max(self._answer_s, sum(ages) / len(ages) if ages else 0)
        wait_s = min(max(1, round((ahead + 1) * answer_s / side_by_side)), _LONGEST_RETRY_S)
        return Overloaded(f"{reason}; try again after {wait_s} s", wait_s)


def _stopping() -> Stopping:
    return Stopping("this Opora is stopping; ask again shortly")
