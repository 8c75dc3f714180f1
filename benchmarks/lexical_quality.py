"""How well the lexical leg alone finds the right paragraph and sentence, and what typing costs it.

Run: python -m benchmarks.lexical_quality --data ../shared/data [--json FILE]
It reads xquad_ru and xquad_en, 240 paragraphs and 1,190 questions each, and prints recall@1 in
percent. Questions go the product's way: `read_query`, then BM25 over the keys of `index_text`. A
sentence is right when it stands in the right paragraph and holds an answer.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.documents import index_text
from app.domain.layout import LATIN_LAYOUT, RUSSIAN_LAYOUT
from app.domain.query import read_query
from app.domain.text import TEXT_FINGERPRINT, index_keys, sentences, with_beginnings
from app.engines.lexical.bm25 import Bm25Index

SETS = ("xquad_ru", "xquad_en")
SEED = 20260727
LOOK_ALIKE_SHARE = 0.2  # of the words

_CYRILLIC, _LATIN = "аеорсухАВЕКМНОРСТХ", "aeopcyxABEKMHOPCTX"
_LOOK_ALIKES = dict(zip(_CYRILLIC + _LATIN, _LATIN + _CYRILLIC, strict=True))
_OTHER_LAYOUT = {
    "xquad_ru": str.maketrans(RUSSIAN_LAYOUT, LATIN_LAYOUT),
    "xquad_en": str.maketrans(LATIN_LAYOUT, RUSSIAN_LAYOUT),
}
_INFORMAL = str.maketrans(
    dict(zip("абвгдеёзийклмнопрстуфхцыэ", "abvgdeeziyklmnoprstufhcye", strict=True))
    | {"ж": "zh", "ч": "ch", "ш": "sh", "щ": "sch", "ъ": "", "ь": "", "ю": "yu", "я": "ya"}
)

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Question:
    """Its text, and which entries are right."""

    text: str
    right: frozenset[int]


def read_set(folder: Path, with_title: bool) -> tuple[list[str], list[Question]]:
    """Return the paragraphs as they are indexed, and the questions."""
    documents, asked = _lines(folder / "corpus.jsonl"), _lines(folder / "queries.jsonl")
    numbers = {document["doc_id"]: number for number, document in enumerate(documents)}
    texts = [
        index_text(document["title"] if with_title else "", (), "", document["text"])
        for document in documents
    ]
    return texts, [
        Question(query["question"], frozenset(numbers[name] for name in query["relevant"]))
        for query in asked
    ]


def read_sentences(folder: Path) -> tuple[list[str], list[Question]]:
    """Return the sentences of the paragraphs, and the questions."""
    texts: list[str] = []
    of_document: dict[str, range] = {}
    for document in _lines(folder / "corpus.jsonl"):
        whole = document["text"]
        first = len(texts)
        texts += [whole[start:end] for start, end in sentences(whole)]
        of_document[document["doc_id"]] = range(first, len(texts))
    questions = []
    for query in _lines(folder / "queries.jsonl"):
        places = [place for name in query["relevant"] for place in of_document[name]]
        right = (n for n in places if any(answer in texts[n] for answer in query["answers"]))
        questions.append(Question(query["question"], frozenset(right)))
    return texts, questions


def recall_at_1(texts: list[str], questions: list[Question], change: Change | None = None) -> float:
    """Return the share of questions, in percent, whose first hit is right."""
    index = Bm25Index()
    index.add(np.arange(len(texts), dtype=np.int64), [index_keys(text) for text in texts])
    found = 0
    for question in questions:
        query = read_query(change(question.text) if change else question.text, index.frequency)
        ids, _ = index.search(with_beginnings(query.weights), 1)
        found += bool(question.right.intersection(ids.tolist()))
    return 100 * found / len(questions)


def look_alikes(share: float, seed: int) -> Change:
    """Return a change that types letters of some words in the other alphabet, unseen."""
    chance = random.Random(seed)

    def swap(letter: str) -> str:
        return _LOOK_ALIKES.get(letter, letter) if chance.random() < 0.5 else letter

    def change_word(match: re.Match[str]) -> str:
        return "".join(map(swap, match[0])) if chance.random() < share else match[0]

    return lambda text: re.sub(r"[^\W\d_]+", change_word, text)


def measure(data: Path, name: str) -> dict[str, float]:
    """Return the figures of one set, by name."""
    folder = data / name
    texts, questions = read_set(folder, with_title=True)
    disguise = look_alikes(LOOK_ALIKE_SHARE, SEED)
    figures = {
        "paragraphs, title and text": recall_at_1(texts, questions),
        "paragraphs, text alone": recall_at_1(*read_set(folder, with_title=False)),
        "sentences": recall_at_1(*read_sentences(folder)),
        "look-alikes in the questions": recall_at_1(texts, questions, disguise),
        "look-alikes in the documents": recall_at_1([*map(disguise, texts)], questions),
        "questions in the wrong layout": recall_at_1(
            texts, questions, lambda text: text.translate(_OTHER_LAYOUT[name])
        ),
    }
    if name == "xquad_ru":
        figures["transliterated questions"] = recall_at_1(
            texts, questions, lambda text: text.lower().translate(_INFORMAL)
        )
    return figures


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Print the table of both sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if missing := [name for name in SETS if not (options.data / name).is_dir()]:
        sys.exit(f"skipped: {options.data} has no {', '.join(missing)}")
    figures = {name: measure(options.data, name) for name in SETS}
    print(f"recall@1 in %, lexical leg alone, {TEXT_FINGERPRINT}, seed {SEED}")
    print("changed questions and documents are measured on paragraphs with their titles\n")
    print(f"{'':34}" + "".join(f"{name:>10}" for name in SETS))
    for label in figures["xquad_ru"]:
        row = (figures[name].get(label) for name in SETS)
        print(f"{label:34}" + "".join(f"{'':>10}" if x is None else f"{x:10.1f}" for x in row))
    if options.json:
        report = {"fingerprint": TEXT_FINGERPRINT, "seed": SEED, "recall_at_1": figures}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
