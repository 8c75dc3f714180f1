"""Blending the legs."""

import pytest

from app.domain.fusion import fuse


def test_scores_are_shares_of_the_best_there_can_be() -> None:
    hits = fuse({1: 0.8, 2: 0.4}, {2: 6.0, 3: 3.0}, {3: 0.2}, best_possible=12, dense_weight=0.25)
    assert [(hit.chunk_id, round(hit.score, 6)) for hit in hits] == [
        (2, 0.475),
        (3, 0.2375),
        (1, 0.2),
    ]
    assert [(hit.dense, hit.lexical) for hit in hits] == [(0.4, 6.0), (0.2, 3.0), (0.8, 0.0)]
    assert [hit.found_by for hit in hits] == [("dense", "lexical"), ("lexical",), ("dense",)]


@pytest.mark.parametrize(("weight", "expected"), [(1.0, [1, 2]), (0.0, [2, 1])])
def test_one_leg_alone_keeps_its_order(weight: float, expected: list[int]) -> None:
    hits = fuse({1: 0.9, 2: 0.1}, {1: 1.0, 2: 5.0}, {}, best_possible=10, dense_weight=weight)
    assert [hit.chunk_id for hit in hits] == expected


def test_ties_come_by_chunk_id() -> None:
    hits = fuse({9: 0.5, 3: 0.5, 5: 0.5}, {}, {}, best_possible=0, dense_weight=0.5)
    assert [hit.chunk_id for hit in hits] == [3, 5, 9]


def test_an_opposite_meaning_is_no_better_than_none() -> None:
    hits = fuse({1: -0.7, 2: -0.1}, {}, {}, best_possible=0, dense_weight=0.5)
    assert [hit.score for hit in hits] == [0.0, 0.0]


def test_nothing_found_is_nothing() -> None:
    assert fuse({}, {}, {}, best_possible=0, dense_weight=0.5) == []
