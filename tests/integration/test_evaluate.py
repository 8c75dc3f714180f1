"""`opora evaluate retrieval` on small datasets, on an embedded PostgreSQL of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FACTS = {
    "Отпуск": ("Ежегодный отпуск длится двадцать восемь дней.", "Сколько дней длится отпуск?"),
    "Пропуск": ("Потерянный пропуск блокирует охрана.", "Кто блокирует потерянный пропуск?"),
    "Пароль": ("Пароль меняют каждые девяносто суток.", "Как часто меняют пароль?"),
    "Badges": ("A lost badge is blocked by the guards.", "Who blocks a lost badge?"),
    "Leave": ("Parental leave lasts sixteen weeks.", "How many weeks does parental leave last?"),
    "Travel": ("Trips are booked in the travel portal.", "Where are trips booked?"),
}


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A dataset in Opora's own layout, in both languages."""
    folder = tmp_path / "own"
    documents = [{"doc_id": t, "title": t, "text": fact} for t, (fact, _) in FACTS.items()]
    documents.append({"doc_id": "empty", "title": "", "text": " "})
    write_lines(folder / "corpus.jsonl", documents)
    questions: list[dict[str, Any]] = [
        {"query_id": f"q-{title}", "question": question, "relevant": {title: 1}}
        for title, (_, question) in FACTS.items()
    ]
    questions.append({"query_id": "q-none", "question": "Why?", "relevant": {}})
    write_lines(folder / "queries.jsonl", questions)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A dataset of files."""
    folder = tmp_path / "files"
    records = []
    for title in ("Отпуск", "Badges"):
        records.append({"file_id": title, "path": f"{title}.txt"})
        write_lines(folder / "files.jsonl", records)
        (folder / f"{title}.txt").write_text(FACTS[title][0], "utf-8")
    questions = [
        {"query_id": title, "question": FACTS[title][1], "relevant": {title: 1}}
        for title in ("Отпуск", "Badges")
    ]
    write_lines(folder / "queries.jsonl", questions)
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    command = [sys.executable, "-m", "app.cli", "evaluate", "retrieval", *map(str, arguments)]
    models = {"OPORA_EMBEDDER__MODEL": "hash", "OPORA_RERANKER__MODEL": "overlap"}
    environment = {**os.environ, **models, "COLUMNS": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=240, check=False
    )


def test_datasets_are_measured_and_compared(own: Path, files: Path, tmp_path: Path) -> None:
    kept = tmp_path / "report.json"
    ended = run("--dataset", own, "--dataset", files, "--json", "--output", kept)
    assert ended.returncode == 0, ended.stderr
    assert "not indexed: empty: " in ended.stderr
    report = json.loads(ended.stdout)
    assert report["embedder"].startswith("hash@")
    assert report["reranker"] == "overlap"
    first, second = report["datasets"]
    assert (first["dataset"], first["documents"], first["rejected"]) == ("own", 7, 1)
    assert (first["questions"], first["left_out"]) == (6, 1)
    assert [(g["language"], g["questions"]) for g in first["groups"]] == [
        ("all", 6),
        ("en", 3),
        ("ru", 3),
    ]
    scores = first["groups"][0]["scores"]
    assert list(scores) == ["lexical", "dense", "hybrid", "hybrid+rerank"]
    assert scores["lexical"]["recall@1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert scores["hybrid"]["MRR@10"]["value"] == 1.0
    assert (second["dataset"], second["questions"]) == ("files", 2)
    assert second["groups"][0]["scores"]["lexical"]["recall@1"]["value"] == 1.0
    assert first["per_question"] is None

    report = json.loads(kept.read_text("utf-8"))
    values = report["datasets"][0]["per_question"]
    assert values["question_ids"] == [f"q-{title}" for title in FACTS]
    assert values["values"]["lexical"]["nDCG@10"] == [1.0] * 6

    better = values["values"]["dense"]
    better["MRR@10"] = [value + 1 for value in better["MRR@10"]]
    kept.write_text(json.dumps(report), "utf-8")
    worse = run("--dataset", own, "--baseline", kept)
    assert worse.returncode == 1
    assert "own: 7 documents, 6 questions" in worse.stdout
    fallen = [line for line in worse.stderr.splitlines() if " fell from " in line]
    assert [line.split(" fell")[0] for line in fallen] == [
        f"own, {group}, dense: MRR@10" for group in ("all", "en", "ru")
    ]

    other = run("--dataset", own, "--limit", "2", "--baseline", kept)
    assert (other.returncode, other.stdout) == (1, "")
    assert "own: the baseline has other questions" in other.stderr


def test_a_broken_dataset_is_refused_before_anything_is_printed(own: Path, files: Path) -> None:
    with (own / "queries.jsonl").open("a") as file:
        file.write('{"query_id": "q9", "question": "?", "relevant": {"nowhere": 1}}\n')
    ended = run("--dataset", files, "--dataset", own)
    assert ended.returncode == 1
    assert ended.stdout == ""
    place = f"{own / 'queries.jsonl'}, line 8"
    assert ended.stderr == f"opora: {place}: there is no document 'nowhere'\n"
