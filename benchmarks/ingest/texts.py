"""The chunks that all contestants take in, and the questions that they are judged by."""

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.retrieval.corpus import Text, chunks_of

CORPORA = ("handbook_sourcegraph_en", "mtrag_en")
QUESTIONS = ("handbook_sourcegraph_en", "xquad_en")
_MOST_QUESTIONS = 200


def documents_of(data: Path, count: int) -> list[Text]:
    """English documents of so many chunks together, each of about 600 characters."""
    found, held = list[Text](), 0
    for title, text in _texts(data):
        chunks = tuple(chunks_of(text))[: count - held]
        if chunks:
            found.append(Text(title or chunks[0][:40], chunks))
            held += len(chunks)
        if held == count:
            return found
    raise SystemExit(f"{data} holds only {held} chunks of {', '.join(CORPORA)}")


def _texts(data: Path) -> Iterator[tuple[str, str]]:
    for name in CORPORA:
        for line in (data / name / "corpus.jsonl").open(encoding="utf-8"):
            entry = json.loads(line)
            yield entry["title"] or "", entry["text"]


def questions_of(data: Path) -> list[str]:
    """Real questions in English."""
    found: list[str] = []
    for name in QUESTIONS:
        with (data / name / "queries.jsonl").open(encoding="utf-8") as lines:
            questions = [json.loads(line)["question"] for line in lines]
        found += questions[: _MOST_QUESTIONS // len(QUESTIONS)]
    return found
