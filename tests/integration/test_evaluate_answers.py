"""`opora evaluate answers` on a small dataset; the model server quotes the first passage."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.model_server import EchoServer, echo_server
from tests.faults.server import Behaviour

DATASET = Path(__file__).parents[1] / "fixtures" / "answers"


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with echo_server() as running:
        yield running


async def run(server: EchoServer, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    command = [sys.executable, "-m", "app.cli", "evaluate", "answers", *map(str, arguments)]
    environment = {**os.environ, "OPORA_LLM__BASE_URL": server.base_url, "COLUMNS": "200"}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=environment, timeout=240
    )


async def test_answers_are_judged_beside_oracle_and_extract(
    server: EchoServer, tmp_path: Path
) -> None:
    kept = tmp_path / "report.json"
    rows = ("--with", "extractive", "--with", "oracle")
    ended = await run(server, "--dataset", DATASET, *rows, "--json", "--output", kept)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["chat_model"] == "echo"
    (result,) = report["datasets"]
    assert (result["questions"], result["left_out"], result["per_question"]) == (7, 1, None)
    groups = {group["language"]: group for group in result["groups"]}
    assert {name: (g["answerable"], g["unanswerable"]) for name, g in groups.items()} == {
        "all": (5, 2),
        "en": (2, 1),
        "ru": (3, 1),
    }
    whole = groups["all"]["scores"]
    assert list(whole) == ["opora", "oracle", "extractive"]
    for scores in whole.values():
        assert scores["answered"]["value"] == 1
        assert scores["abstention_recall"]["value"] == scores["abstention_f1"]["value"] == 1
    assert whole["opora"]["exact_match"] == {"value": 0, "low": 0, "high": 0, "questions": 4}
    russian = groups["ru"]["scores"]["oracle"]
    assert russian["contains"]["value"] == pytest.approx(2 / 3)
    assert russian["lemma_contains"]["value"] == russian["citation_recall"]["value"] == 1
    assert groups["en"]["scores"]["opora"]["f1"]["questions"] == 2
    assert whole["opora"]["unsupported_sentences"]["value"] == 0
    assert whole["opora"]["prompt_tokens"]["value"] > 0
    assert whole["extractive"]["prompt_tokens"]["value"] == 0
    assert groups["all"]["abstentions"]["opora"] == {"weak_evidence": 2}
    assert groups["all"]["failures"] == {"opora": {}, "oracle": {}, "extractive": {}}

    outcomes = json.loads(kept.read_text("utf-8"))["datasets"][0]["per_question"]["outcomes"]
    assert outcomes["opora"][1]["text"] == "Потерянный пропуск блокирует охрана [1]."
    assert outcomes["extractive"][1]["text"] == "Потерянный пропуск блокирует охрана."
    assert outcomes["oracle"][6]["cited"] == [["cafe-ru"]]
    prompts = [body["messages"][-1]["content"] for body in server.requests]
    of_opora, of_oracle = (prompt for prompt in prompts if "столовая и кто" in prompt)
    assert "блокирует охрана" in of_opora and "блокирует охрана" not in of_oracle

    server.fault = Behaviour(text="Вишня зацвела в марте 1803 года. Cherries bloom in 1803.")
    worse = await run(server, "--dataset", DATASET, *rows, "--baseline", kept)
    assert worse.returncode == 1
    assert "answers, all, opora: unsupported_sentences rose from 0.0000 to 1.0000" in worse.stderr
    fallen = [line.split(" fell")[0] for line in worse.stderr.splitlines() if " fell" in line]
    assert "answers, all, opora: lemma_contains" in fallen
    assert "failed" not in worse.stdout and "abstained: nothing supported" in worse.stdout
    assert not [line for line in fallen if ", extractive:" in line]


async def test_failures_are_counted_apart(server: EchoServer) -> None:
    server.fault = Behaviour(status=500)
    ended = await run(server, "--dataset", DATASET, "--limit", "2", "--json")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "opora: every question failed: model_server_refused"
    group = json.loads(ended.stdout)["datasets"][0]["groups"][0]
    assert group["failures"] == {"opora": {"model_server_refused": 2}}
    assert (group["scores"], group["abstentions"]) == ({"opora": {}}, {"opora": {}})


async def test_a_dataset_without_gold_is_refused_by_its_name(
    server: EchoServer, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"query_id": "q", "question": "?", "relevant": {"leave-ru": 1}}\n')
    ended = await run(server, "--dataset", DATASET, "--questions", asked)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"opora: {asked}: no question has a gold answer or is unanswerable\n"
