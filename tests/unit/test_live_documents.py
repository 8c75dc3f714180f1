"""Filtering in columns agrees with filtering one document after the other."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.domain.access import AccessScope, Scope
from app.domain.documents import IndexedDocument, SearchFilters
from app.services.live_documents import LiveDocuments

START = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = AccessScope("admin", frozenset({"public"}), frozenset(Scope))
ANNA = AccessScope("anna", frozenset({"public", "user:anna", "group:hr"}), frozenset({Scope.ASK}))

FILTERS = [
    SearchFilters(),
    SearchFilters(collections=("hr", "none")),
    SearchFilters(language="ru"),
    SearchFilters(media_type="text/plain"),
    SearchFilters(updated_after=START + timedelta(days=10)),
    SearchFilters(source_uri_prefix="https://wiki/"),
    SearchFilters(collections=("it",), language="en", source_uri_prefix="https://"),
]


def some_document(random_: random.Random, name: str, first_chunk: int) -> IndexedDocument:
    return IndexedDocument(
        document_id=name,
        collection=random_.choice(["hr", "it"]),
        readers=frozenset({random_.choice(["public", "user:anna", "group:hr", "user:boris"])}),
        language=random_.choice(["ru", "en", None]),
        media_type=random_.choice(["text/plain", "text/html"]),
        updated_at=START + timedelta(days=random_.randint(0, 20)),
        source_uri=random_.choice([None, "https://wiki/a", "https://shop/b"]),
        superseded=False,
        chunk_ids=tuple(range(first_chunk, first_chunk + random_.randint(1, 4))),
    )


def expected(
    documents: dict[str, IndexedDocument], scope: AccessScope, filters: SearchFilters
) -> list[int]:
    return sorted(
        chunk_id
        for d in documents.values()
        if scope.may_read(d.readers)
        and (not filters.collections or d.collection in filters.collections)
        and filters.language in (None, d.language)
        and filters.media_type in (None, d.media_type)
        and (filters.updated_after is None or d.updated_at > filters.updated_after)
        and (d.source_uri or "").startswith(filters.source_uri_prefix or "")
        for chunk_id in d.chunk_ids
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_filter_holds_through_every_change(seed: int) -> None:
    random_ = random.Random(seed)
    truth: dict[str, IndexedDocument] = {}
    live = LiveDocuments()
    next_chunk = 1
    for _ in range(40):
        touched = random_.sample([f"doc_{n}" for n in range(30)], 5)
        fresh = {}
        for name in touched:
            truth.pop(name, None)
            if random_.random() < 0.6:
                fresh[name] = some_document(random_, name, next_chunk)
                next_chunk += 4
        truth |= fresh
        live.replace(touched, fresh.values())
        assert len(live) == len(truth)
        assert live.chunk_ids().tolist() == expected(truth, ADMIN, SearchFilters())
        for scope in (ADMIN, ANNA):
            for filters in FILTERS:
                found = live.allowed(scope, filters)
                if scope is ADMIN and filters.empty:
                    assert found is None
                else:
                    assert found is not None
                    assert found.dtype == np.int64
                    assert found.tolist() == expected(truth, scope, filters)
                    assert live.allowed(scope, filters) is found


def test_a_chunk_leads_to_its_document_while_it_lives() -> None:
    one, two = (some_document(random.Random(n), f"doc_{n}", 10 * n) for n in (1, 2))
    live = LiveDocuments([two, one])
    assert live.of_chunks([20, 10, 99, 5]) == [two, one, None, None]
    assert live.chunk_ids(["doc_1", "unknown"]).tolist() == list(one.chunk_ids)
    live.replace(["doc_1"], [])
    assert live.of_chunks([20, 10]) == [two, None]
    assert LiveDocuments().of_chunks([1]) == [None]
    assert LiveDocuments().chunk_ids().tolist() == []
