"""Asks a server over kept connections: `python -m benchmarks.retrieval.client` reads a plan.

It is a process of its own, for its CPU time is not the server's. The plan is one JSON object on
standard input: `url`, `headers`, `bodies` (one per request), `concurrency`. It prints one JSON
object: the wall time in seconds, each request's latency in milliseconds, and how many passages each
answer held.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp


async def ask_all(plan: dict[str, Any]) -> dict[str, Any]:
    """Send every request, so many at a time, and read every answer to its end."""
    places = iter(range(len(plan["bodies"])))
    latencies_ms = [0.0] * len(plan["bodies"])
    passages = [0] * len(plan["bodies"])

    async def one_by_one(session: aiohttp.ClientSession) -> None:
        for place in places:
            started = time.perf_counter()
            async with session.post(plan["url"], json=plan["bodies"][place]) as response:
                response.raise_for_status()
                answer = await response.json()
            latencies_ms[place] = (time.perf_counter() - started) * 1000
            passages[place] = len(answer["passages"] if isinstance(answer, dict) else answer)

    connector = aiohttp.TCPConnector(limit=plan["concurrency"])
    async with aiohttp.ClientSession(connector=connector, headers=plan["headers"]) as session:
        started = time.perf_counter()
        await asyncio.gather(*(one_by_one(session) for _ in range(plan["concurrency"])))
        wall_s = time.perf_counter() - started
    return {"wall_s": wall_s, "latencies_ms": latencies_ms, "passages": passages}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask_all(json.load(sys.stdin)))))
