"""What every Reranker keeps to."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.errors import ConfigurationError, RerankerUnavailable
from app.domain.ports import Reranker
from app.engines.reranker.cross_encoder import CrossEncoderReranker
from app.engines.reranker.http import HttpReranker
from app.engines.reranker.overlap import OverlapReranker
from tests.contracts.json_server import Answer, JsonModelServer, json_model_server
from tests.contracts.test_embedder import NEEDS_TORCH, minilm_folder

QUESTION = "How many days of annual leave do employees get?"
TEXTS = ["Employees get 28 days of annual leave.", "The server room is locked.", "", "№ 44-ФЗ"]


def scored_by_overlap(path: str, body: Any) -> Answer:
    """Answer as a reranking server does: the best first."""
    assert path == "/v1/rerank"
    scores = OverlapReranker().score(body["query"], body["documents"]).tolist()
    results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
    results.sort(key=lambda result: -result["relevance_score"])
    return 200, {"id": "rerank-1", "model": body["model"], "results": results}


def save_cross_encoder(folder: Path, labels: int = 1) -> None:
    """Put a head with seeded random weights on MiniLM."""
    transformers = pytest.importorskip("transformers")
    source = minilm_folder()
    transformers.set_seed(7)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=labels
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)


@pytest.fixture(
    scope="module", params=["overlap", "http", pytest.param("cross-encoder", marks=NEEDS_TORCH)]
)
def reranker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reranker]:
    with ExitStack() as stack:
        match request.param:
            case "overlap":
                yield OverlapReranker()
            case "http":
                server = stack.enter_context(json_model_server(scored_by_overlap))
                yield HttpReranker(server.base_url, "served")
            case _:
                folder = tmp_path_factory.mktemp("cross-encoder")
                save_cross_encoder(folder)
                yield CrossEncoderReranker(str(folder), device="cpu")


def test_scores_are_float32_from_0_to_1(reranker: Reranker) -> None:
    scores = reranker.score(QUESTION, TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (len(TEXTS),)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_no_texts_have_no_scores(reranker: Reranker) -> None:
    assert reranker.score(QUESTION, []).shape == (0,)


@pytest.mark.parametrize("question", ["", "\0", "🙂", "word " * 5_000])
def test_any_question_can_be_asked(reranker: Reranker, question: str) -> None:
    scores = reranker.score(question, [*TEXTS, "word " * 5_000])
    assert np.isfinite(scores).all()


def test_a_score_is_that_of_its_text_wherever_it_stands(reranker: Reranker) -> None:
    many = [*TEXTS, *(f"{'leave ' * length}days" for length in range(1, 40))]
    together = reranker.score(QUESTION, many)
    np.testing.assert_allclose(reranker.score(QUESTION, many[::-1]), together[::-1], atol=1e-5)
    alone = np.concatenate([reranker.score(QUESTION, [text]) for text in many])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_reranker_has_a_name(reranker: Reranker) -> None:
    assert reranker.model


def test_overlap_prefers_what_shares_words() -> None:
    near, far = OverlapReranker().score(QUESTION, TEXTS[:2])
    assert near > far + 0.3


@pytest.fixture
def server() -> Iterator[JsonModelServer]:
    with json_model_server(scored_by_overlap) as running:
        yield running


def results(*pairs: tuple[int, float]) -> Answer:
    return 200, {"results": [{"index": i, "relevance_score": score} for i, score in pairs]}


@pytest.mark.parametrize(
    "fault",
    [
        results((0, 0.5)),
        results((0, 0.5), (0, 0.5)),
        results((0, 0.5), (2, 0.5)),
        results((0, 0.5), (-1, 0.5)),
        results((0, 0.5), (1, 0.5), (1, 0.5)),
        results((0, 0.5), (1, 1.5)),
        results((0, -3.0), (1, 0.5)),
        (200, b'{"results": [{"index": 0, "relevance_score": NaN}]}'),
        (200, b"<html>"),
        (200, {"answer": 42}),
        (200, {"results": [{"index": "0", "relevance_score": 1}]}),
        (200, b"\xff\xfe"),
        (500, {"error": "out of memory"}),
        (401, {"error": "bad key"}),
        (307, b""),
    ],
    ids=str,
)
def test_nonsense_of_the_server_is_named(server: JsonModelServer, fault: Answer) -> None:
    server.faults = [fault]
    with pytest.raises(RerankerUnavailable):
        HttpReranker(server.base_url, "served").score(QUESTION, TEXTS[:2])
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: JsonModelServer) -> None:
    server.faults = [(503, b""), None]
    reranker = HttpReranker(server.base_url, "served", "sk-secret")
    assert reranker.score(QUESTION, TEXTS).shape == (4,)
    assert server.keys == ["Bearer sk-secret"] * 3
    assert server.requests[-1] == {"model": "served", "query": QUESTION, "documents": TEXTS}


def test_the_key_is_not_in_the_message(server: JsonModelServer) -> None:
    server.faults = [(401, {"error": "the key sk-secret is wrong"})]
    with pytest.raises(RerankerUnavailable, match=r"status 401.*the key \*\*\* is wrong"):
        HttpReranker(server.base_url, "served", "sk-secret").score(QUESTION, TEXTS)


def test_nobody_at_the_address_is_said() -> None:
    with json_model_server(scored_by_overlap) as gone:
        pass
    with pytest.raises(RerankerUnavailable, match="OPORA_RERANKER__BASE_URL"):
        HttpReranker(gone.base_url, "served").score(QUESTION, TEXTS)


@NEEDS_TORCH
def test_a_classifier_is_refused(tmp_path: Path) -> None:
    save_cross_encoder(tmp_path, labels=3)
    with pytest.raises(ConfigurationError, match="3 outputs"):
        CrossEncoderReranker(str(tmp_path), device="cpu").load()


@NEEDS_TORCH
def test_a_missing_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        CrossEncoderReranker(str(tmp_path), device="cpu").load()
