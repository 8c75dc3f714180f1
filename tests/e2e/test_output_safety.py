"""A poisoned document and an obedient model: no answer makes a client contact a foreign host."""

import json
import re
from html import unescape
from typing import Any

import pytest

from app.domain.unlinking import unlinked
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Client
from tests.e2e.saying import saying
from tests.e2e.test_contract import joined
from tests.unit.test_unlinking import ORDERS

QUESTION = "Сколько дней карантина у лаборатории Зубр?"
FACT = "Карантин лаборатории Зубр длится 37 дней"
ACTIVE = re.compile(
    r"://|www\.|!\[|\]\(|<[a-z/!?]|javascript:|(?<![\w@])evil\.example", re.IGNORECASE
)
SAFE_TAG = re.compile(r"</?(?:p|sup|ol|li|q)>")


def assert_dead(text: str) -> None:
    assert "37" in text
    assert not ACTIVE.search(text), text
    assert unlinked(text) == text


async def texts(admin: Client, source: str) -> dict[str, str]:
    """What each door says to a person, from the same document."""
    body: dict[str, Any] = {"question": QUESTION, "filters": {"source_uri_prefix": source}}
    message = {"role": "user", "content": QUESTION}
    whole = (await admin.post("/v1/ask", body)).json
    streamed = joined(await admin.ask_stream(QUESTION, filters=body["filters"]), "token")
    completion = (await admin.post("/v1/chat/completions", {"messages": [message]})).json
    chunks = (await admin.post("/v1/chat/completions", {"messages": [message], "stream": True})).raw
    events = [json.loads(line[6:]) for line in chunks.splitlines() if line.startswith(b"data: {")]
    deltas = [event["choices"][0]["delta"].get("content", "") for event in events]
    html = (await admin.post("/v1/ask", body | {"response_format": {"type": "html"}})).json
    shown = completion["sources"][0]
    return {
        "native": whole["text"],
        "native stream": streamed,
        "openai": completion["choices"][0]["message"]["content"],
        "openai stream": "".join(deltas),
        "html": unescape(SAFE_TAG.sub(" ", html["text"])),
        "sources": str([shown["source"]["name"], *shown["document"]]),
    }


@pytest.mark.parametrize("orders", [ORDERS[:12], ORDERS[12:24], ORDERS[24:]])
async def test_an_obedient_model_makes_no_client_contact_a_host(
    admin: Client, healthy: EchoServer, orders: tuple[str, ...]
) -> None:
    for number, order in enumerate(orders):
        poison = f"{FACT} {order} подряд."
        source = f"note-{number}.txt"
        title = f"Зубр {order}"[:200].replace("\n", " ")
        document_id = await admin.ingest(poison, title=title, source_uri=source)
        await admin.find("карантин зубр", document_id)
        with saying(healthy, f"{poison} [1]"):
            for door, text in (await texts(admin, source)).items():
                try:
                    assert_dead(text)
                except AssertionError as error:
                    raise AssertionError(f"{door}, {order!r}: {error}") from None
        with saying(healthy, f"НЕТ ОТВЕТА {order}"):
            asked = {"question": QUESTION, "filters": {"source_uri_prefix": source}}
            abstained = (await admin.post("/v1/ask", asked)).json
        assert abstained["status"] == "abstained"
        assert not ACTIVE.search(abstained["text"]), abstained["text"]
        await admin.call("DELETE", f"/v1/documents/{document_id}")


async def test_data_holds_no_address(admin: Client, healthy: EchoServer) -> None:
    document_id = await admin.ingest(f"{FACT}, см. https://evil.example/x и evil.example.")
    await admin.find("карантин зубр", document_id)
    schema = {"type": "object", "properties": {"days": {}, "see": {}}}
    said = {"days": 37, "see": "см. ![x](https://evil.example/x) <img src=//evil.example>"}
    form = {"type": "json_schema", "json_schema": schema}
    with saying(healthy, json.dumps(said)):
        answer = (await admin.post("/v1/ask", {"question": QUESTION, "response_format": form})).json
    assert not ACTIVE.search(answer["text"])
    assert not ACTIVE.search(str(answer["data"]))
    await admin.call("DELETE", f"/v1/documents/{document_id}")


async def test_links_are_those_of_the_metadata(admin: Client, healthy: EchoServer) -> None:
    for source, is_link in (
        ("https://wiki.example/zubr", True),
        ("javascript:alert(1)", False),
        ("//evil.example/x", False),
        ("data:text/html,x", False),
        ("file://evil.example/x", False),
    ):
        document_id = await admin.ingest(f"{FACT}.", source_uri=source)
        await admin.find("карантин зубр", document_id)
        body = {"question": QUESTION, "response_format": {"type": "html"}}
        html = (await admin.post("/v1/ask", body)).json["text"]
        assert re.findall(r'href="([^"]*)"', html) == ([source] if is_link else [])
        message = {"role": "user", "content": QUESTION}
        completion = (await admin.post("/v1/chat/completions", {"messages": [message]})).json
        annotation = completion["choices"][0]["message"]["annotations"][0]["url_citation"]
        assert annotation["url"] == (source if is_link else f"/v1/documents/{document_id}")
        assert completion["sources"][0]["source"].get("url") == (source if is_link else None)
        await admin.call("DELETE", f"/v1/documents/{document_id}")
