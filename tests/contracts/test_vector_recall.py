"""What a VectorIndex finds among many vectors, whoever asks, judged by an exact search."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from app.domain.ports import Ids, Scores, Vectors
from app.engines.index.faiss_index import FaissIndex

SIZE, DIMENSION, QUESTIONS, K = 30_000, 64, 40, 10
GPUS = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
EXACT_UP_TO = {"flat": SIZE, "ivf": 1000}
KINDS = [("flat", "cpu"), ("ivf", "cpu"), *([("flat", "cuda")] if GPUS else [])]
SHARES = [1.0, 0.5, 0.1, 0.01, 0.001, 0.0001]


def unit(rows: Vectors) -> Vectors:
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def noise(count: int, seed: int) -> Vectors:
    """Evenly spread over the sphere: float32 (count, DIMENSION)."""
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((count, DIMENSION)).astype(np.float32))


def topical(count: int, seed: int) -> Vectors:
    """Around 300 topics of uneven size, themselves around 20 fields, as embeddings lie."""
    rng = np.random.default_rng(0)
    topics = unit(noise(20, 1)[rng.integers(20, size=300)] + noise(300, 2))
    sizes = rng.dirichlet(np.full(300, 0.7))
    chosen = np.random.default_rng(seed).choice(300, count, p=sizes)
    return unit(topics[chosen] + noise(count, seed))


SETS = {"topical": topical, "even": noise}


class World:
    """Vectors under shuffled ids, an index that holds them, and questions."""

    def __init__(self, kind: str, device: str, vectors: Vectors, questions: Vectors) -> None:
        rng = np.random.default_rng(3)
        self.ids = rng.permutation(10**6)[: len(vectors)].astype(np.int64)
        self.vectors = vectors
        self.questions = questions
        self.index = FaissIndex(DIMENSION, device, EXACT_UP_TO[kind])
        self.index.add(self.ids, vectors)
        self.recall = self.index.optimise()

    def truth(self, allowed: Ids | None) -> tuple[Ids, Scores]:
        """The K best by float64 sums, ties by ascending id."""
        kept = np.ones(len(self.ids), np.bool_) if allowed is None else np.isin(self.ids, allowed)
        ids, vectors = self.ids[kept], self.vectors[kept].astype(np.float64)
        found = np.full((len(self.questions), K), -1, np.int64)
        scores = np.full((len(self.questions), K), -np.inf, np.float32)
        for number, question in enumerate(self.questions):
            exact = (vectors * question).sum(axis=1).astype(np.float32)
            best = np.lexsort((ids, -exact))[:K]
            found[number, : len(best)], scores[number, : len(best)] = ids[best], exact[best]
        return found, scores


def recall(found: Ids, expected: Ids) -> float:
    """The share of the expected ids that were found, both int64 (q, k), -1 for none."""
    pairs = zip(found.tolist(), expected.tolist(), strict=True)
    hits = sum(len(set(a) & set(b) - {-1}) for a, b in pairs)
    return hits / int(np.count_nonzero(expected >= 0))


@pytest.fixture(scope="module", params=SETS)
def vectors(request: pytest.FixtureRequest) -> tuple[Vectors, Vectors]:
    """Vectors to hold and vectors to ask with."""
    draw = SETS[request.param]
    questions = unit(draw(QUESTIONS, 12) + 0.5 * noise(QUESTIONS, 13))
    return draw(SIZE, 11), questions


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def world(request: pytest.FixtureRequest, vectors: tuple[Vectors, Vectors]) -> World:
    kind, device = request.param
    return World(kind, device, *vectors)


@pytest.mark.parametrize("share", SHARES)
def test_recall_holds_however_little_may_be_read(world: World, share: float) -> None:
    drawn = np.random.default_rng(4).permutation(world.ids)[: round(SIZE * share)]
    allowed = np.sort(drawn)
    found, scores = world.index.search(world.questions, K, allowed)
    expected, true_scores = world.truth(allowed)
    assert recall(found, expected) >= 0.99
    assert np.isin(found[found >= 0], allowed).all()
    np.testing.assert_array_equal(found >= 0, expected >= 0)
    # What is found has its exact score, whichever structure found it.
    same = found == expected
    np.testing.assert_array_equal(scores[same], true_scores[same])


def test_recall_holds_without_a_filter_and_is_told(world: World) -> None:
    found, expected = world.index.search(world.questions, K)[0], world.truth(None)[0]
    assert recall(found, expected) >= 0.99
    assert 0.99 <= world.recall <= 1


def test_the_same_question_and_generation_give_the_same(world: World, tmp_path: Path) -> None:
    world.index.save(tmp_path / "file")
    loaded = FaissIndex(DIMENSION, "cpu")
    loaded.load(tmp_path / "file")
    half = np.sort(world.ids[::2])
    for allowed in (None, half, half[:100]):
        first = world.index.search(world.questions, K, allowed)
        one_by_one = [world.index.search(each[None], K, allowed) for each in world.questions]
        for again in (
            world.index.search(world.questions, K, allowed),
            loaded.search(world.questions, K, allowed),
            tuple(np.concatenate(parts) for parts in zip(*one_by_one, strict=True)),
        ):
            np.testing.assert_array_equal(again[0], first[0])
            np.testing.assert_array_equal(again[1], first[1])


def test_lists_depend_on_the_content_alone(vectors: tuple[Vectors, Vectors]) -> None:
    first, second = World("ivf", "cpu", *vectors), World("ivf", "cpu", *vectors)
    second.index.remove(second.ids[:500])
    second.index.add(second.ids[:500], second.vectors[:500])
    second.index.optimise()
    assert first.recall == second.recall
    ours, theirs = (each.index.search(each.questions, K) for each in (first, second))
    np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("kind", EXACT_UP_TO)
def test_an_edit_is_seen_at_once(kind: str, vectors: tuple[Vectors, Vectors]) -> None:
    world = World(kind, "cpu", *vectors)
    question = world.questions[:1]
    best = world.index.search(question, 3)[0][0]
    world.index.remove(best[:1])
    assert world.index.search(question, 2)[0].tolist() == [best[1:].tolist()]
    new = np.array([2_000_000, 2_000_001], np.int64)
    world.index.add(new, np.repeat(question, 2, axis=0))
    assert world.index.search(question, 2)[0].tolist() == [new.tolist()]
    world.index.add(new[:1], -question)
    assert world.index.search(question, 2)[0].tolist() == [[new[1], best[1]]]
    assert world.index.size == SIZE + 1
