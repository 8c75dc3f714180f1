"""Each row of "What bad input gets" in the HTTP contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from tests.e2e.conftest import (
    MOST_BODY_BYTES,
    MOST_QUESTION_CHARS,
    MOST_UPLOAD_BYTES,
)
from tests.e2e.running import Answered, Client
from tests.fixtures.make_files import make_ole, make_package, make_pdf, make_zip

QUESTION = "Сколько дней отпуска полагается сотруднику?"


def assert_problem(answered: Answered, status: int, code: str) -> str:
    """Check the shape of a problem and return its detail."""
    assert answered.status == status, answered.raw
    assert answered.headers["content-type"] == "application/problem+json"
    body = answered.json
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:opora:error:{code}"
    assert body["request_id"] == answered.headers["x-request-id"]
    detail: str = body["detail"]
    return detail


@asynccontextmanager
async def raw_connection(
    base_url: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which the test writes HTTP itself."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def head(path: str, *headers: str) -> bytes:
    """The head of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: opora", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def read_status(reader: asyncio.StreamReader) -> int:
    """The status of the answer that comes, at once."""
    line = await asyncio.wait_for(reader.readline(), 5)
    return int(line.split()[1])


# no, bad, expired or revoked credential: 401, before the body is read


async def made_key(admin: Client, expires_at: datetime | None = None) -> Any:
    body = {"user_id": "eve", "scopes": ["ask", "ingest"]}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    answered = await admin.post("/v1/admin/api-keys", body)
    assert answered.status == 201
    return answered.json


async def bad_credentials(admin: Client) -> dict[str, str]:
    """Authorization headers that must not open the door."""
    expired = await made_key(admin, datetime.now(UTC) - timedelta(seconds=1))
    revoked = await made_key(admin)
    deleted = await admin.call("DELETE", f"/v1/admin/api-keys/{revoked['key_id']}")
    assert deleted.status == 204
    return {
        "none": "X-Nothing: 1",
        "empty": "Authorization: Bearer ",
        "wrong scheme": f"Authorization: Basic {admin.key}",
        "unknown": "Authorization: Bearer opora_unknown",
        "not ASCII": "Authorization: Bearer opora_ключ",
        "expired": f"Authorization: Bearer {expired['key']}",
        "revoked": f"Authorization: Bearer {revoked['key']}",
    }


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/ask", "/v1/chat/completions", "/v1/no"])
async def test_no_good_credential_is_401_before_the_body(admin: Client, path: str) -> None:
    for name, credential in (await bad_credentials(admin)).items():
        async with raw_connection(admin.base_url) as (reader, writer):
            writer.write(head(path, credential, "Content-Length: 1000000000000"))
            assert await read_status(reader) == 401, name
            rest = await asyncio.wait_for(reader.readuntil(b"}"), 5)
            assert b"www-authenticate: bearer" in rest.lower()
            assert (b'"error"' in rest) == (path == "/v1/chat/completions")
            assert b"opora_" not in rest


async def test_401_says_how_to_authenticate(admin: Client) -> None:
    answered = await admin.with_key(None).get("/v1/documents")
    assert "Authorization: Bearer" in assert_problem(answered, 401, "unauthenticated")


# body over the limit: 413 as soon as the limit is passed


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("/v1/documents", "multipart/form-data; boundary=b", MOST_UPLOAD_BYTES + 65536),
        ("/v1/ask", "application/json", MOST_BODY_BYTES),
        ("/v1/chat/completions", "application/json", MOST_BODY_BYTES),
        ("/v1/documents/doc_x/nothing", "text/plain", MOST_UPLOAD_BYTES + 65536),
    ],
)
async def test_body_over_the_limit_is_413_as_soon_as_it_passes(
    admin: Client, path: str, kind: str, limit: int
) -> None:
    common = (f"Authorization: Bearer {admin.key}", f"Content-Type: {kind}")
    async with raw_connection(admin.base_url) as (reader, writer):
        writer.write(head(path, *common, f"Content-Length: {limit + 1}"))
        assert await read_status(reader) == 413

    if path.endswith("nothing"):
        return  # nobody reads that body
    async with raw_connection(admin.base_url) as (reader, writer):
        writer.write(head(path, *common, "Transfer-Encoding: chunked"))
        begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        rest = limit + 1
        piece = begin if "multipart" in kind else b'{"question": "'
        while rest > 0:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            rest -= len(piece)
            piece = b"x" * min(65536, max(rest, 1))
        assert await read_status(reader) == 413  # the body has no end yet


async def test_413_names_the_limit(admin: Client) -> None:
    answered = await admin.upload(b"x" * (MOST_UPLOAD_BYTES + 100_000))
    assert "bytes" in assert_problem(answered, 413, "body_too_large")


# unknown or disguised type: 415 naming the type seen


async def test_unknown_or_disguised_type_is_415(admin: Client, tmp_path: Path) -> None:
    wrong = {
        "report.pdf": (b"\0\0\1\0" + bytes(100), "icon"),
        "notes.txt": (b"\x7fELF" + bytes(100), "ELF"),
        "table.csv": (make_zip(tmp_path / "a", {"META-INF/MANIFEST.MF": b""}).read_bytes(), "Java"),
        "letter.docx": (make_ole(tmp_path / "b", "WordDocument").read_bytes(), ".doc"),
        "page.html": (b"\x00\x01\x02\x03" * 100, "binary"),
    }
    for filename, (content, seen) in wrong.items():
        detail = assert_problem(await admin.upload(content, filename), 415, "unsupported_media")
        assert seen.lower() in detail.lower(), filename
    listed = (await admin.get("/v1/documents?limit=200")).json["items"]
    assert not {item["filename"] for item in listed}.intersection(wrong)


# unreadable, encrypted, bomb-like or over-long file: a terminal state, and the worker lives on


async def test_unreadable_file_ends_with_a_reason(admin: Client, tmp_path: Path) -> None:
    page = [[(12.0, "Some words on a page.")]]
    hostile = {
        "cut.pdf": (make_pdf(tmp_path / "cut", page).read_bytes()[:300], "failed", ""),
        "locked.pdf": (
            make_pdf(tmp_path / "locked", page, locked=True).read_bytes(),
            "failed",
            "password",
        ),
        "secret.docx": (
            make_ole(tmp_path / "ole", "EncryptedPackage").read_bytes(),
            "failed",
            "password",
        ),
        "broken.docx": (make_package(tmp_path / "x", b"<not xml").read_bytes(), "failed", ""),
        "bomb.docx": (
            make_package(tmp_path / "y", b"<a>" + b" " * 150_000_000 + b"</a>").read_bytes(),
            "failed",
            "",
        ),
        "deep.html": (b"<html><body>" + b"<div>" * 50_000 + b"bottom", None, ""),
        "long.txt": (b"word " * 350_000, "failed", "1000000"),
    }
    ids = {}
    for filename, (content, _, _) in hostile.items():
        answered = await admin.upload(content, filename)
        assert answered.status == 202, (filename, answered.raw)
        ids[filename] = answered.json["document_id"]
    for filename, (_, status, reason) in hostile.items():
        ended = await admin.ended(ids[filename])
        assert ended["status"] == status or status is None, (filename, ended)
        if ended["status"] != "live":
            assert reason in ended["reason"].replace(" ", ""), filename
            assert len(ended["reason"]) > 10
            assert ended["chunks"] == 0
    after = await admin.ingest("Работник по-прежнему работает: щебень привезли.")
    await admin.find("щебень", after)


# file with no text: `empty`, visible in lists; never silently live


async def test_file_without_text_is_empty(admin: Client, tmp_path: Path) -> None:
    blank = {
        "blank.txt": b" \n\t\n ",
        "scan.pdf": make_pdf(tmp_path / "scan", [[], []]).read_bytes(),
        "blank.html": b"<!doctype html><html><body><script>var a = 'words'</script></body></html>",
    }
    for filename, content in blank.items():
        accepted = await admin.upload(content, filename)
        assert accepted.status == 202, accepted.raw
        ended = await admin.ended(accepted.json["document_id"])
        assert (ended["status"], ended["live_version"]) == ("empty", None), filename
        assert ended["reason"]
        job = await admin.ended_job(accepted.json["job_id"])
        assert (job["state"], job["error"]["code"]) == ("succeeded", "document_empty")
    listed = (await admin.get("/v1/documents?status=empty&limit=200")).json["items"]
    assert {item["filename"] for item in listed} >= set(blank)


async def test_file_without_bytes_never_goes_live(admin: Client) -> None:
    answered = await admin.upload(b"", "nothing.txt")
    if answered.status == 202:
        assert (await admin.ended(answered.json["document_id"]))["status"] == "empty"
    else:
        assert answered.status in (415, 422), answered.raw


# the same bytes again: `duplicate: true`, no second copy, readers merged only if asked


async def test_same_bytes_again_are_a_duplicate(admin: Client) -> None:
    content = "Ковёр в переговорной чистят по четвергам."
    first = await admin.upload(content, "carpet.txt", readers="group:office")
    assert (first.status, first.json["duplicate"]) == (202, False)
    second = await admin.upload(content, "carpet-copy.txt", readers="group:sales")
    assert (second.status, second.json["duplicate"]) == (202, True)
    for field in ("document_id", "version", "job_id"):
        assert second.json[field] == first.json[field]
    document = await admin.ended(first.json["document_id"])
    assert document["readers"] == ["group:office"]
    third = await admin.upload(content)
    assert third.json["duplicate"] is True
    assert third.json["status"] == "live"
    await admin.find("переговорной", first.json["document_id"])
    assert len(await admin.holders("переговорной")) == 1


# empty, over-long or non-text question: 422 naming the field and the limit

BAD_TEXTS = {
    "empty": ("", "empty"),
    "blank": (" \n ", "empty"),
    "no word": ("?!… —", "no word"),
    "over-long": ("а" * (MOST_QUESTION_CHARS + 1), str(MOST_QUESTION_CHARS)),
    "96,000 characters": ("leave " * 16_000, str(MOST_QUESTION_CHARS)),
    "emoji": ("🙂🙂🙂", "no word"),
    "control characters": ("\x01\x02\x1b", "no word"),
    "NUL": ("отпуск\0", "NUL"),
    "a number": (42, "string"),
    "null": (None, "string"),
    "a list": (["отпуск"], "string"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
async def test_bad_question_is_422(admin: Client, name: str) -> None:
    text, said = BAD_TEXTS[name]
    asked = await admin.post("/v1/ask", {"question": text})
    streamed = await admin.post("/v1/ask", {"question": text, "stream": True})
    searched = await admin.post("/v1/search", {"query": text})
    for answered, field in ((asked, "question"), (streamed, "question"), (searched, "query")):
        detail = assert_problem(answered, 422, "invalid_field")
        assert field in detail
        assert said in detail


async def test_stop_words_alone_are_searched_for(admin: Client) -> None:
    answered = await admin.post("/v1/search", {"query": "и в на что the of"})
    assert answered.status == 200
    assert answered.json["searched_for"] == "и в на что the of"


async def test_half_a_character_is_no_crash(admin: Client) -> None:
    raw = b'{"question": "vacation \\ud800"}'
    headers = {"Content-Type": "application/json"} | admin.headers
    async with admin.session.post(
        admin.base_url + "/v1/ask", data=raw, headers=headers
    ) as response:
        assert response.status == 422


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/ask", {}, "question"),
        ("/v1/ask", {"question": "ok", "qestion": "typo"}, "qestion"),
        ("/v1/ask", {"question": "ok", "language": "de"}, "language"),
        ("/v1/ask", {"question": "ok", "stages": 3}, "stages"),
        ("/v1/ask", {"question": "ok", "conversation_id": "a\0b"}, ""),
        ("/v1/search", {"query": "ok", "limit": 0}, "limit"),
        ("/v1/search", {"query": "ok", "limit": 101}, "limit"),
        ("/v1/search", {"query": "ok", "mode": "magic"}, "mode"),
        ("/v1/search", {"query": "ok", "filters": {"updated_after": "soon"}}, "updated_after"),
        ("/v1/collections", {"name": "a b", "readers": ["public"]}, "name"),
        ("/v1/collections", {"name": "ab", "readers": []}, "readers"),
        ("/v1/collections", {"name": "ab", "readers": ["everybody"]}, "readers"),
        ("/v1/admin/api-keys", {"user_id": "a", "scopes": ["root"]}, "scopes"),
        ("/v1/admin/api-keys", {"user_id": "a", "scopes": []}, "scopes"),
    ],
)
async def test_bad_field_is_422_naming_it(
    admin: Client, path: str, body: dict[str, Any], field: str
) -> None:
    assert field in assert_problem(await admin.post(path, body), 422, "invalid_field")


async def test_bad_form_is_422(admin: Client) -> None:
    text = "Некоторый текст про форму."
    assert "readers" in assert_problem(
        await admin.upload(text, readers="everybody"), 422, "invalid_field"
    )
    assert "title" in assert_problem(
        await admin.upload(text, title="x" * 501), 422, "invalid_field"
    )
    assert_problem(await admin.upload(text, title="a\0b"), 422, "invalid_field")
    assert_problem(await admin.upload(text, collection="нет такой"), 404, "not_found")
    no_file = await admin.call("POST", "/v1/documents", data={"title": "x"})
    assert "file" in assert_problem(no_file, 422, "invalid_field")


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"[" * 90_000])
async def test_body_that_is_no_json_object_is_refused(admin: Client, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"} | admin.headers
    async with admin.session.post(
        admin.base_url + "/v1/ask", data=raw, headers=headers
    ) as response:
        assert response.status in (400, 422)
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/documents/a%00b", "/v1/jobs/a%00b", "/v1/documents?q=a%00"])
async def test_nul_in_the_address_is_no_crash(admin: Client, path: str) -> None:
    url = URL(admin.base_url + path, encoded=True)
    async with admin.session.get(url, headers=admin.headers) as response:
        assert response.status in (404, 422)
        assert response.content_type == "application/problem+json"
