"""When evidence is too weak to ask the model."""

from dataclasses import replace

import pytest

from app.services.evidence_search import evidence_strength
from tests.unit.passages import passage


def test_no_passage_is_no_evidence() -> None:
    assert evidence_strength("ru", []) == 0.0


def test_similarity_and_coverage_may_come_from_two_passages() -> None:
    near = replace(passage("один"), language="ru", similarity=0.4)
    holding = replace(passage("два"), language="ru", coverage=0.6)
    assert evidence_strength("ru", [near, holding]) == pytest.approx(0.5)


def test_across_languages_similarity_counts_alone_and_discounted() -> None:
    foreign = replace(passage("Lunch costs 6 EUR."), language="en", similarity=0.5)
    assert evidence_strength("ru", [foreign]) == pytest.approx(0.4)
    assert evidence_strength("en", [foreign]) == pytest.approx(0.25)
