"""The files of a generation directory and the manifest that guards them."""

import hashlib
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from app.db.base import now
from app.domain.errors import DamagedGeneration, StorageUnavailable
from app.domain.ports import LexicalIndex, VectorIndex
from app.domain.text import TEXT_FINGERPRINT

_LONGEST_BUILD_S = 3600
VECTORS, LEXICAL, MANIFEST = "vectors.npz", "lexical.npz", "manifest.json"


class FileSum(msgspec.Struct, frozen=True):
    """What a file must be."""

    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a generation holds; `embedder` and `text` are fingerprints.

    `recall` is recall@10 of the vectors against the exact search, as VectorIndex.optimise tells it.
    """

    embedder: str
    text: str
    log_number: int
    chunks: int
    created_at: str
    files: dict[str, FileSum]
    recall: float = 1.0


def write(
    directory: Path,
    vectors: VectorIndex,
    lexical: LexicalIndex,
    embedder: str,
    log_number: int,
    recall: float,
) -> bytes:
    """Write a generation beside its place, make it durable and move it there.

    Returns:
        The manifest's bytes; their SHA-256 belongs into SQL.

    Raises:
        StorageUnavailable: The disk is full or cannot be written.
    """
    staging = directory.with_name(f".{directory.name}.partial")
    try:
        manifest = _write(staging, vectors, lexical, embedder, log_number, recall)
        staging.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise StorageUnavailable(
            f"the generation cannot be written: {error.strerror or error}"
        ) from error
    return manifest


def _write(
    staging: Path,
    vectors: VectorIndex,
    lexical: LexicalIndex,
    embedder: str,
    log_number: int,
    recall: float,
) -> bytes:
    staging.mkdir(parents=True)
    vectors.save(staging / VECTORS)
    lexical.save(staging / LEXICAL)
    manifest = msgspec.json.encode(
        Manifest(
            embedder=embedder,
            text=TEXT_FINGERPRINT,
            log_number=log_number,
            chunks=vectors.size,
            created_at=now().isoformat(),
            files={name: _sum(staging / name) for name in (VECTORS, LEXICAL)},
            recall=recall,
        )
    )
    (staging / MANIFEST).write_bytes(manifest)
    for path in (*staging.iterdir(), staging):
        _sync(path)
    return manifest


def unknown(root: Path, known: Collection[str]) -> list[str]:
    """Names of directories that are none of the known generations, and that nobody builds now.

    One that is being built is younger than an hour.
    """
    oldest = time.time() - _LONGEST_BUILD_S
    return [
        path.name
        for path in root.iterdir()
        if path.is_dir() and path.name not in known and path.stat().st_mtime < oldest
    ]


def verify(directory: Path, manifest_sha256: str) -> Manifest:
    """Check every byte of a generation.

    Raises:
        DamagedGeneration: A file is missing or not what it was; the message names it.
    """
    try:
        raw = (directory / MANIFEST).read_bytes()
        if hashlib.sha256(raw).hexdigest() != manifest_sha256:
            raise DamagedGeneration(f"{MANIFEST} is not the one that was written")
        manifest = msgspec.json.decode(raw, type=Manifest)
        for name, expected in manifest.files.items():
            if _sum(directory / name) != expected:
                raise DamagedGeneration(f"{name} does not match its sum")
    except OSError as error:
        raise DamagedGeneration(f"{error.filename}: {error.strerror}") from error
    return manifest


def _sum(path: Path) -> FileSum:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileSum(size_bytes=path.stat().st_size, sha256=digest)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
