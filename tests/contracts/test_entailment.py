"""What every EntailmentModel keeps to."""

from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import ConfigurationError
from app.domain.ports import EntailmentModel
from app.engines.entailment.cross_encoder import CrossEncoderEntailment
from app.engines.entailment.overlap import OverlapEntailment
from tests.contracts.test_embedder import NEEDS_TORCH, minilm_folder

PREMISES = ["Employees get 28 days of leave.", "The server room is locked.", "", "№ 44-ФЗ"]
HYPOTHESES = ["Leave has 28 days.", "Leave has 28 days.", "Anything.", ""]


def save_classifier(folder: Path, labels: tuple[str, ...]) -> None:
    """Put a head with seeded random weights on MiniLM."""
    transformers = pytest.importorskip("transformers")
    source = minilm_folder()
    transformers.set_seed(7)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        source,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)


@pytest.fixture(scope="module", params=["overlap", pytest.param("nli", marks=NEEDS_TORCH)])
def entailment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> EntailmentModel:
    if request.param == "overlap":
        return OverlapEntailment()
    folder = tmp_path_factory.mktemp("nli")
    save_classifier(folder, ("contradiction", "ENTAILMENT", "neutral"))
    return CrossEncoderEntailment(folder, device="cpu")


def test_scores_are_float32_from_0_to_1(entailment: EntailmentModel) -> None:
    scores = entailment.score(PREMISES, HYPOTHESES)
    assert scores.dtype == np.float32
    assert scores.shape == (4,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert entailment.score([], []).shape == (0,)
    assert entailment.model


def test_a_score_is_that_of_its_pair_wherever_it_stands(entailment: EntailmentModel) -> None:
    together = entailment.score(PREMISES * 3, HYPOTHESES * 3)
    alone = [entailment.score([p], [h])[0] for p, h in zip(PREMISES, HYPOTHESES, strict=True)]
    np.testing.assert_allclose(together, alone * 3, atol=1e-5)


def test_overlap_prefers_what_shares_words() -> None:
    near, far = OverlapEntailment().score(PREMISES[:2], HYPOTHESES[:2])
    assert near > far + 0.3


@NEEDS_TORCH
def test_what_is_no_nli_model_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path, ("positive", "negative"))
    with pytest.raises(ConfigurationError, match="no label `entailment`"):
        CrossEncoderEntailment(tmp_path, device="cpu").load()
