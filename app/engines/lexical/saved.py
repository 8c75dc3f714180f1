"""The file of the lexical index: plain NumPy arrays, no pickles."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import DamagedGeneration
from app.engines.lexical.entries import Entries
from app.engines.lexical.postings import Posting

_TYPES = {
    "ids": np.int64,
    "lengths": np.int32,
    "keys": np.uint8,
    "key_sizes": np.int64,
    "slots": np.int32,
    "frequencies": np.uint16,
    "posting_sizes": np.int64,
}


def write(path: Path, entries: Entries, postings: Mapping[str, Posting]) -> None:
    """Write what has no dead."""
    keys = [key.encode() for key in postings]
    with path.open("wb") as file:
        np.savez(
            file,
            ids=entries.ids,
            lengths=entries.lengths,
            keys=np.frombuffer(b"".join(keys), np.uint8),
            key_sizes=np.array([len(key) for key in keys], np.int64),
            slots=_joined([posting.slots for posting in postings.values()], np.int32),
            frequencies=_joined([p.frequencies for p in postings.values()], np.uint16),
            posting_sizes=np.array([len(p) for p in postings.values()], np.int64),
        )


def read(path: Path) -> tuple[Entries, dict[str, Posting]]:
    """Read what `write` wrote.

    Raises:
        DamagedGeneration: It did not write this.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _TYPES}
        _check(arrays)
        entries = Entries(arrays["ids"].tolist(), arrays["lengths"].tolist())
        return entries, _postings(arrays)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError) as error:
        raise DamagedGeneration(f"{path} is no lexical index: {error}") from error


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError where the arrays do not fit together."""
    for name, kind in _TYPES.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}")
    ids, lengths, keys, key_sizes, slots, frequencies, sizes = (arrays[name] for name in _TYPES)
    fitting = (
        len(ids) == len(lengths) == len(np.unique(ids))
        and len(key_sizes) == len(sizes)
        and len(slots) == len(frequencies) == sizes.sum()
        and len(keys) == key_sizes.sum()
        and np.all(lengths >= 0)
        and np.all(key_sizes >= 0)
        and np.all(sizes >= 1)
        and np.all(frequencies >= 1)
        and np.all((slots >= 0) & (slots < len(ids)))
    )
    if not fitting:
        raise ValueError("its arrays do not fit together")
    ascending = np.diff(slots, prepend=-1) > 0
    ascending[np.cumsum(sizes) - sizes] = True  # where the next posting begins
    if not ascending.all():
        raise ValueError("its slots are not in order")


def _postings(arrays: dict[str, NDArray[Any]]) -> dict[str, Posting]:
    keys, slots, frequencies = arrays["keys"].tobytes(), arrays["slots"], arrays["frequencies"]
    key_ends = np.cumsum(arrays["key_sizes"]).tolist()
    ends = np.cumsum(arrays["posting_sizes"]).tolist()
    postings = {}
    key_start = start = 0
    for key_end, end in zip(key_ends, ends, strict=True):
        key = keys[key_start:key_end].decode()
        postings[key] = Posting(slots[start:end], frequencies[start:end])
        key_start, start = key_end, end
    return postings


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)
