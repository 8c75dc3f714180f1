"""Make the binary demonstration documents (DOCX, PDF, XLSX, PPTX, a scan) from their text sources.

    python samples/make_binaries.py [--fonts DIR] [--only NAME]

`sources/<lang>/<name>.<kind>.md` becomes `documents/<lang>/<name>.<suffix>`. With the same library
versions and fonts the bytes come out the same, so a rerun leaves the repository clean.
Needs: python-docx, reportlab, XlsxWriter, python-pptx, Pillow, and the DejaVu fonts
(Debian: `apt-get install fonts-dejavu-core`), which the PDFs embed because they have Cyrillic.
"""

import argparse
import io
import random
import re
import textwrap
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import docx
import pptx
import xlsxwriter
from blocks import Block, Bullets, Heading, Note, Paragraph, Table, read_blocks
from docx.shared import Pt as DocxPt
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from pptx.util import Inches, Pt
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    LongTable,
    PageBreak,
    PageTemplate,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Paragraph as PdfParagraph
from reportlab.platypus.tableofcontents import TableOfContents

HERE = Path(__file__).resolve().parent
CREATED = datetime(2026, 10, 12, 9, 0)
COMPANY = "Kamvira"
CONTENTS_FROM_CHAPTERS = 12
CONTENTS_TITLE = {"ru": "Содержание", "en": "Contents"}
PAGE_WORD = {"ru": "стр.", "en": "page"}


@dataclass(frozen=True)
class Destination:
    """Where one document goes, its language (`ru` or `en`), and the folder of the DejaVu fonts."""

    target: Path
    lang: str
    fonts: Path


def write_docx(blocks: list[Block], to: Destination) -> None:
    """Write headings, lists and grid tables with Word's own styles."""
    document = docx.Document()
    document.styles["Normal"].font.name = "Calibri"
    document.styles["Normal"].font.size = DocxPt(11)
    properties = document.core_properties
    properties.author, properties.title, properties.language = COMPANY, blocks[0].text, to.lang
    properties.created = properties.modified = CREATED
    for block in blocks:
        match block:
            case Heading(level, text):
                document.add_heading(text, level=level - 1)
            case Paragraph(text) | Note(text):
                document.add_paragraph(text)
            case Bullets(items):
                for item in items:
                    document.add_paragraph(item, style="List Bullet")
            case Table(header, rows):
                grid = document.add_table(rows=0, cols=len(header), style="Light Grid Accent 1")
                for row in (header, *rows):
                    for cell, text in zip(grid.add_row().cells, row, strict=True):
                        cell.text = text
                document.add_paragraph()
    document.save(to.target)
    _fix_zip_dates(to.target)


def write_pptx(blocks: list[Block], to: Destination) -> None:
    """Write one slide per second-level heading; the first heading makes the title slide."""
    deck = pptx.Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    deck.core_properties.author, deck.core_properties.title = COMPANY, blocks[0].text
    deck.core_properties.created = deck.core_properties.modified = CREATED
    deck.core_properties.language = to.lang
    slide = None
    for block in blocks:
        match block:
            case Heading(level, text):
                slide = deck.slides.add_slide(deck.slide_layouts[0 if level == 1 else 5])
                slide.shapes.title.text = text
            case Paragraph(text):
                slide.placeholders[1].text = text
            case Bullets(items):
                box = slide.shapes.add_textbox(Inches(0.9), Inches(1.7), Inches(11.5), Inches(5))
                box.text_frame.word_wrap = True
                for number, item in enumerate(items):
                    line = (
                        box.text_frame.paragraphs[0]
                        if number == 0
                        else box.text_frame.add_paragraph()
                    )
                    line.text, line.font.size, line.space_after = item, Pt(24), Pt(10)
            case Table(header, rows):
                shape = slide.shapes.add_table(
                    len(rows) + 1,
                    len(header),
                    Inches(0.9),
                    Inches(1.7),
                    Inches(11.5),
                    Inches(0.6 * (len(rows) + 1)),
                )
                for row, texts in zip(shape.table.rows, (header, *rows), strict=True):
                    for cell, text in zip(row.cells, texts, strict=True):
                        cell.text = text
            case Note(text):
                slide.notes_slide.notes_text_frame.text = text
    deck.save(to.target)
    _fix_zip_dates(to.target)


def write_xlsx(blocks: list[Block], to: Destination) -> None:
    """Write one sheet per second-level heading; cells that are numbers become numbers."""
    with xlsxwriter.Workbook(to.target) as book:
        book.set_properties({"title": blocks[0].text, "author": COMPANY, "created": CREATED})
        title = book.add_format({"bold": True, "font_size": 14})
        head = book.add_format(
            {"bold": True, "bg_color": "#D6E4F0", "border": 1, "text_wrap": True}
        )
        plain = book.add_format({"border": 1})
        number = book.add_format({"border": 1, "num_format": "#,##0"})
        fraction = book.add_format({"border": 1, "num_format": "0.0"})
        for block in blocks:
            match block:
                case Heading(1):
                    pass
                case Heading(_, text):
                    sheet = book.add_worksheet(text)
                    sheet.write(0, 0, f"{blocks[0].text}: {text.lower()}", title)
                case Table(header, rows):
                    sheet.freeze_panes(3, 0)
                    for column, texts in enumerate(zip(header, *rows, strict=True)):
                        sheet.set_column(
                            column, column, min(44, max(10, 2 + max(map(len, texts[1:]))))
                        )
                        sheet.write(2, column, texts[0], head)
                        for row, text in enumerate(texts[1:], start=3):
                            if re.fullmatch(r"\d+(\.\d+)?", text):
                                sheet.write_number(
                                    row, column, float(text), fraction if "." in text else number
                                )
                            else:
                                sheet.write_string(row, column, text, plain)


class _Report(BaseDocTemplate):
    """A PDF with a running head, page numbers, bookmarks and, for long texts, contents."""

    def __init__(self, target: Path, title: str, lang: str) -> None:
        super().__init__(
            str(target),
            pagesize=A4,
            leftMargin=25 * mm,
            rightMargin=25 * mm,
            topMargin=26 * mm,
            bottomMargin=24 * mm,
            title=title,
            author=COMPANY,
            lang=lang,
            invariant=1,
        )
        self.heading, self.page_word = title, PAGE_WORD[lang]
        frame = Frame(self.leftMargin, self.bottomMargin, self.width, self.height, id="body")
        self.addPageTemplates(PageTemplate(id="page", frames=[frame], onPage=self._furniture))

    def _furniture(self, canvas: Canvas, _document: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setFont("Body", 8)
        canvas.setFillColor(colors.grey)
        canvas.drawString(self.leftMargin, A4[1] - 16 * mm, f"{COMPANY} · {self.heading}")
        canvas.drawRightString(
            A4[0] - self.rightMargin, 14 * mm, f"{self.page_word} {canvas.getPageNumber()}"
        )
        canvas.restoreState()

    def afterFlowable(self, flowable: object) -> None:  # noqa: N802 (reportlab's name)
        level = getattr(flowable, "outline_level", None)
        if level is None:
            return
        text, key = flowable.getPlainText(), f"h{self.seq.nextf('heading')}"
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(text, key, level, closed=level > 0)
        if level == 0:
            self.notify("TOCEntry", (level, text, self.page, key))


def write_pdf(blocks: list[Block], to: Destination) -> None:
    """Write a text-layer PDF with embedded DejaVu fonts."""
    styles = _pdf_styles()
    story: list[object] = []
    chapters = sum(isinstance(block, Heading) and block.level == 2 for block in blocks)
    for position, block in enumerate(blocks):
        match block:
            case Heading(level, text):
                if (
                    level == 2
                    and chapters >= CONTENTS_FROM_CHAPTERS
                    and _is_first_chapter(blocks, position)
                ):
                    story += _contents(styles, to.lang)
                heading = PdfParagraph(escape(text), styles[f"h{level}"])
                heading.outline_level = max(0, level - 2) if level > 1 else None
                story.append(heading)
            case Paragraph(text) | Note(text):
                story.append(PdfParagraph(escape(text), styles["body"]))
            case Bullets(items):
                story += [PdfParagraph(f"• {escape(item)}", styles["body"]) for item in items]
            case Table(header, rows):
                story += [_pdf_table(header, rows, styles), Spacer(1, 4 * mm)]
    _Report(to.target, blocks[0].text, to.lang).multiBuild(story)


def _is_first_chapter(blocks: list[Block], position: int) -> bool:
    return not any(isinstance(block, Heading) and block.level == 2 for block in blocks[:position])


def _pdf_styles() -> dict[str, ParagraphStyle]:
    body = ParagraphStyle("body", fontName="Body", fontSize=11, leading=16, spaceAfter=7)
    bold = {"fontName": "Bold", "keepWithNext": 1}
    return {
        "body": body,
        "h1": ParagraphStyle("h1", parent=body, fontSize=19, leading=25, spaceAfter=12, **bold),
        "h2": ParagraphStyle("h2", parent=body, fontSize=14, leading=19, spaceBefore=14, **bold),
        "h3": ParagraphStyle(
            "h3", parent=body, fontSize=11.5, leading=16, spaceBefore=5, spaceAfter=4, **bold
        ),
        "cell": ParagraphStyle("cell", parent=body, fontSize=9, leading=12, spaceAfter=0),
        "head": ParagraphStyle(
            "head", parent=body, fontName="Bold", fontSize=9, leading=12, spaceAfter=0
        ),
    }


def _pdf_table(
    header: tuple[str, ...], rows: tuple[tuple[str, ...], ...], styles: dict[str, ParagraphStyle]
) -> LongTable:
    cells = [[PdfParagraph(escape(text), styles["head"]) for text in header]]
    cells += [[PdfParagraph(escape(text), styles["cell"]) for text in row] for row in rows]
    widths = [
        max(8, *(min(40, len(row[column])) for row in (header, *rows)))
        for column in range(len(header))
    ]
    table = LongTable(
        cells, colWidths=[160 * mm * width / sum(widths) for width in widths], repeatRows=1
    )
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
                ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    return table


def _contents(styles: dict[str, ParagraphStyle], lang: str) -> list[object]:
    contents = TableOfContents(dotsMinLevel=0)
    line = ParagraphStyle("contents", parent=styles["body"], fontSize=10, leading=14, spaceAfter=2)
    contents.levelStyles = [line]
    return [PdfParagraph(CONTENTS_TITLE[lang], styles["h2"]), contents, PageBreak()]


def write_scan(blocks: list[Block], to: Destination) -> None:
    """Write a one-page PDF that is only a picture of text: tilted, noisy, no text layer."""
    serif = to.fonts / "DejaVuSerif.ttf"
    size, heading = ImageFont.truetype(serif, 25), ImageFont.truetype(serif, 34)
    page = Image.new("L", (1240, 1754), 250)
    draw, y = ImageDraw.Draw(page), 150
    for block in blocks:
        font, columns = (heading, 40) if isinstance(block, Heading) else (size, 62)
        for line in textwrap.wrap(
            block.text, columns, replace_whitespace=False, drop_whitespace=False
        ):
            draw.text((150, y), line.strip(), font=font, fill=45)
            y += font.size + 17
        y += 26
    page = page.rotate(0.7, resample=Image.Resampling.BICUBIC, fillcolor=250).filter(
        ImageFilter.GaussianBlur(0.6)
    )
    noise = random.Random(87)
    pixels = page.load()
    for _ in range(9000):
        pixels[noise.randrange(page.width), noise.randrange(page.height)] = noise.randrange(
            120, 230
        )
    jpeg = io.BytesIO()
    page.save(jpeg, "JPEG", quality=55)
    _picture_pdf(jpeg, to.target)


def _picture_pdf(jpeg: io.BytesIO, target: Path) -> None:
    jpeg.seek(0)
    canvas = Canvas(str(target), pagesize=A4, invariant=1)
    canvas.drawImage(ImageReader(jpeg), 0, 0, *A4)
    canvas.showPage()
    canvas.save()


def _fix_zip_dates(path: Path) -> None:
    """Rewrite an Office file with fixed entry dates, so that equal content gives equal bytes."""
    with zipfile.ZipFile(path) as old:
        entries = [(item.filename, old.read(item)) for item in old.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in entries:
            new.writestr(
                zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED
            )


WRITERS = {
    "docx": (write_docx, ".docx"),
    "pdf": (write_pdf, ".pdf"),
    "pptx": (write_pptx, ".pptx"),
    "scan": (write_scan, ".pdf"),
    "xlsx": (write_xlsx, ".xlsx"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fonts",
        type=Path,
        default=Path("/usr/share/fonts/truetype/dejavu"),
        help="folder of DejaVu",
    )
    parser.add_argument("--only", default="", help="make only the sources whose name contains this")
    arguments = parser.parse_args()
    pdfmetrics.registerFont(TTFont("Body", arguments.fonts / "DejaVuSans.ttf"))
    pdfmetrics.registerFont(TTFont("Bold", arguments.fonts / "DejaVuSans-Bold.ttf"))
    for source in sorted((HERE / "sources").glob("*/*.md")):
        if arguments.only not in source.name:
            continue
        stem, kind = source.name.removesuffix(".md").rsplit(".", 1)
        write, suffix = WRITERS[kind]
        target = HERE / "documents" / source.parent.name / f"{stem}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        write(read_blocks(source), Destination(target, source.parent.name, arguments.fonts))
        print(f"{target.relative_to(HERE)}  {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
