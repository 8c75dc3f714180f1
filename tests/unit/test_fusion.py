"""Blending the two legs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.fusion import fuse

legs = st.dictionaries(st.integers(0, 30), st.floats(-1, 100, width=32), max_size=12)


def test_stretches_each_leg_and_weighs_them() -> None:
    hits = fuse({1: 0.9, 2: 0.5, 3: 0.1}, {2: 12.0, 4: 2.0}, dense_weight=0.5)
    assert [(hit.chunk_id, hit.score) for hit in hits] == [(2, 0.75), (1, 0.5), (3, 0.0), (4, 0.0)]
    assert hits[0].found_by == ("dense", "lexical")
    assert (hits[0].dense, hits[0].lexical) == (0.5, 12.0)
    assert hits[1].found_by == ("dense",)
    assert (hits[3].dense, hits[3].found_by) == (0.0, ("lexical",))


def test_how_much_better_a_hit_is_counts() -> None:
    # Rank fusion would call it a draw.
    hits = fuse({1: 0.9, 2: 0.89, 3: 0.0}, {2: 30.0, 1: 3.0, 3: 0.0}, dense_weight=0.5)
    assert [hit.chunk_id for hit in hits] == [2, 1, 3]


def test_one_hit_alone_counts_in_full() -> None:
    assert [hit.score for hit in fuse({7: 0.2}, {}, 0.5)] == [0.5]
    assert [hit.score for hit in fuse({7: 0.2}, {7: 3.0}, 0.5)] == [1.0]
    assert fuse({}, {}, 0.5) == []


@settings(derandomize=True, deadline=None)
@given(dense=legs, lexical=legs, weight=st.floats(0, 1))
def test_orders_every_hit_once_between_0_and_1(
    dense: dict[int, float], lexical: dict[int, float], weight: float
) -> None:
    hits = fuse(dense, lexical, weight)
    assert sorted(hit.chunk_id for hit in hits) == sorted(dense.keys() | lexical.keys())
    assert all(-1e-6 <= hit.score <= 1 + 1e-6 for hit in hits)
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))
    for hit in hits:
        assert ("dense" in hit.found_by) == (hit.chunk_id in dense)
        assert ("lexical" in hit.found_by) == (hit.chunk_id in lexical)


@pytest.mark.parametrize(("weight", "leg"), [(1.0, "dense"), (0.0, "lexical")])
def test_full_weight_keeps_the_order_of_one_leg(weight: float, leg: str) -> None:
    scores = {1: 0.3, 2: 0.9, 3: 0.6}
    other = {1: 9.0, 3: 1.0}
    hits = fuse(scores, other, 1.0) if leg == "dense" else fuse(other, scores, weight)
    assert [hit.chunk_id for hit in hits] == [2, 3, 1]
