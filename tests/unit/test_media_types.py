"""The bytes decide what a file is."""

from pathlib import Path

import pytest

from app.domain.documents import MediaType
from app.domain.errors import UnsupportedMedia
from app.services.media_types import sniff
from tests.fixtures import make_files

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HTML = "<!DOCTYPE html><html><body><p>Привет</p></body></html>"
MAIL = b"Received: from a\r\nMessage-ID: <1@a>\r\nFrom: a@b.c\r\nSubject: x\r\n\r\nhello"


def seen(tmp_path: Path, name: str, data: bytes) -> MediaType:
    path = tmp_path / "blob"
    path.write_bytes(data)
    return sniff(path, name)


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("a.pdf", b"%PDF-1.7\n%\xe2\xe3", MediaType.PDF),
        ("a.txt", b"%PDF-1.7\n%\xe2\xe3", MediaType.PDF),
        ("a.pdf", b"junk before\n%PDF-1.4", MediaType.PDF),
        ("a.html", HTML.encode("cp1251"), MediaType.HTML),
        ("page", b"\xef\xbb\xbf <!-- c --> <HTML lang=ru>", MediaType.HTML),
        ("part.htm", b"<p>one</p>", MediaType.HTML),
        ("note.txt", b"<p>one</p>", MediaType.TEXT),
        ("readme.md", b"# Title\n<div>x</div>", MediaType.MARKDOWN),
        ("table.csv", "имя;цена\nболт;5\n".encode("cp1251"), MediaType.CSV),
        ("letter.eml", b"Subject: hi\n\nbody", MediaType.EML),
        ("letter", MAIL, MediaType.EML),
        ("talk.txt", b"From: Anna\nTo: Ivan\nSubject: beams\n\nHello", MediaType.TEXT),
        ("a.txt", "Привет, мир".encode("cp1251"), MediaType.TEXT),
        ("a.txt", "Привет, мир".encode("utf-16"), MediaType.TEXT),
        ("a.txt", "Привет, мир".encode("utf-16-le"), MediaType.TEXT),
        ("a.log", b"line one\nline two\f\x1a", MediaType.TEXT),
        ("a.doc", b"{\\rtf1\\ansi hello}", MediaType.RTF),
        ("a.json", b'{"a": 1, // no JSON', MediaType.JSON),
        ("a.txt", '{"имя": "Анна"}'.encode(), MediaType.JSON),
        ("a.txt", b'{"a": 1}\n{"a": 2}\n', MediaType.JSONL),
        ("a.txt", b"[1] a footnote", MediaType.TEXT),
        ("a.txt", b"{a} in braces", MediaType.TEXT),
        ("a.jsonl", b'{"a": 1}', MediaType.JSONL),
        ("a.pdf", PNG, MediaType.PNG),
        ("a.txt", b"\xff\xd8\xff\xe0" + bytes(32), MediaType.JPEG),
        ("a.jpg", b"RIFF\x24\0\0\0WEBPVP8 " + bytes(32), MediaType.WEBP),
        ("a", b"GIF89a" + bytes(32), MediaType.GIF),
        ("a", b"II*\0" + bytes(32), MediaType.TIFF),
        ("a", b"BM" + bytes(60), MediaType.BMP),
        ("a.docx", b"PK\5\6" + bytes(18), MediaType.ZIP),
        ("cut.docx", b"PK\3\4" + bytes(80), MediaType.DOCX),
        ("empty.docx", b"", MediaType.DOCX),
        ("empty", b"", MediaType.TEXT),
    ],
)
def test_what_opora_reads(tmp_path: Path, name: str, data: bytes, media_type: MediaType) -> None:
    assert seen(tmp_path, name, data) is media_type


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("a.txt", b"MZ\x90\0\3\0\0\0" + bytes(100), "a Windows program"),
        ("a.md", b"\x7fELF\2\1\1" + bytes(60), "an ELF program"),
        ("a.csv", bytes(range(256)) * 4, "unknown binary data"),
        ("a.pdf", b"\0\0\1\0" + bytes(32), "an icon"),
        ("a.pdf", b"\x1f\x8b\x08" + bytes(32), "a gzip archive"),
        ("a.txt", b"\0\0\0\x18ftypmp42" + bytes(32), "an MP4 or HEIC file"),
    ],
)
def test_what_opora_refuses_is_named(tmp_path: Path, name: str, data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedMedia, match=named) as caught:
        seen(tmp_path, name, data)
    assert repr(name) in caught.value.message


def test_office_files_are_told_apart_by_their_members(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    assert sniff(make_files.make_docx(path), "a.bin") is MediaType.DOCX
    assert sniff(make_files.make_pptx(path), "a.docx") is MediaType.PPTX
    assert sniff(make_files.make_xlsx(path, {"a": [[1]]}), "a.txt") is MediaType.XLSX


def test_archives_are_told_from_office_files_and_other_packages(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    assert sniff(make_files.make_zip(path, {"a.txt": b"hello"}), "report.docx") is MediaType.ZIP
    with pytest.raises(UnsupportedMedia, match="a Java archive"):
        sniff(make_files.make_zip(path, {"META-INF/MANIFEST.MF": b""}), "a.zip")
    with pytest.raises(UnsupportedMedia, match="an EPUB book"):
        sniff(make_files.make_zip(path, {"mimetype": b"application/epub+zip"}), "a.zip")


@pytest.mark.parametrize("media_type", [MediaType.ODT, MediaType.ODS, MediaType.ODP])
def test_open_documents_say_what_they_are(tmp_path: Path, media_type: MediaType) -> None:
    path = make_files.make_zip(tmp_path / "blob", {"mimetype": media_type.encode()})
    assert sniff(path, "report.docx") is media_type


def test_an_archive_with_a_huge_directory_is_not_listed(tmp_path: Path) -> None:
    members = {f"word/{n:0100}.xml": b"" for n in range(9000)}
    path = make_files.make_zip(tmp_path / "blob", members | {"word/document.xml": b"<a/>"})
    assert sniff(path, "report.zip") is MediaType.ZIP


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        ("WordDocument", r"old Word \.doc"),
        ("PowerPoint Document", r"old PowerPoint \.ppt"),
        ("Something", "an OLE container"),
    ],
)
def test_old_office_files_are_named(tmp_path: Path, stream: str, named: str) -> None:
    with pytest.raises(UnsupportedMedia, match=named):
        sniff(make_files.make_ole(tmp_path / "blob", stream), "a.docx")


@pytest.mark.parametrize(
    ("stream", "media_type"), [("Workbook", MediaType.XLS), ("__substg1.0_001A", MediaType.MSG)]
)
def test_ole_containers_are_told_apart(tmp_path: Path, stream: str, media_type: MediaType) -> None:
    assert sniff(make_files.make_ole(tmp_path / "blob", stream), "a.docx") is media_type


def test_an_encrypted_office_file_is_taken_by_its_name(tmp_path: Path) -> None:
    path = make_files.make_ole(tmp_path / "blob", "EncryptedPackage")
    assert sniff(path, "Отчёт.XLSX") is MediaType.XLSX
    with pytest.raises(UnsupportedMedia, match="an encrypted Office document"):
        sniff(path, "report.txt")


def test_a_file_of_comments_does_not_stall_the_upload(tmp_path: Path) -> None:
    assert seen(tmp_path, "a.txt", b"<!-- -->" * 8000) is MediaType.TEXT


def test_the_message_does_not_repeat_a_path(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        seen(tmp_path, "../../secret/a.pdf", b"\x7fELF" + bytes(60))
    assert "secret" not in caught.value.message
