"""The chunks and questions of the benchmark: real text, and mixtures of it above its number."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Vectors
from app.domain.text import sentences
from app.engines.embedder.unit_rows import unit_rows

CORPORA = ("mtrag_en", "handbook_sourcegraph_en", "danetqa_ru", "b24docs_ru", "xquad_ru")
QUESTIONS = ("xquad_ru", "xquad_en", "b24docs_ru", "handbook_sourcegraph_en")
CHUNK_CHARS = 600
SEED = 5
_MIXED_DOCUMENT_CHUNKS = 8


@dataclass(frozen=True, slots=True)
class Text:
    """A document: its title and its chunks in order."""

    title: str
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents whose chunks are numbered through; `pairs` are of the mixtures at the end.

    `pairs` is int64 (mixtures, 2): the numbers of the two real chunks that each is made of.
    """

    documents: tuple[Text, ...]
    real: int
    pairs: NDArray[np.int64]

    @property
    def chunks(self) -> list[str]:
        """All chunks, row for row with the vectors."""
        return [chunk for document in self.documents for chunk in document.chunks]

    def vectors(self, real: Vectors) -> Vectors:
        """Complete float32 (real, dim) by those of the mixtures: the normalised sums of two."""
        mixed = unit_rows(real[self.pairs[:, 0]] + real[self.pairs[:, 1]])
        return np.concatenate([real, mixed])


def missing_sets(data: Path) -> list[str]:
    """The needed sets that a folder does not hold."""
    return sorted(name for name in {*CORPORA, *QUESTIONS} if not (data / name).is_dir())


def build_corpus(data: Path, count: int, most_real: int) -> Corpus:
    """Return so many chunks; the real ones of a smaller corpus are the first of a larger one's."""
    rng = np.random.default_rng(SEED)
    most_real = min(count, most_real)
    found = list(_documents(data))
    documents: list[Text] = []
    held = 0
    for place in rng.permutation(len(found)).tolist():
        text = found[place]
        documents.append(Text(text.title, text.chunks[: most_real - held]))
        held += len(documents[-1].chunks)
        if held == most_real:
            break
    chunks = [chunk for document in documents for chunk in document.chunks]
    pairs = rng.integers(held, size=(count - held, 2))
    for first in range(0, len(pairs), _MIXED_DOCUMENT_CHUNKS):
        group = pairs[first : first + _MIXED_DOCUMENT_CHUNKS].tolist()
        mixed = tuple(_mix(chunks[one], chunks[other]) for one, other in group)
        documents.append(Text(mixed[0][:40], mixed))
    return Corpus(tuple(documents), held, pairs)


def questions_of(data: Path, parts: int, count: int) -> list[list[str]]:
    """Return parts of so many real questions, about as many Russian as English, none twice."""
    found = [
        json.loads(line)["question"]
        for name in QUESTIONS
        for line in (data / name / "queries.jsonl").open(encoding="utf-8")
    ]
    chosen = np.random.default_rng(SEED).choice(len(found), (parts, count), replace=False)
    return [[found[place] for place in part] for part in chosen.tolist()]


def _documents(data: Path) -> Iterator[Text]:
    for name in CORPORA:
        for line in (data / name / "corpus.jsonl").open(encoding="utf-8"):
            entry = json.loads(line)
            chunks = tuple(chunks_of(entry["text"]))
            if chunks:
                yield Text(entry["title"] or chunks[0][:40], chunks)


def chunks_of(text: str) -> Iterator[str]:
    """Yield chunks of whole sentences, about CHUNK_CHARS long."""
    start = end = 0
    for _, sentence_end in sentences(text):
        if sentence_end - start > CHUNK_CHARS and end > start:
            yield text[start:end]
            start = end
        end = sentence_end
    if text[start:end].strip():
        yield text[start:end]


def _mix(one: str, other: str) -> str:
    return one[: len(one) // 2] + other[len(other) // 2 :]
