"""Searches that wait together are computed together: the cost of each one falls."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from app.domain.errors import OporaError, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects the items that arrive while a batch is being computed, and computes them next.

    An idle batcher starts at once, for it never waits for company. Belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[Sequence[Item]], Sequence[Result]],
        most_together: int = 32,
        most_waiting: int = 1024,
    ) -> None:
        """Prepare a batcher; its thread starts with the first item.

        Args:
            name: Of the thread.
            compute: Blocking; gives a result for each item, in their order.
            most_together: Items in one batch.
            most_waiting: Items that may wait.
        """
        self._compute = compute
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._thread = ThreadPoolExecutor(1, name)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result.

        Raises:
            Overloaded: Too many items wait already.
            OporaError: What `compute` raised, for every item of the batch. Any other exception
                reaches only the item that causes it alone too.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many searches wait; try again shortly", retry_after_s=1)
        outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await outcome

    async def _run(self) -> None:
        """Compute batch after batch until nobody waits."""
        try:
            while self._waiting:
                count = min(len(self._waiting), self._most_together)
                taken = [self._waiting.popleft() for _ in range(count)]
                # A caller that went away has cancelled its future.
                batch = [(item, outcome) for item, outcome in taken if not outcome.done()]
                if batch:
                    await self._answer(batch)
        finally:
            self._running = None

    async def _answer(self, batch: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        items, outcomes = zip(*batch, strict=True)
        computing = asyncio.get_running_loop().run_in_executor(self._thread, self._compute, items)
        await asyncio.wait([computing])
        error = computing.exception()
        if error is not None and len(batch) > 1 and not isinstance(error, OporaError):
            for one in batch:  # what breaks one search shall not break the others
                await self._answer([one])
            return
        results = [None] * len(items) if error else computing.result()
        for outcome, result in zip(outcomes, results, strict=True):
            if outcome.done():
                continue
            if error is not None:
                outcome.set_exception(error)
                outcome.exception()  # so that nobody is warned where the caller goes away now
            else:
                outcome.set_result(result)

    def close(self) -> None:
        """Let the running batch end and release the thread."""
        self._thread.shutdown(wait=True)
