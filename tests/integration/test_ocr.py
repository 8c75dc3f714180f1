"""Text in images is recognised, and what could not be is never lost silently."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import DocumentTooComplex, EmptyDocument, UnreadableDocument
from app.settings import IngestionSettings
from ingestion.parsers import ocr, tesseract
from ingestion.parsers.sandbox import parse_in_sandbox
from tests.fixtures import make_files
from tests.fixtures.make_images import FONT, draw, join_pdfs, make_scan
from tests.integration.parsing import read


def is_missing() -> bool:
    try:
        tesseract.check_available()
    except tesseract.OcrUnavailable:
        return True
    return not FONT.exists()


pytestmark = pytest.mark.skipif(
    is_missing(), reason="install Debian's tesseract-ocr-rus, tesseract-ocr and fonts-dejavu-core"
)

RUSSIAN = [
    "Приказ о ежегодном отпуске",
    "Заявление подаётся за четырнадцать дней",
    "до начала отпуска своему руководителю.",
]
ENGLISH = ["Vacation policy", "Requests are filed fourteen days ahead."]


def words(parsed: ParsedDocument) -> str:
    return " ".join(parsed.text.split())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_images_of_each_kind_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.bin"
    draw(RUSSIAN + ENGLISH).save(path, format=kind)
    parsed = read(path)
    assert "Заявление подаётся за четырнадцать дней" in words(parsed)
    assert "Requests are filed fourteen days ahead." in words(parsed)
    assert parsed.flags == ("ocr",)


def test_a_tiff_keeps_its_pages(tmp_path: Path) -> None:
    first, second = draw(RUSSIAN), draw(ENGLISH)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    parsed = read(tmp_path / "a.tif")
    assert parsed.pages == 2
    assert {block.page for block in parsed.blocks} == {1, 2}


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_an_image_that_lies_on_its_side_is_turned(tmp_path: Path, quarters: int) -> None:
    lines = [f"{line} {number}" for number in range(5) for line in RUSSIAN]
    draw(lines, 30).rotate(90 * quarters, expand=True).save(tmp_path / "a.png")
    assert "за четырнадцать дней" in words(read(tmp_path / "a.png"))


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    draw(RUSSIAN[:2]).rotate(90, expand=True).save(tmp_path / "a.jpg", exif=tags)
    assert "за четырнадцать дней" in words(read(tmp_path / "a.jpg"))


def test_images_that_hold_no_text_or_are_damaged(tmp_path: Path) -> None:
    Image.new("L", (300, 300), 255).save(tmp_path / "a.png")
    with pytest.raises(EmptyDocument, match="no text was recognised"):
        read(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(tmp_path / "a.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(DocumentTooComplex, match="20000 x 20000 pixels"):
        read(tmp_path / "a.png")


def test_scanned_pages_stand_among_others(tmp_path: Path) -> None:
    typed = make_files.make_pdf(tmp_path / "t.pdf", [[(10, "Первая страница набрана.")]])
    scan = make_scan(tmp_path / "s.pdf", [draw(RUSSIAN), draw(ENGLISH)])
    parsed = read(join_pdfs(tmp_path / "a.pdf", [typed, scan]))
    assert parsed.pages == 3
    pages = {block.page: parsed.text[block.char_start : block.char_end] for block in parsed.blocks}
    assert pages[1] == "Первая страница набрана."
    assert "до начала отпуска своему руководителю." in " ".join(pages[2].split())
    assert "fourteen days ahead." in pages[3]
    assert parsed.flags == ("ocr",)


def test_a_text_layer_of_garbage_gives_way_to_the_image(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "s.pdf", [draw(RUSSIAN)])
    broken = "\ufffd\ue012 \ue013\ue014 (cid:17)(cid:3) \ufffd\ufffd\ufffd"
    layer = make_files.make_pdf(tmp_path / "l.pdf", [[(8, broken)] * 3])
    parsed = read(overlay(tmp_path / "a.pdf", scan, layer))
    assert "Заявление подаётся за четырнадцать дней" in words(parsed)
    assert "(cid" not in parsed.text
    assert parsed.flags == ("ocr",)


def test_a_sound_text_layer_over_an_image_is_kept(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "s.pdf", [draw(ENGLISH)])
    line = "Слой текста, который сканер положил под изображение страницы приказа."
    layer = make_files.make_pdf(tmp_path / "l.pdf", [[(8, line)] * 3])
    parsed = read(overlay(tmp_path / "a.pdf", scan, layer))
    assert parsed.flags == ()
    assert "Слой текста" in parsed.text


def overlay(path: Path, below: Path, above: Path) -> Path:
    """Write the first page of one file over that of another."""
    import pypdfium2

    whole = pypdfium2.PdfDocument(below)
    page = whole[0]
    form = pypdfium2.PdfDocument(above).page_as_xobject(0, dest_pdf=whole).as_pageobject()
    page.insert_obj(form)
    page.gen_content()
    whole.save(path)
    return path


def test_pages_beyond_the_time_are_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([100.0, 100.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(ocr, "time_left_s", lambda: next(left))
    scan = make_scan(tmp_path / "a.pdf", [draw(RUSSIAN), draw(ENGLISH), draw(ENGLISH)])
    parsed = read(scan)
    assert "Приказ" in parsed.text
    assert set(parsed.flags) >= {"ocr", "ocr_pages_missing", "pages_without_text"}


def test_a_slow_page_is_given_up(tmp_path: Path) -> None:
    picture = next(tesseract.read_pictures(png(tmp_path, draw(RUSSIAN * 6, 30))))
    with pytest.raises(tesseract.OutOfTime):
        tesseract.recognise(picture, 0.001)
    assert tesseract.recognise(picture, 60)
    picture.close()


def png(tmp_path: Path, image: Image.Image) -> bytes:
    image.save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


def test_without_tesseract_the_reason_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise tesseract.OcrUnavailable(f"Tesseract is missing: {tesseract.INSTALL_HINT}")

    monkeypatch.setattr(tesseract, "_engine", missing)
    scan = make_scan(tmp_path / "s.pdf", [draw(RUSSIAN)])
    with pytest.raises(EmptyDocument, match="install tesseract-ocr and tesseract-ocr-rus"):
        read(scan)
    with pytest.raises(EmptyDocument, match="install tesseract-ocr and tesseract-ocr-rus"):
        png(tmp_path, draw(RUSSIAN))
        read(tmp_path / "a.png")
    typed = make_files.make_pdf(tmp_path / "t.pdf", [[(10, "Первая страница набрана.")]])
    parsed = read(join_pdfs(tmp_path / "a.pdf", [typed, scan]))
    assert parsed.text == "Первая страница набрана."
    assert parsed.flags == ("ocr_pages_missing", "pages_without_text")


def test_recognition_works_inside_the_sandbox(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "a.pdf", [draw(RUSSIAN), draw(ENGLISH)])
    parsed = parse_in_sandbox(scan, MediaType.PDF, IngestionSettings())
    assert "четырнадцать" in parsed.text
    assert "fourteen" in parsed.text
