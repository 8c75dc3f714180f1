"""The live documents as an index follower knows them, kept to filter inside the search."""

import threading
from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.access import AccessScope
from app.domain.documents import IndexedDocument, SearchFilters
from app.domain.ports import Ids

T = TypeVar("T")

_DEAD_SHARE = 0.25  # above, the dead are cleared away
_REMEMBERED_SCOPES = 256


class _Column(Generic[T]):
    """One attribute of all documents, as numbers of its few different values."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._number_of: dict[T, int] = {}
        self._numbers = array("i")

    def append(self, value: T) -> None:
        number = self._number_of.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        self._numbers.append(number)

    def where(self, wanted: Iterable[bool]) -> NDArray[np.bool_]:
        """Bool (documents,): the documents whose value is wanted, given for each of `values`."""
        chosen: NDArray[np.bool_] = np.fromiter(wanted, np.bool_, len(self._values))
        return chosen[np.frombuffer(self._numbers, np.int32)]

    @property
    def values(self) -> Sequence[T]:
        return self._values


class LiveDocuments:
    """Which chunks a caller may be shown, over columns of all live documents. Thread-safe.

    A replaced or removed document leaves a dead slot until the dead are more than a quarter.
    """

    def __init__(self, documents: Iterable[IndexedDocument] = ()) -> None:
        self._lock = threading.Lock()
        self._clear()
        for document in documents:
            self._append(document)

    def _clear(self) -> None:
        self._documents: list[IndexedDocument] = []
        self._slot_of: dict[str, int] = {}
        self._alive = bytearray()
        self._readers: _Column[frozenset[str]] = _Column()
        self._collections: _Column[str] = _Column()
        self._languages: _Column[str | None] = _Column()
        self._media_types: _Column[str] = _Column()
        self._updated_at = array("d")  # seconds since 1970
        self._chunk_ids = array("q")
        self._chunk_slots = array("i")
        self._forget()

    def _forget(self) -> None:
        self._allowed: dict[object, Ids] = {}
        self._sorted_chunks: tuple[Ids, NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        return len(self._slot_of)

    def replace(self, document_ids: Collection[str], fresh: Iterable[IndexedDocument]) -> None:
        """Forget the documents of these ids and take in the fresh ones."""
        with self._lock:
            for document_id in document_ids:
                slot = self._slot_of.pop(document_id, None)
                if slot is not None:
                    self._alive[slot] = False
            for document in fresh:
                self._append(document)
            self._forget()
            if len(self._slot_of) < (1 - _DEAD_SHARE) * len(self._documents):
                living = [self._documents[slot] for slot in self._slot_of.values()]
                self._clear()
                for document in living:
                    self._append(document)

    def _append(self, document: IndexedDocument) -> None:
        slot = len(self._documents)
        self._slot_of[document.document_id] = slot
        self._documents.append(document)
        self._alive.append(True)
        self._readers.append(document.readers)
        self._collections.append(document.collection)
        self._languages.append(document.language)
        self._media_types.append(document.media_type)
        self._updated_at.append(document.updated_at.timestamp())
        self._chunk_ids.extend(document.chunk_ids)
        self._chunk_slots.extend([slot] * len(document.chunk_ids))

    def chunk_ids(self, document_ids: Iterable[str] | None = None) -> Ids:
        """The chunks of all documents, or of those of these ids that are live: sorted int64."""
        with self._lock:
            if document_ids is None:
                return self._sorted()[0]
            slots = [self._slot_of[name] for name in document_ids if name in self._slot_of]
            ids = [chunk_id for slot in slots for chunk_id in self._documents[slot].chunk_ids]
            return np.sort(np.array(ids, np.int64))

    def of_chunks(self, chunk_ids: Sequence[int]) -> list[IndexedDocument | None]:
        """The document of each chunk; None where it is not live any more."""
        with self._lock:
            ids, slots = self._sorted()
            wanted = np.asarray(chunk_ids, np.int64)
            if not len(ids):
                return [None] * len(wanted)
            places = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
            found = np.where(ids[places] == wanted, slots[places], -1)
            return [self._documents[slot] if slot >= 0 else None for slot in found.tolist()]

    def allowed(self, scope: AccessScope, filters: SearchFilters) -> Ids | None:
        """Sorted chunk ids that the caller may be shown, None when that is all of them.

        The same array again until something changes, so that the indexes can remember what they
        worked out from it.
        """
        if scope.is_admin and filters.empty:
            return None
        key = (None if scope.is_admin else scope.principals, filters)
        with self._lock:
            if key not in self._allowed:
                if len(self._allowed) >= _REMEMBERED_SCOPES:
                    self._allowed.clear()
                ids, slots = self._sorted()
                self._allowed[key] = ids[self._matching(scope, filters)[slots]]
            return self._allowed[key]

    def _matching(self, scope: AccessScope, filters: SearchFilters) -> NDArray[np.bool_]:
        """Bool (documents,): those that the caller may read and that the filters let through."""
        found = np.frombuffer(self._alive, np.bool_) & self._readers.where(
            map(scope.may_read, self._readers.values)
        )
        if filters.collections:
            found &= self._collections.where(
                name in filters.collections for name in self._collections.values
            )
        if filters.language is not None:
            found &= self._languages.where(v == filters.language for v in self._languages.values)
        if filters.media_type is not None:
            found &= self._media_types.where(
                value == filters.media_type for value in self._media_types.values
            )
        if filters.updated_after is not None:
            found &= np.frombuffer(self._updated_at) > filters.updated_after.timestamp()
        if filters.source_uri_prefix:
            prefix = filters.source_uri_prefix
            found &= np.fromiter(
                ((d.source_uri or "").startswith(prefix) for d in self._documents), np.bool_
            )
        return found

    def _sorted(self) -> tuple[Ids, NDArray[np.int32]]:
        """The living chunks by ascending id, and the slots of their documents."""
        if self._sorted_chunks is None:
            slots = np.frombuffer(self._chunk_slots, np.int32)
            living = np.frombuffer(self._alive, np.bool_)[slots]
            ids, slots = np.frombuffer(self._chunk_ids, np.int64)[living], slots[living]
            order = np.argsort(ids, kind="stable")  # nearly sorted already
            self._sorted_chunks = ids[order], slots[order]
        return self._sorted_chunks
