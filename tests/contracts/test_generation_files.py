"""A generation's files come back as they were written, or not at all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import DamagedGeneration
from app.domain.text import TEXT_FINGERPRINT
from app.engines.index.faiss_index import FaissIndex
from app.engines.lexical.bm25 import Bm25Index
from app.services import generation_files

FILES = [generation_files.VECTORS, generation_files.LEXICAL, generation_files.MANIFEST]


@pytest.fixture
def generation(tmp_path: Path) -> tuple[Path, str]:
    """A generation's directory and the SHA-256 of its manifest."""
    vectors, lexical = FaissIndex(2, device="cpu"), Bm25Index()
    ids = np.array([1, 2], np.int64)
    vectors.add(ids, np.eye(2, dtype=np.float32))
    lexical.add(ids, [["отпуск"], ["приказ", "отпуск"]])
    directory = tmp_path / "gen_1"
    manifest = generation_files.write(directory, vectors, lexical, "embedder@1", 42, 0.997)
    return directory, hashlib.sha256(manifest).hexdigest()


def test_what_is_written_is_read(generation: tuple[Path, str]) -> None:
    directory, manifest_sha256 = generation
    manifest = generation_files.verify(directory, manifest_sha256)
    assert (manifest.embedder, manifest.text) == ("embedder@1", TEXT_FINGERPRINT)
    assert (manifest.log_number, manifest.chunks, manifest.recall) == (42, 2, 0.997)
    vectors, lexical = FaissIndex(2, device="cpu"), Bm25Index()
    vectors.load(directory / generation_files.VECTORS)
    lexical.load(directory / generation_files.LEXICAL)
    assert vectors.search(np.eye(2, dtype=np.float32), 1)[0].tolist() == [[1], [2]]
    assert lexical.search({"приказ": 1.0}, 5)[0].tolist() == [2]
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


@settings(
    derandomize=True,
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_noticed(
    generation: tuple[Path, str], name: str, place: float, bit: int
) -> None:
    directory, manifest_sha256 = generation
    path = directory / name
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        with pytest.raises(DamagedGeneration, match=name):
            generation_files.verify(directory, manifest_sha256)
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_cut_file_is_noticed(generation: tuple[Path, str], name: str) -> None:
    directory, manifest_sha256 = generation
    path = directory / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedGeneration, match=name):
        generation_files.verify(directory, manifest_sha256)
    path.unlink()
    with pytest.raises(DamagedGeneration, match=name):
        generation_files.verify(directory, manifest_sha256)
