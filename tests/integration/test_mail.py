"""Messages are read with what hangs on them, and what cannot be read is named."""

import base64
from email.message import EmailMessage
from pathlib import Path

import pytest

from app.domain.documents import MediaType
from app.domain.errors import UnreadableDocument
from app.services.media_types import sniff
from tests.fixtures import make_files, make_msg
from tests.integration.parsing import Limits, read, read_text, shape

FILETIME_TAG = 0x00390040
CODEPAGE_TAG = 0x3FFD0003
# 14 September 2026, 07:00 UTC, in 100 ns since 1601.
SENT = 134_338_428_000_000_000
BODY = "Коллеги, добрый день!\r\n\r\nПартия придёт 7 сентября.\r\n"


def message(subject: str, *parts: tuple[str, bytes]) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "Анна Ким <anna@example.org>"
    made["Subject"] = subject
    made.set_content("Добрый день!\n")
    for name, data in parts:
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return made


def test_eml_begins_with_its_envelope_and_ends_with_its_attachments(tmp_path: Path) -> None:
    parsed = read(make_files.make_eml(tmp_path / "a.eml"))
    subject = "Задержка поставки балок на склад в Лаишеве, третья партия"
    assert parsed.title == subject
    assert shape(parsed) == [
        (
            "paragraph",
            0,
            "From: Анна Ким <anna@example.org>\nTo: support@example.org\n"
            f"Date: Mon, 14 Sep 2026 10:00:00 +0300\nSubject: {subject}",
        ),
        ("paragraph", 0, "Коллеги, добрый день!"),
        ("paragraph", 0, "Партия придёт 7 сентября."),
        ("heading", 1, "цены.csv"),
        ("table", 0, "| Балка | Цена |\n| --- | --- |\n| Б-12 | 450 |"),
    ]
    assert parsed.flags == ()


def test_attachments_keep_their_structure_below_their_name(tmp_path: Path) -> None:
    docx = make_files.make_docx(tmp_path / "a.docx").read_bytes()
    pdf = make_files.make_pdf(tmp_path / "a.pdf", [[(10, "Первая.")], [(10, "Вторая.")]])
    made = message("Документы", ("положение.docx", docx), ("акт.bin", pdf.read_bytes()))
    parsed = read_text(tmp_path, "a.eml", made.as_bytes())
    headings = [one[1:] for one in shape(parsed) if one[0] == "heading"]
    assert headings == [
        (1, "положение.docx"),
        (2, "Общие положения"),
        (3, "Сроки"),
        (1, "акт.bin"),
    ]
    assert [block.page for block in parsed.blocks[-2:]] == [1, 2]


def test_what_cannot_be_read_is_named_with_its_reason(tmp_path: Path) -> None:
    made = message("x", ("a.exe", b"MZ\x90\0" + bytes(99)), ("b.pdf", b"%PDF-1.4 cut"), ("c", b""))
    parsed = read_text(tmp_path, "a.eml", made.as_bytes())
    assert "attachments_skipped" in parsed.flags
    skipped = [text for kind, _, text in shape(parsed) if kind == "list_item"]
    assert [line.split(":")[0] for line in skipped] == ["- a.exe", "- b.pdf", "- c"]
    assert "a Windows program" in skipped[0]
    assert "the PDF is damaged" in skipped[1]
    assert "0 bytes" in skipped[2]


def test_messages_in_messages_are_read_to_a_depth(tmp_path: Path) -> None:
    inner = message("Пятое", ("a.txt", "глубоко".encode()))
    for subject in ("Четвёртое", "Третье", "Второе", "Первое"):
        outer = message(subject)
        outer.add_attachment(inner)
        inner = outer
    parsed = read_text(tmp_path, "a.eml", inner.as_bytes())
    headings = [text for kind, _, text in shape(parsed) if kind == "heading"]
    assert headings == ["Второе.eml", "Третье.eml"]
    assert "Четвёртое.eml: not read" in parsed.text
    assert "attachments_skipped" in parsed.flags


def test_many_attachments_are_read_up_to_a_count(tmp_path: Path) -> None:
    made = message("x", *((f"{n}.txt", f"файл{n}.".encode()) for n in range(120)))
    parsed = read_text(tmp_path, "a.eml", made.as_bytes())
    assert "файл99." in parsed.text
    assert "файл100." not in parsed.text
    assert parsed.text.count("not read, a message's first 100") == 20


def test_attachments_share_the_limits_of_their_message(tmp_path: Path) -> None:
    made = message("x", *((f"{n}.txt", "слово ".encode() * 100) for n in range(5)))
    parsed = read_text(tmp_path, "a.eml", made.as_bytes(), Limits(max_text_chars=3000))
    assert parsed.text.count("not read") >= 2
    assert "attachments_skipped" in parsed.flags


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_eml_in_old_encodings(tmp_path: Path, encoding: str, declared: bool) -> None:
    text = "Добрый день, акт подписан."
    charset = f"; charset={encoding}" if declared else ""
    word = base64.b64encode("Акт приёмки".encode(encoding)).decode()
    head = f"From: a@b.c\r\nSubject: =?{encoding}?b?{word}?=\r\nContent-Type: text/plain{charset}"
    data = head.encode() + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text.encode(encoding)
    parsed = read_text(tmp_path, "a.eml", data)
    assert parsed.title == "Акт приёмки"
    assert parsed.text.endswith(text)


def test_eml_of_html_alone(tmp_path: Path) -> None:
    data = "Subject: x\nContent-Type: text/html; charset=utf-8\n\n<h2>Итог</h2><p>Да.</p>"
    assert shape(read_text(tmp_path, "a.eml", data))[1:] == [
        ("heading", 2, "Итог"),
        ("paragraph", 0, "Да."),
    ]


ENVELOPE = (
    "From: Анна Ким <anna@example.org>\nTo: Склад\nDate: 2026-09-14 07:00:00+00:00\n"
    "Subject: Третья партия"
)


def outlook(**body: bytes) -> make_msg.Storage:
    return (
        make_msg.numbers(32, {FILETIME_TAG: SENT, CODEPAGE_TAG: 1251})
        | make_msg.text("0037", "Третья партия")
        | make_msg.text("0C1A", "Анна Ким")
        | make_msg.text("5D01", "anna@example.org")
        | make_msg.text("0E04", "Склад")
        | {f"__substg1.0_{name}": data for name, data in body.items()}
    )


@pytest.mark.parametrize("prop", ["1000001F", "1000001E", "10130102", "10090102"])
def test_msg_has_an_envelope_and_a_body(tmp_path: Path, prop: str) -> None:
    html = "<p>Коллеги, добрый день!</p><p>Партия придёт 7 сентября.</p>"
    rtf = rb"{\rtf1\ansi\ansicpg1251 " + BODY.strip().replace("\r\n\r\n", r"\par ").encode("cp1251")
    body = {
        "1000001F": BODY.encode("utf-16-le"),
        "1000001E": BODY.encode("cp1251"),
        "10130102": html.encode("cp1251"),
        "10090102": len(rtf + b"12345").to_bytes(4, "little") * 2 + b"MELA" + bytes(4) + rtf + b"}",
    }[prop]
    path = make_msg.make_msg(tmp_path / "a", outlook(**{prop: body}))
    assert sniff(path, "a.doc") is MediaType.MSG
    parsed = read(path)
    assert parsed.title == "Третья партия"
    assert [text for _, _, text in shape(parsed)] == [
        ENVELOPE,
        "Коллеги, добрый день!",
        "Партия придёт 7 сентября.",
    ]


def test_msg_reads_files_and_messages_in_it(tmp_path: Path) -> None:
    inner = make_msg.numbers(24, {}) | make_msg.text("0037", "Внутри")
    inner |= make_msg.text("1000", "Вложенное письмо. " * 300)
    csv = "Балка;Цена\nБ-12;450\n".encode("cp1251")
    held = outlook() | make_msg.text("1000", BODY)
    held["__attach_version1.0_#00000000"] = make_msg.attachment("цены.csv", csv)
    held["__attach_version1.0_#00000001"] = make_msg.text("3001", "Fwd") | {
        "__substg1.0_3701000D": inner
    }
    held["__attach_version1.0_#00000002"] = make_msg.attachment("a.exe", b"MZ\0" + bytes(99))
    parsed = read(make_msg.make_msg(tmp_path / "a.msg", held))
    assert shape(parsed)[3:5] == [
        ("heading", 1, "цены.csv"),
        ("table", 0, "| Балка | Цена |\n| --- | --- |\n| Б-12 | 450 |"),
    ]
    assert ("heading", 1, "Внутри") in shape(parsed)
    assert parsed.text.count("Вложенное письмо.") == 300
    assert "- a.exe: not read" in parsed.text
    assert parsed.flags == ("attachments_skipped",)


@pytest.mark.parametrize("kept", [600, 1024, 2000])
def test_msg_that_is_cut_off_is_unreadable(tmp_path: Path, kept: int) -> None:
    path = make_msg.make_msg(tmp_path / "a.msg", outlook() | make_msg.text("1000", BODY * 200))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableDocument, match=r"damaged|no Outlook message"):
        read(path)
