"""Makes, once for each recipe, the data directory that a measurement runs on.

`python -m benchmarks.retrieval.prepare --data DIR --size N --cache DIR` runs in the environment of
the model that OPORA_EMBEDDER__MODEL names. Its last line is one JSON object: `data_dir`, `vectors`
(a file with those of the real chunks, in their order), `chunks`, `real` and `embedder`.
"""

import argparse
import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from app.db.migrate import alembic_config
from app.domain.ports import Embedder, Vectors
from app.settings import Settings, load_settings
from app.wiring import build_embedder
from benchmarks.retrieval import database
from benchmarks.retrieval.corpus import Corpus, build_corpus

_PART = 1000


def prepare(
    embedder: Embedder, corpus: Corpus, cache: Path, settings: Settings
) -> dict[str, object]:
    """Embed what is not embedded yet, fill a database unless it is there, build a generation."""
    cache.mkdir(parents=True, exist_ok=True)
    fingerprint = str(embedder.fingerprint)
    chunks = corpus.chunks
    vectors_file = cache / f"vectors-{_digest(fingerprint, *chunks[:100])}.npy"
    real = embed(embedder, chunks[: corpus.real], vectors_file)
    recipe = _digest(fingerprint, _schema(), Path(database.__file__).read_text(), *chunks)
    data = cache / f"{len(chunks)}-{recipe}"
    settings = settings.model_copy(
        update={"data_dir": data, "admin_key": SecretStr(database.ADMIN_KEY)}
    )
    stamp = data / "filled"
    if not stamp.exists():
        shutil.rmtree(data, ignore_errors=True)
    with database.running_postgres(data) as url:
        if not stamp.exists():
            print(f"filling {data}", flush=True)
            database.fill(settings, url, corpus, real)
            stamp.touch()
        database.build_generation(settings, url)
    return {
        "data_dir": str(data),
        "vectors": str(vectors_file),
        "chunks": len(chunks),
        "real": corpus.real,
        "embedder": fingerprint,
    }


def embed(embedder: Embedder, chunks: list[str], file: Path) -> Vectors:
    """Return float32 (n, dim) of the chunks; what the file holds already is not embedded again."""
    dimension = embedder.fingerprint.dimension
    vectors = np.load(file) if file.exists() else np.empty((0, dimension), np.float32)
    started, before = time.process_time(), len(vectors)
    while len(vectors) < len(chunks):
        part = chunks[len(vectors) : len(vectors) + _PART]
        vectors = np.concatenate([vectors, embedder.embed_passages(part)])
        partial = file.with_suffix(".partial.npy")
        np.save(partial, vectors)
        partial.rename(file)
        rate = (len(vectors) - before) / (time.process_time() - started)
        print(f"embedded {len(vectors)} of {len(chunks)}, {rate:.0f} per CPU-second", flush=True)
    return vectors[: len(chunks)]


def _schema() -> str:
    """The code of all migrations."""
    scripts = Path(alembic_config("").get_main_option("script_location") or "") / "versions"
    return "".join(path.read_text() for path in sorted(scripts.glob("*.py")))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def main() -> None:
    """Prepare one data directory and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--real", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    settings = load_settings()
    corpus = build_corpus(options.data, options.size, options.real)
    embedder = build_embedder(settings.embedder)
    print(json.dumps(prepare(embedder, corpus, options.cache.resolve(), settings)))


if __name__ == "__main__":
    main()
