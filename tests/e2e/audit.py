"""What an Opora holds, asked of SQL, of the files and of an index that starts now."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import psycopg

from app.db.session import Database, libpq_url
from app.domain.ports import Ids, Vectors
from app.services.search_index import Legs
from app.settings import EmbedderSettings, Settings
from app.wiring import build_generations, build_recipes
from tests.e2e.running import TERMINAL

_QUERIES = 50
_BEST = 10
_LIVE_CHUNKS = """
    SELECT c.chunk_id, e.vector FROM chunk c
    JOIN document d USING (document_id)
    JOIN recipe r ON r.recipe_id = c.recipe_id AND r.state = 'serving'
    LEFT JOIN embedding e USING (chunk_id)
    WHERE d.deleted_at IS NULL AND c.version = d.live_version
    ORDER BY c.chunk_id
"""
_FAULTS = {
    "documents of the same bytes": """
        SELECT v.sha256 FROM document_version v JOIN document d USING (document_id)
        WHERE d.deleted_at IS NULL AND v.version = d.latest_version
        GROUP BY d.collection, v.sha256 HAVING count(*) > 1""",
    "chunks in the same place": """
        SELECT c.document_id FROM chunk c JOIN document d USING (document_id)
        WHERE c.version = d.live_version
        GROUP BY c.document_id, c.version, c.recipe_id, c.ordinal HAVING count(*) > 1""",
    "chunks that wait for a version that has ended": """
        SELECT c.document_id FROM chunk c WHERE c.version IS NULL AND NOT EXISTS (SELECT FROM job j
            WHERE j.document_id = c.document_id AND j.state IN ('queued', 'running'))""",
    "live versions whose chunks are not as many as they say": """
        SELECT d.document_id FROM document d
        JOIN document_version v ON v.document_id = d.document_id AND v.version = d.live_version
        WHERE d.deleted_at IS NULL AND v.chunks <> (SELECT count(*) FROM chunk c
            JOIN recipe r ON r.recipe_id = c.recipe_id AND r.state = 'serving'
            WHERE c.document_id = d.document_id AND c.version = d.live_version)""",
    "versions that are live and were never published": """
        SELECT v.document_id FROM document_version v JOIN document d USING (document_id)
        WHERE d.deleted_at IS NULL AND v.status = 'live' AND v.version > coalesce(live_version, 0)
        """,
}
_HELD_BY_QUEUE = """
    SELECT j.job_id FROM job j JOIN procrastinate_jobs q ON q.id = j.queue_id
    WHERE j.state NOT IN ('queued', 'running') AND q.status = 'doing'
"""
_QUEUE_S = 5  # in which the queue learns that a job has ended


@dataclass(frozen=True)
class Audit:
    """What was found; nothing is wrong where `faults` is empty.

    `before` are the statuses before an admin released what was in quarantine.
    """

    statuses: Counter[str]
    jobs: Counter[str]
    chunks: int
    generations: int
    abandoned_generations: int
    faults: dict[str, object] = field(default_factory=dict)
    before: Counter[str] = field(default_factory=Counter)


async def audit(url: str, data: Path) -> Audit:
    """Compare SQL, the active generation with the log, and the files of a quiet Opora."""
    legs = await _index_that_starts_now(url, data)
    return await asyncio.to_thread(_audit, url, data, legs)


async def _index_that_starts_now(url: str, data: Path) -> Legs:
    settings = Settings(data_dir=data, embedder=EmbedderSettings(model="hash"))
    database = Database(url, pool_size=2)
    try:
        recipes = build_recipes(settings, database)
        recipe = await recipes.serving()
        embedder = await recipes.embedder_of(recipe)
        index = build_generations(settings, database).search_index(recipe, embedder)
        await index.load()
    finally:
        await database.close()
    return index.legs


def _audit(url: str, data: Path, legs: Legs) -> Audit:
    faults: dict[str, object] = {}

    def expect(name: str, found: object) -> None:
        if found:
            faults[name] = found

    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        rows = connection.execute(_LIVE_CHUNKS.encode()).fetchall()
        for name, query in _FAULTS.items():
            expect(name, [row[0] for row in connection.execute(query.encode())])
        deadline = monotonic() + _QUEUE_S
        while held := connection.execute(_HELD_BY_QUEUE.encode()).fetchall():
            if monotonic() > deadline:
                break
            sleep(0.1)
        expect("ended jobs that a queue holds", held)
        statuses = Counter(
            "deleted" if row[1] else row[0]
            for row in connection.execute(
                "SELECT v.status, d.deleted_at IS NOT NULL FROM document d JOIN document_version v"
                " ON v.document_id = d.document_id AND v.version = d.latest_version"
            )
        )
        versions = [row[0] for row in connection.execute("SELECT status FROM document_version")]
        jobs = Counter(row[0] for row in connection.execute("SELECT state FROM job"))
        shas = {row[0] for row in connection.execute("SELECT sha256 FROM document_version")}
        known = {
            row[0]
            for row in connection.execute(
                "SELECT generation_id FROM generation WHERE state IN ('ready', 'active')"
            )
        }
    expect("versions without an end", sorted(set(versions) - TERMINAL))
    expect("jobs without an end", {s: n for s, n in jobs.items() if s in ("queued", "running")})
    ids = np.array([row[0] for row in rows], np.int64)
    expect("chunks without a vector", [row[0] for row in rows if row[1] is None])
    expect("ids that the vectors lack or have too many", _difference(ids, legs.vectors.ids))
    expect("ids that the words lack or have too many", _difference(ids, legs.lexical.ids))
    if len(ids) and "chunks without a vector" not in faults:
        vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(ids), -1)
        expect("searches that are not exact", _inexact(legs, ids, vectors))
    blobs = {path.name for path in (data / "blobs").glob("*/*")}
    expect("bytes that are lost", sorted(shas - blobs))
    expect("blobs half written", sorted(name for name in blobs if name.startswith(".")))
    built = {path.name for path in (data / "generations").glob("*")}
    return Audit(statuses, jobs, len(ids), len(built & known), len(built - known), faults)


def _difference(wanted: Ids, found: Ids) -> list[int]:
    different: list[int] = np.setxor1d(wanted, found).tolist()
    return different


def _inexact(legs: Legs, ids: Ids, vectors: Vectors) -> list[int]:
    """Queries whose best hits are not those of a plain product over SQL's vectors."""
    random = np.random.default_rng(4)
    queries = vectors[random.integers(len(ids), size=_QUERIES)]
    queries = queries + random.normal(scale=0.05, size=queries.shape).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = min(_BEST, len(ids))
    found, scores = legs.vectors.search(queries, best)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    wanted = -np.sort(-exact, axis=1)[:, :best]
    places = np.searchsorted(ids, found)
    honest = np.take_along_axis(exact, np.minimum(places, len(ids) - 1), axis=1)
    good = (
        np.isin(found, ids)
        & np.isclose(scores, wanted, atol=1e-5)
        & np.isclose(honest, wanted, atol=1e-5)
    )
    doubled = np.array([len(set(row)) < best for row in found.tolist()])
    wrong: list[int] = np.flatnonzero(~good.all(axis=1) | doubled).tolist()
    return wrong
