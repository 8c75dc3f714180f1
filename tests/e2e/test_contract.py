"""The HTTP contract: what api.md names, over a running Opora."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.engines.llm.scripted import echo_evidence, fixed
from tests.e2e.model_server import EchoServer
from tests.e2e.running import Answered, Client, Event
from tests.e2e.test_bad_input import assert_problem

QUESTION = "Сколько дней отпуска полагается сотруднику?"
DOCUMENT = {
    "document_id",
    "collection",
    "title",
    "source_uri",
    "media_type",
    "size_bytes",
    "sha256",
    "language",
    "version",
    "status",
    "reason",
    "pages",
    "chunks",
    "readers",
    "created_at",
    "updated_at",
}
JOB = {
    "job_id",
    "kind",
    "document_id",
    "parent_id",
    "state",
    "progress",
    "eta_s",
    "attempts",
    "error",
    "created_at",
    "started_at",
    "finished_at",
}
PASSAGE = {
    "duplicates",
    "context",
    "chunk_id",
    "document_id",
    "version",
    "title",
    "source_uri",
    "text",
    "pages",
    "heading_path",
    "char_start",
    "char_end",
    "score",
    "rank",
    "found_by",
}
ANSWER = {
    "answer_id",
    "conversation_id",
    "status",
    "text",
    "citations",
    "passages",
    "model",
    "generation_id",
    "prompt_version",
    "usage",
    "timings_ms",
}
CITATION = {
    "marker",
    "document_id",
    "version",
    "chunk_id",
    "title",
    "source_uri",
    "pages",
    "quote",
    "char_start",
    "char_end",
    "answer_start",
    "answer_end",
    "support",
    "layers",
    "document_sha256",
}


async def key_for(admin: Client, user_id: str, *scopes: str, **more: Any) -> Client:
    """A caller of one's own."""
    made = await admin.post(
        "/v1/admin/api-keys", {"user_id": user_id, "scopes": list(scopes), **more}
    )
    assert made.status == 201, made.raw
    return admin.with_key(made.json["key"])


def assert_same_404(seen: Answered, unseen: Answered, hidden_id: str) -> None:
    """What may not be seen answers as what does not exist, but for the id that was asked for."""
    assert seen.status == unseen.status == 404
    varying = {"x-request-id", "date", "content-length"}
    assert {k: v for k, v in seen.headers.items() if k not in varying} == {
        k: v for k, v in unseen.headers.items() if k not in varying
    }
    first, second = dict(seen.json), dict(unseen.json)
    first["detail"] = first["detail"].replace(hidden_id, "ID")
    second["detail"] = re.sub(r"(\w{3}_|con_)\w+", "ID", second["detail"])
    first.pop("request_id")
    second.pop("request_id")
    assert first == second


# documents


async def test_document_from_upload_to_deletion(admin: Client) -> None:
    text = "# Парковка\n\nПарковочное место выдаёт хозяйственный отдел по заявке.\n"
    accepted = await admin.upload(
        text,
        "парковка.md",
        title="Правила парковки",
        source_uri="https://wiki.example/parking",
        readers=["group:office", "public"],
    )
    assert accepted.status == 202
    assert set(accepted.json) == {"document_id", "version", "job_id", "status", "duplicate"}
    assert accepted.json["status"] == "received"
    document_id = accepted.json["document_id"]
    document = await admin.ended(document_id)
    assert set(document) >= DOCUMENT
    assert (
        document
        | {
            "title": "Правила парковки",
            "collection": "default",
            "source_uri": "https://wiki.example/parking",
            "media_type": "text/markdown",
            "size_bytes": len(text.encode()),
            "language": "ru",
            "version": 1,
            "status": "live",
            "reason": None,
            "readers": ["group:office", "public"],
        }
        == document
    )
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(document[name]).utcoffset() == timedelta(0)

    content = await admin.get(f"/v1/documents/{document_id}/content")
    assert content.raw == text.encode()
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"

    parsed = (await admin.get(f"/v1/documents/{document_id}/text")).raw.decode()
    chunks = (await admin.get(f"/v1/documents/{document_id}/chunks")).json
    assert chunks["next_cursor"] is None
    for chunk in chunks["items"]:
        assert parsed[chunk["char_start"] : chunk["char_end"]] == chunk["text"]

    for query in ("q=парковк", "collection=default", "status=live"):
        page = (await admin.get(f"/v1/documents?limit=200&{query}")).json
        assert document_id in {item["document_id"] for item in page["items"]}
    assert (await admin.get("/v1/documents?q=no-such-title")).json == {
        "items": [],
        "next_cursor": None,
    }

    changed = await admin.call(
        "PATCH", f"/v1/documents/{document_id}", json={"title": "Стоянка", "readers": ["user:x"]}
    )
    assert changed.status == 200
    assert (changed.json["title"], changed.json["readers"]) == ("Стоянка", ["user:x"])

    edited = await admin.upload("Места на стоянке кончились.", document_id=document_id)
    assert (edited.status, edited.json["version"]) == (202, 2)
    await admin.ended_job(edited.json["job_id"])
    assert (await admin.document(document_id))["version"] == 2

    deleted = await admin.call("DELETE", f"/v1/documents/{document_id}")
    assert (deleted.status, deleted.raw) == (204, b"")
    for path in ("", "/content", "/text", "/chunks"):
        assert_problem(await admin.get(f"/v1/documents/{document_id}{path}"), 404, "not_found")
    again = await admin.call("DELETE", f"/v1/documents/{document_id}")
    assert again.status == 404


async def test_lists_page(admin: Client) -> None:
    for path in ("/v1/documents?", "/v1/jobs?"):
        whole = (await admin.get(f"{path}limit=200")).json["items"]
        assert len(whole) >= 2
        paged: list[Any] = []
        cursor = ""
        while True:
            page = (await admin.get(f"{path}limit=2{cursor}")).json
            paged += page["items"]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == 2
            cursor = f"&cursor={page['next_cursor']}"
        key = "document_id" if "documents" in path else "job_id"
        assert [item[key] for item in paged] == [item[key] for item in whole]


async def test_missing_and_forbidden_answer_alike(admin: Client) -> None:
    document_id = await admin.ingest("Тайна третьего этажа.", readers="user:boss")
    job_id = (await admin.get("/v1/jobs?limit=1")).json["items"][0]["job_id"]
    eve = await key_for(admin, "eve", "ask", "ingest")
    calls = [
        (method, f"/v1/documents/%s{rest}", document_id, "doc_1a20")
        for method, rest in (
            ("GET", ""),
            ("GET", "/content"),
            ("GET", "/text"),
            ("GET", "/chunks"),
            ("DELETE", ""),
            ("PATCH", ""),
        )
    ]
    calls += [
        ("GET", "/v1/jobs/%s", job_id, "job_1a20"),
        ("GET", "/v1/jobs/%s/events", job_id, "job_1a20"),
        ("POST", "/v1/jobs/%s/cancel", job_id, "job_1a20"),
        ("POST", "/v1/jobs/%s/retry", job_id, "job_1a20"),
    ]
    for method, path, hidden, missing in calls:
        options = {"json": {"title": "x"}} if method == "PATCH" else {}
        assert_same_404(
            await eve.call(method, path % hidden, **options),
            await eve.call(method, path % missing, **options),
            hidden,
        )
    replaced = await eve.upload("Подмена.", document_id=document_id)
    assert replaced.status == 404
    for path in ("/v1/documents?limit=200", "/v1/jobs?limit=200"):
        seen = (await eve.get(path)).json["items"]
        assert document_id not in {item["document_id"] for item in seen}
    for mode in ("hybrid", "dense", "lexical"):
        found = await eve.search("тайна третьего этажа", mode=mode, limit=100)
        assert document_id not in {passage["document_id"] for passage in found}
    asked = (await eve.post("/v1/ask", {"question": "Какая тайна у третьего этажа?"})).json
    assert document_id not in str(asked)


# jobs


async def test_job_and_its_events(admin: Client) -> None:
    accepted = (await admin.upload("Событие: задание закончено.\n" * 300)).json
    path = f"/v1/jobs/{accepted['job_id']}"
    events = [event async for event in admin.events("GET", f"{path}/events")]
    assert [event.name for event in events][-1] == "finished"
    assert {event.name for event in events[:-1]} <= {"progress"}
    last = events[-1].data
    assert set(last) == JOB
    assert (last["state"], last["kind"]) == ("succeeded", "ingest")
    assert last["document_id"] == accepted["document_id"]
    assert last["progress"]["done"] == last["progress"]["total"] > 0
    assert last["progress"]["unit"] == "chunks"
    assert last["error"] is None
    assert last["created_at"] <= last["started_at"] <= last["finished_at"]
    assert (await admin.get(path)).json == last
    listed = (await admin.get("/v1/jobs?state=succeeded&limit=200")).json["items"]
    assert last in listed
    assert_problem(await admin.post(f"{path}/cancel"), 409, "conflict")
    assert_problem(await admin.post(f"{path}/retry"), 409, "conflict")


# search


async def test_search_modes_and_filters(admin: Client) -> None:
    document_id = await admin.ingest(
        "Кофемашина на втором этаже принимает капсулы.", source_uri="https://wiki.example/coffee"
    )
    await admin.find("кофемашина", document_id)
    for mode, found_by in (
        ("hybrid", {"dense", "lexical"}),
        ("dense", {"dense"}),
        ("lexical", {"lexical"}),
    ):
        answered = await admin.post("/v1/search", {"query": "кофемашина капсулы", "mode": mode})
        body = answered.json
        assert set(body) == {"passages", "searched_for", "generation_id", "timings_ms"}
        assert body["generation_id"]
        first = body["passages"][0]
        assert set(first) == PASSAGE
        assert first["document_id"] == document_id
        assert first["rank"] == 1
        assert set(first["found_by"]) == found_by
        assert isinstance(first["chunk_id"], str)
        scores = [passage["score"] for passage in body["passages"]]
        assert scores == sorted(scores, reverse=True)
    assert len(await admin.search("отпуск", limit=1)) == 1
    for filters, found in (
        ({"language": "ru"}, True),
        ({"language": "en"}, False),
        ({"media_type": "text/plain"}, True),
        ({"media_type": "text/html"}, False),
        ({"source_uri_prefix": "https://wiki.example/"}, True),
        ({"source_uri_prefix": "https://other.example/"}, False),
        ({"updated_after": "2020-01-01T00:00:00Z"}, True),
        ({"updated_after": "2220-01-01T00:00:00Z"}, False),
    ):
        passages = await admin.search("кофемашина", filters=filters, limit=100)
        assert (document_id in {p["document_id"] for p in passages}) == found, filters
    assert await admin.search("кофемашина", collections=["none"]) == []


# answers


def check_answer(answer: Any) -> None:
    assert set(answer) >= ANSWER
    assert (answer["status"], answer["reason"]) == ("answered", None)
    assert answer["model"] == "echo"
    assert answer["usage"]["prompt_tokens"] > 0
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["citations"]
    for citation in answer["citations"]:
        assert set(citation) == CITATION
        sentence = answer["text"][citation["answer_start"] : citation["answer_end"]]
        assert f"[{citation['marker']}]" in sentence
        assert 0 <= citation["support"] <= 1
        cited = answer["passages"][citation["marker"] - 1]
        assert cited["chunk_id"] == citation["chunk_id"]


async def check_quotes(caller: Client, answer: Any) -> None:
    """Each quote is the parsed document's own bytes."""
    for citation in answer["citations"]:
        path = f"/v1/documents/{citation['document_id']}/text?version={citation['version']}"
        text = (await caller.get(path)).raw.decode()
        quote = text[citation["char_start"] : citation["char_end"]]
        assert quote.encode() == citation["quote"].encode()
        assert quote


@pytest.mark.parametrize("question", [QUESTION, "How many days of leave do employees get?"])
async def test_answer_carries_its_evidence(admin: Client, question: str) -> None:
    answered = await admin.post("/v1/ask", {"question": question})
    assert answered.status == 200
    check_answer(answered.json)
    await check_quotes(admin, answered.json)
    assert "28" in answered.json["text"]


async def test_streamed_answer_equals_the_whole_one(admin: Client) -> None:
    whole = (await admin.post("/v1/ask", {"question": QUESTION})).json
    events = await admin.ask_stream(QUESTION)
    names = [event.name for event in events]
    assert names[0] == "retrieved"
    assert names[-1] == "finished"
    assert names[1:-1] == ["token", "cited"] * (len(names) // 2 - 1)
    finished = events[-1].data
    assert set(events[0].data) == {"passages", "generation_id"}
    assert events[0].data["passages"] == finished["passages"]
    assert joined(events, "token") == finished["text"]
    assert [e.data for e in events if e.name == "cited"] == finished["citations"]
    differing = ("answer_id", "conversation_id", "timings_ms")
    assert set(finished) == set(whole)
    for name in set(whole) - set(differing):
        assert finished[name] == whole[name], name


def joined(events: list[Event], name: str) -> str:
    return "".join(event.data["text"] for event in events if event.name == name)


async def test_abstention_has_no_citations_and_names_why(
    admin: Client, healthy: EchoServer
) -> None:
    for reply, reason in (
        ("НЕТ ОТВЕТА", "model_found_nothing"),
        ("Зарплата директора 900 тысяч рублей [1].", "nothing_supported"),
    ):
        healthy.chat.reply = fixed(reply)
        try:
            answer = (await admin.post("/v1/ask", {"question": QUESTION})).json
            events = await admin.ask_stream(QUESTION)
        finally:
            healthy.chat.reply = echo_evidence
        assert (answer["status"], answer["reason"]) == ("abstained", reason)
        assert answer["citations"] == []
        assert answer["passages"]
        assert "900" not in answer["text"]
        assert [event.name for event in events] == ["retrieved", "finished"]
        assert events[-1].data["reason"] == reason
    nobody = await key_for(admin, "nobody-in-particular", "ask")
    filters = {"source_uri_prefix": "https://nowhere.example/"}
    empty = (await nobody.post("/v1/ask", {"question": QUESTION, "filters": filters})).json
    assert (empty["status"], empty["reason"]) == ("abstained", "nothing_readable")
    assert empty["passages"] == []


async def test_conversation_keeps_its_turns(admin: Client) -> None:
    first = (await admin.post("/v1/ask", {"question": QUESTION})).json
    body = {"question": "За сколько дней подаётся заявление на отпуск?"}
    second = await admin.post("/v1/ask", body | {"conversation_id": first["conversation_id"]})
    assert second.json["conversation_id"] == first["conversation_id"]
    path = f"/v1/conversations/{first['conversation_id']}"
    detail = (await admin.get(path)).json
    assert [turn["answer_id"] for turn in detail["turns"]] == [
        first["answer_id"],
        second.json["answer_id"],
    ]
    assert detail["turns"][0]["citations"] == first["citations"]
    assert detail["turns"][0]["text"] == first["text"]
    listed = (await admin.get("/v1/conversations")).json["items"]
    assert first["conversation_id"] in {item["conversation_id"] for item in listed}

    eve = await key_for(admin, "eve", "ask")
    assert_same_404(
        await eve.get(path), await eve.get("/v1/conversations/con_1a20"), first["conversation_id"]
    )
    stolen = await eve.post(
        "/v1/ask", {"question": QUESTION} | {"conversation_id": path.split("/")[-1]}
    )
    assert stolen.status == 404
    assert (await admin.call("DELETE", path)).status == 204
    assert (await admin.get(path)).status == 404


async def test_answers_on_lost_documents_are_withheld_and_titles_change(admin: Client) -> None:
    document_id = await admin.ingest("Пароль от архива Вымпел — 4417.", readers="user:ann")
    ann = await key_for(admin, "ann", "ask")
    await ann.find("пароль вымпел", document_id)
    answer = (await ann.post("/v1/ask", {"question": "Какой пароль от архива Вымпел?"})).json
    path = f"/v1/conversations/{answer['conversation_id']}"
    (turn,) = (await ann.get(path)).json["turns"]
    assert ("4417" in turn["text"], turn["withheld"]) == (True, False)
    body = {"readers": ["user:bob"]}
    await admin.call("PATCH", f"/v1/documents/{document_id}", json=body)
    seen = await ann.get(path)
    (turn,) = seen.json["turns"]
    assert (turn["text"], turn["citations"], turn["withheld"]) == ("", [], True)
    assert b"4417" not in seen.raw

    renamed = await ann.call("PATCH", path, json={"title": "Архив"})
    assert (renamed.status, renamed.json["title"]) == (200, "Архив")
    assert (await ann.get(path)).json["title"] == "Архив"
    for bad in ({"title": ""}, {"title": "x" * 201}, {"title": "a\x00b"}, {}):
        assert_problem(await ann.call("PATCH", path, json=bad), 422, "invalid_field")
    stranger = await key_for(admin, "eve", "ask")
    assert (await stranger.call("PATCH", path, json={"title": "x"})).status == 404
    await admin.call("DELETE", f"/v1/documents/{document_id}")


async def test_feedback(admin: Client) -> None:
    answer_id = (await admin.post("/v1/ask", {"question": QUESTION})).json["answer_id"]
    path = f"/v1/answers/{answer_id}/feedback"
    body = {"rating": "down", "comment": "нет", "correction": "30 дней", "reasons": ["wrong"]}
    made = await admin.post(path, body)
    assert made.status == 201
    assert made.json["feedback_id"]
    assert_problem(await admin.post(path, {"rating": "maybe"}), 422, "invalid_field")
    assert_problem(
        await admin.post(path, {"rating": "up", "comment": "a\0b"}), 422, "invalid_field"
    )
    eve = await key_for(admin, "eve", "ask")
    assert_same_404(
        await eve.post(path, body),
        await eve.post("/v1/answers/ans_1a20/feedback", body),
        answer_id,
    )


# keys and collections


async def test_keys_open_only_their_own_doors(admin: Client) -> None:
    asks = await key_for(admin, "ann", "ask")
    ingests = await key_for(admin, "bot", "ingest")
    assert (await asks.post("/v1/search", {"query": "отпуск"})).status == 200
    assert (await ingests.upload("Бот принёс документ о принтере.")).status == 202
    refused = [
        await asks.upload("Нельзя."),
        await asks.get("/v1/jobs"),
        await asks.get("/v1/admin/api-keys"),
        await asks.post("/v1/collections", {"name": "x", "readers": ["public"]}),
        await asks.call("DELETE", "/v1/documents/doc_x"),
        await ingests.post("/v1/search", {"query": "отпуск"}),
        await ingests.post("/v1/ask", {"question": QUESTION}),
        await ingests.post("/v1/admin/api-keys", {"user_id": "bot", "scopes": ["admin"]}),
    ]
    for answered in refused:
        assert "scope" in assert_problem(answered, 403, "forbidden")
    chat = await ingests.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}
    )
    assert (chat.status, chat.json["error"]["type"]) == (403, "permission_error")


async def test_key_expires_and_is_revoked(admin: Client) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    short = await key_for(admin, "temp", "ask", expires_at=soon)
    assert (await short.get("/v1/conversations")).status == 200
    listed = (await admin.get("/v1/admin/api-keys")).json["items"]
    newest = listed[0]
    assert (newest["user_id"], newest["scopes"], newest["revoked_at"]) == ("temp", ["ask"], None)
    assert "key" not in newest
    assert "sha256" not in newest
    await asyncio.sleep(1.6)
    assert (await short.get("/v1/conversations")).status == 401

    lasting = await key_for(admin, "temp", "ask")
    key_id = (await admin.get("/v1/admin/api-keys")).json["items"][0]["key_id"]
    assert (await lasting.get("/v1/conversations")).status == 200
    assert (await admin.call("DELETE", f"/v1/admin/api-keys/{key_id}")).status == 204
    assert (await lasting.get("/v1/conversations")).status == 401
    assert (await admin.call("DELETE", "/v1/admin/api-keys/key_x")).status == 404


async def test_collections_give_their_readers_to_new_documents(admin: Client) -> None:
    body = {"name": "hr", "description": "Кадры", "readers": ["user:ann"]}
    made = await admin.post("/v1/collections", body)
    assert (made.status, made.json["readers"]) == (201, ["user:ann"])
    assert_problem(await admin.post("/v1/collections", body), 409, "conflict")
    document_id = await admin.ingest("Штатное расписание утверждено.", collection="hr")
    assert (await admin.document(document_id))["readers"] == ["user:ann"]
    ann, eve = await key_for(admin, "ann", "ask"), await key_for(admin, "eve", "ask")
    await ann.find("расписание", document_id)
    assert await eve.holders("расписание") == set()
    seen = {item["name"] for item in (await ann.get("/v1/collections")).json["items"]}
    assert seen == {"default", "hr"}
    seen = {item["name"] for item in (await eve.get("/v1/collections")).json["items"]}
    assert seen == {"default"}

    changed = await admin.call("PATCH", "/v1/collections/hr", json={"description": "Отдел кадров"})
    assert (changed.status, changed.json["description"]) == (200, "Отдел кадров")
    assert_problem(await admin.call("DELETE", "/v1/collections/hr"), 409, "conflict")
    await admin.call("DELETE", f"/v1/documents/{document_id}")
    assert (await admin.call("DELETE", "/v1/collections/hr")).status == 204
    assert (await admin.call("DELETE", "/v1/collections/hr")).status == 404
    assert_problem(await admin.call("DELETE", "/v1/collections/default"), 409, "conflict")


async def test_changed_readers_act_at_once(admin: Client) -> None:
    document_id = await admin.ingest("Бассейн открыт по субботам.", readers="user:ann")
    ann, eve = await key_for(admin, "ann", "ask"), await key_for(admin, "eve", "ask")
    await ann.find("бассейн", document_id)
    assert await eve.holders("бассейн") == set()
    body = {"readers": ["user:eve"]}
    assert (await admin.call("PATCH", f"/v1/documents/{document_id}", json=body)).status == 200
    assert await ann.holders("бассейн") == set()
    assert (await ann.get(f"/v1/documents/{document_id}")).status == 404
    await eve.find("бассейн", document_id)


# errors and operations


async def test_unknown_route_and_method_are_problems(admin: Client) -> None:
    assert_problem(await admin.get("/v1/nothing"), 404, "not_found")
    wrong = await admin.call("PUT", "/v1/ask")
    assert (wrong.status, wrong.headers["content-type"]) == (405, "application/problem+json")
    openai = await admin.get("/v1/models/gpt-9")
    assert openai.status == 404
    assert set(openai.json) == {"error"}
    assert set(openai.json["error"]) == {"message", "type", "param", "code"}


async def test_operations_need_no_key_and_name_the_parts(
    admin: Client, healthy: EchoServer
) -> None:
    nobody = admin.with_key(None)
    assert (await nobody.get("/healthz")).status == 200
    ready = await nobody.get("/readyz")
    assert (ready.status, ready.json["ready"]) == (200, True)
    assert ready.json | {"database": "ok", "model_server": "ok"} == ready.json
    assert ready.json["index"]
    async with healthy.down():
        unready = await nobody.get("/readyz")
        assert (unready.status, unready.json["ready"]) == (503, False)
        assert "model server" in unready.json["model_server"]
        assert unready.json["database"] == "ok"
        assert (await nobody.get("/healthz")).status == 200
    schema = (await nobody.get("/openapi.json")).json
    assert "/v1/ask" in schema["paths"]
    docs = (await nobody.get("/docs")).raw.decode()
    assert "POST /v1/ask" in docs
    assert "//" not in docs  # nothing comes from another host


async def test_metrics_have_their_names(admin: Client) -> None:
    await admin.post("/v1/ask", {"question": QUESTION})
    metrics = (await admin.with_key(None).get("/metrics")).raw.decode()
    samples = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(samples['opora_answers_total{outcome="answered"}']) >= 1
    assert float(samples["opora_index_chunks_count"]) >= 2
    assert float(samples['opora_jobs_count{state="succeeded"}']) >= 2
    assert 'opora_http_requests_total{method="POST",route="/v1/ask",status="200"}' in samples
    for stage in ("retrieve", "embed_query", "search_dense", "search_lexical", "generate"):
        assert float(samples[f'opora_stage_seconds_count{{stage="{stage}"}}']) >= 1
    assert "отпуск" not in metrics
    assert all(name.startswith("opora_") for name in samples)
