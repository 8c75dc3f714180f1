"""`opora verify` looks cited documents up in the database."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.api.schemas import AskResponse
from app.cli import cli
from app.engines.llm.scripted import ScriptedChatModel
from app.services.answering import Answering, Finished
from app.services.drafts import Question
from app.services.rewriting import Rewriter
from app.services.verification import Verification
from tests.integration.house import ADMIN, House

LEAVE = "Сотруднику полагается 28 календарных дней отпуска. Заявление подаётся за 14 дней.\n"


async def test_an_answer_is_checked_against_the_database(
    house: House, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = house.services
    await house.add(LEAVE)
    model = ScriptedChatModel()
    answering = Answering(
        services.database,
        services.retrieval,
        model,
        Rewriter(model, 0, rewrites=False),
        Verification(0.25),
        services.settings.answering.model_copy(update={"min_evidence": 0.0}),
        max_concurrent=1,
    )
    async with aclosing(answering.ask(ADMIN, Question("Сколько дней отпуска?"))) as events:
        async for event in events:
            last = event
    assert isinstance(last, Finished)
    exported = AskResponse.of(last).model_dump(mode="json")
    monkeypatch.setenv("OPORA_DATABASE__URL", database_url)
    monkeypatch.setenv("OPORA_DATA_DIR", str(services.settings.data))
    file = tmp_path / "answer.json"

    async def verify() -> tuple[int, Any]:
        file.write_text(json.dumps(exported))
        arguments = ["verify", str(file), "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
        return result.exit_code, json.loads(result.stdout)

    code, report = await verify()
    assert (code, report["texts"], report["not_checked"]) == (0, "the database", {})
    sha256 = exported["citations"][0]["document_sha256"]
    services.blobs.local_path(sha256).write_text("other bytes")
    code, report = await verify()
    assert code == 1
    assert [f["check"] for f in report["answers"][0]["failures"]] == ["documents"]
    monkeypatch.setenv("OPORA_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none")
    code, report = await verify()
    assert (code, report["not_checked"]) == (0, {"quotes": 1, "documents": 1})
