"""Exported answers are checked again: nothing of them is believed, each failure is named."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.domain.errors import EvaluationRefused
from app.quality.recheck import read_answers

DOCUMENT = (
    "Положение\n\nСотруднику полагается 28 календарных дней отпуска. "
    "Заявление подаётся за 14 дней.\n"
)
QUOTE = "Сотруднику полагается 28 календарных дней отпуска."
START = DOCUMENT.index(QUOTE)
SENTENCE = "Полагается 28 дней отпуска [1]."
ORIGINAL = b"the bytes that were uploaded"


def answer(**changes: Any) -> dict[str, Any]:
    """An answer as `POST /v1/ask` gives it."""
    citation = {
        "marker": 1,
        "document_id": "doc_1",
        "version": 2,
        "chunk_id": "7",
        "title": "Положение",
        "source_uri": None,
        "pages": [],
        "quote": QUOTE,
        "char_start": START,
        "char_end": START + len(QUOTE),
        "answer_start": 0,
        "answer_end": len(SENTENCE),
        "support": 0.9,
        "layers": None,
        "document_sha256": hashlib.sha256(ORIGINAL).hexdigest(),
    }
    passage = {
        "document_id": "doc_1",
        "version": 2,
        "title": "Положение",
        "text": DOCUMENT[START:],
        "context": "",
        "char_start": START,
        "char_end": len(DOCUMENT),
        "heading_path": ["Положение"],
    }
    whole = {
        "answer_id": "ans_1",
        "status": "answered",
        "text": SENTENCE,
        "citations": [citation | {k: v for k, v in changes.items() if k in citation}],
        "passages": [passage],
    }
    return whole | {k: v for k, v in changes.items() if k in whole}


@pytest.fixture
def verify(tmp_path: Path) -> Any:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/doc_1.txt").write_text(DOCUMENT)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/leave.docx").write_bytes(ORIGINAL)

    def run(content: object, *options: str) -> tuple[int, Any]:
        file = tmp_path / "answer.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        given = options or ("--texts", f"{tmp_path}/texts", "--documents", f"{tmp_path}/files")
        result = CliRunner().invoke(cli, ["verify", str(file), "--json", *given])
        return result.exit_code, json.loads(result.stdout)

    return run


def test_a_true_answer_holds(verify: Any) -> None:
    code, report = verify(answer())
    assert (code, report["ok"], report["not_checked"]) == (0, True, {})
    checks = ("status", "spans", "markers", "passages", "quotes", "documents", "facts")
    assert report["checked"] == dict.fromkeys(checks, 1)


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("quotes", {"char_start": START + 1}),
        ("quotes", {"char_end": START + len(QUOTE) + 1}),
        ("quotes", {"quote": QUOTE.replace("28", "30")}),
        ("quotes", {"quote": "", "char_end": START}),
        ("quotes", {"char_start": -5}),
        ("passages", {"quote": QUOTE.replace("28", "30")}),
        ("documents", {"document_sha256": "0" * 64}),
        ("markers", {"marker": 2}),
        ("markers", {"marker": 0}),
        ("markers", {"document_id": "doc_2"}),
        ("markers", {"version": 1}),
        ("markers", {"text": SENTENCE.replace("[1]", "[9]")}),
        ("markers", {"text": SENTENCE.replace("[1]", "[1][2]"), "answer_end": len(SENTENCE) + 3}),
        ("spans", {"answer_end": len(SENTENCE) + 3}),
        ("spans", {"answer_end": 5}),
        ("spans", {"answer_start": 11}),
        ("spans", {"support": 1.5}),
        ("spans", {"text": f"{SENTENCE} Директор уволен."}),
        ("facts", {"text": SENTENCE.replace("28", "30")}),
        ("facts", {"text": "Не полагается 28 дней [1].", "answer_end": 26}),
        ("status", {"citations": []}),
        ("status", {"status": "abstained"}),
        ("status", {"status": "sure"}),
    ],
)
def test_what_was_tampered_with_is_named(verify: Any, check: str, changes: dict[str, Any]) -> None:
    code, report = verify(answer(**changes))
    assert (code, report["ok"]) == (1, False)
    assert check in [failure["check"] for failure in report["answers"][0]["failures"]]


def test_what_cannot_be_checked_is_said(
    verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPORA_DATA_DIR", str(tmp_path / "empty"))
    code, report = verify(answer(passages=None), "--json")
    assert (code, report["ok"]) == (0, True)
    assert report["not_checked"] == {"passages": 1, "quotes": 1, "documents": 1}
    assert "no database" in report["texts"]


def test_lists_lines_conversations_and_abstentions_are_read(verify: Any) -> None:
    refused = {
        "answer_id": "ans_2",
        "status": "abstained",
        "reason": "weak_evidence",
        "text": "Нет.",
        "citations": [],
        "passages": [],
    }
    lines = "\n".join(map(json.dumps, (answer(), refused)))
    turn = {key: value for key, value in answer().items() if key != "passages"}
    for content in ([answer(), refused], lines, {"conversation_id": "con_1", "turns": [turn]}):
        code, report = verify(content)
        assert (code, report["ok"]) == (0, True)
    assert len(report["answers"]) == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "42", "[" * 100_000, '{"text": "x"}', '{"a": 1}\n{']
)
def test_what_is_no_answer_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_text(content)
    with pytest.raises(EvaluationRefused):
        read_answers(file)
    with pytest.raises(EvaluationRefused, match="cannot be read"):
        read_answers(tmp_path / "missing.json")
