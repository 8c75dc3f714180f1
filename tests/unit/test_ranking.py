"""What moves a hit beside its score."""

from datetime import UTC, datetime, timedelta

from app.domain.documents import IndexedDocument
from app.domain.fusion import Fused
from app.domain.ranking import order, phrases_first
from tests.unit.passages import passage

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def hit(chunk_id: int, score: float) -> Fused:
    return Fused(chunk_id, score, score, score, ("dense",))


def document(*, superseded: bool = False, age_days: float = 0) -> IndexedDocument:
    return IndexedDocument(
        document_id="doc",
        collection="default",
        readers=frozenset({"public"}),
        language="ru",
        media_type="text/plain",
        updated_at=NOW - timedelta(days=age_days),
        source_uri=None,
        superseded=superseded,
        chunk_ids=(1,),
    )


def test_superseded_documents_rank_lower_unless_the_past_is_asked_for() -> None:
    hits, documents = [hit(1, 0.9), hit(2, 0.6)], [document(superseded=True), document()]
    now = order(hits, documents, wants_the_past=False, recent_at=None)
    assert [(h.chunk_id, h.score) for h in now] == [(2, 0.6), (1, 0.45)]
    past = order(hits, documents, wants_the_past=True, recent_at=None)
    assert [h.chunk_id for h in past] == [1, 2]


def test_a_hit_whose_document_went_away_falls_out() -> None:
    left = order([hit(1, 1), hit(2, 0.5)], [None, document()], wants_the_past=True, recent_at=None)
    assert [h.chunk_id for h in left] == [2]


def test_recency_breaks_ties_and_no_more() -> None:
    documents = [document(age_days=900), document(age_days=1)]
    tied = order([hit(1, 0.5), hit(2, 0.5)], documents, wants_the_past=True, recent_at=NOW)
    assert [h.chunk_id for h in tied] == [2, 1]
    better = order([hit(1, 0.55), hit(2, 0.5)], documents, wants_the_past=True, recent_at=NOW)
    assert [h.chunk_id for h in better] == [1, 2]
    unasked = order([hit(1, 0.5), hit(2, 0.5)], documents, wants_the_past=True, recent_at=None)
    assert [h.chunk_id for h in unasked] == [1, 2]


def test_phrases_come_first_and_scores_still_fall() -> None:
    found = [passage("a", 1, score=0.9), passage("b", 2, score=0.4), passage("c", 3, score=0.1)]
    lifted = phrases_first(found, {2})
    assert [(p.chunk_id, p.score) for p in lifted] == [(2, 0.7), (1, 0.45), (3, 0.05)]
    assert phrases_first(found, set()) == found
