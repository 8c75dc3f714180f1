"""Kills worker, parser and app while files come, change and go, and counts what is left.

`python -m benchmarks.kill_campaign` needs no model and no network. Exit code 1 if anything is lost,
doubled, stuck or not found.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from app.db.embedded import start_embedded
from app.db.migrate import upgrade
from tests.e2e.audit import Audit
from tests.e2e.campaign import Campaign, campaign
from tests.e2e.killing import Killer, Point


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="keep the folder with data and logs")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="opora-kills-"))
    folder.chmod(0o755)
    postgres = start_embedded(folder / "database")
    try:
        upgrade(postgres.get_uri())
        good = asyncio.run(_run(arguments, folder, postgres.get_uri()))
    finally:
        postgres.cleanup()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if good else 1)


async def _run(arguments: argparse.Namespace, folder: Path, url: str) -> bool:
    console = Console()
    started = time.monotonic()
    points = [list(Point)[number % len(Point)] for number in range(arguments.kills)]
    random.Random(arguments.seed).shuffle(points)
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        campaign(folder, url, http, arguments.seed) as fought,
    ):
        killer = Killer(fought.pair, url, fought.data, random.Random(arguments.seed))
        await asyncio.gather(fought.feed(arguments.files), fought.fire(killer, points))
        found = await fought.settle()
        wrong = await fought.wrong_files(found.chunks)
    _print(console, fought, killer, found, time.monotonic() - started)
    for line in (*wrong, *(f"{name}: {what}" for name, what in found.faults.items())):
        console.print(f"[red]{line}", soft_wrap=True)
    console.print("nothing is lost, doubled or stuck" if not (wrong or found.faults) else "FAULTS")
    return not (wrong or found.faults)


def _print(
    console: Console, fought: Campaign, killer: Killer, found: Audit, seconds: float
) -> None:
    table = Table("killed at", "there", "elsewhere, as it did not come")
    for point in Point:
        table.add_row(point, str(killer.hits.get(point, 0)), str(killer.misses.get(point, 0)))
    console.print(table)
    versions = sum(file.version for file in fought.files)
    console.print(f"{len(fought.files)} files, {versions} versions, {seconds:.0f} s")
    console.print(f"documents before quarantine was released: {dict(found.before)}")
    console.print(f"documents: {dict(found.statuses)}")
    console.print(f"jobs: {dict(found.jobs)}")
    console.print(
        f"live chunks: {found.chunks}; folders of generations: {found.generations} known to SQL, "
        f"{found.abandoned_generations} abandoned"
    )


if __name__ == "__main__":
    main()
