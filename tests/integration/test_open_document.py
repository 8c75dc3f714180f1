"""OpenDocument texts, presentations and sheets keep their structure."""

from pathlib import Path

import pytest

from app.domain.errors import EmptyDocument, EncryptedDocument, UnreadableDocument
from tests.fixtures.make_files import make_zip
from tests.fixtures.make_open_document import make_open_document
from tests.integration.parsing import read, shape

STYLES = """
<style:style style:name="P1" style:family="paragraph" style:parent-style-name="Heading_20_2"/>
<style:style style:name="P2" style:family="paragraph"
  style:parent-style-name="Preformatted_20_Text"/>
<style:style style:name="T1" style:family="text"><style:text-properties text:display="none"/>
</style:style>
<text:list-style style:name="L1">
  <text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>
  <text:list-level-style-number text:level="2" style:num-format="a" style:num-suffix=")"/>
</text:list-style>
<text:list-style style:name="L2">
  <text:list-level-style-bullet text:level="1" text:bullet-char="•"/>
</text:list-style>
"""


def item(text: str, inner: str = "") -> str:
    return f"<text:list-item><text:p>{text}</text:p>{inner}</text:list-item>"


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def text_list(style: str, *items: str) -> str:
    return f'<text:list text:style-name="{style}">{"".join(items)}</text:list>'


TABLE = (
    "<table:table><table:table-header-rows><table:table-row>"
    + cell("Стаж") + cell("Дни") + cell("Примечание", 'table:number-columns-repeated="1"')
    + "</table:table-row></table:table-header-rows><table:table-row>"
    + cell("1 год", 'table:number-rows-spanned="2"') + cell("28") + cell("a|b")
    + "</table:table-row><table:table-row><table:covered-table-cell/>"
    + cell("31") + cell("The rest") + "</table:table-row></table:table>"
)  # fmt: skip


def test_odt_keeps_the_order_of_everything(tmp_path: Path) -> None:
    body = (
        "<office:text><text:tracked-changes><text:changed-region><text:deletion>"
        "<text:p>удалено</text:p></text:deletion></text:changed-region></text:tracked-changes>"
        '<text:h text:outline-level="1">Общие положения</text:h>'
        "<text:p>Положение<text:s/>действует<text:note><text:note-citation>1</text:note-citation>"
        "<text:note-body><text:p>С 1 января.</text:p></text:note-body></text:note>"
        '<text:span text:style-name="T1">секрет</text:span>.<text:line-break/>Для всех.</text:p>'
        '<text:p text:style-name="P1">Сроки</text:p>'
        + text_list("L1", item("подать", text_list("L1", item("лично"), item("почтой"))))
        + '<text:p text:style-name="P2">ssh  host</text:p>'
        + text_list("L2", item("пропуск"))
        + f"<text:section>{TABLE}</text:section>"
        '<text:p>Рядом <draw:frame><draw:text-box><text:p>врезка</text:p></draw:text-box>'
        "</draw:frame>с врезкой.</text:p></office:text>"
    )  # fmt: skip
    parsed = read(make_open_document(tmp_path / "a.odt", body, STYLES, "Отпуска"))
    assert parsed.title == "Отпуска"
    assert parsed.pages is None
    assert parsed.flags == ("hidden_text_left_out",)
    assert shape(parsed) == [
        ("heading", 1, "Общие положения"),
        ("paragraph", 0, "Положение действует[1].\nДля всех."),
        ("heading", 2, "Сроки"),
        ("list_item", 0, "1. подать"),
        ("list_item", 0, "  a) лично"),
        ("list_item", 0, "  b) почтой"),
        ("code", 0, "ssh  host"),
        ("list_item", 0, "- пропуск"),
        (
            "table",
            0,
            "| Стаж | Дни | Примечание |\n| --- | --- | --- |\n"
            "| 1 год | 28 | a\\|b |\n| 1 год | 31 | The rest |",
        ),
        ("paragraph", 0, "Рядом с врезкой."),
        ("paragraph", 0, "врезка"),
        ("paragraph", 0, "[1] С 1 января."),
    ]


def test_odp_slides_are_pages(tmp_path: Path) -> None:
    body = (
        '<office:presentation><draw:page draw:name="1"><draw:frame presentation:class="outline">'
        f"<draw:text-box>{text_list('L2', item('Выручка выросла'))}</draw:text-box></draw:frame>"
        '<draw:frame presentation:class="title"><draw:text-box><text:p>Итоги года</text:p>'
        '</draw:text-box></draw:frame><draw:frame presentation:class="page-number"><draw:text-box>'
        "<text:p>7</text:p></draw:text-box></draw:frame><presentation:notes><draw:frame>"
        "<draw:text-box><text:p>Сказать спасибо.</text:p></draw:text-box></draw:frame>"
        f"</presentation:notes></draw:page><draw:page><draw:frame>{TABLE}</draw:frame></draw:page>"
        "</office:presentation>"
    )
    parsed = read(make_open_document(tmp_path / "a.odp", body, STYLES))
    assert parsed.pages == 2
    assert [(b.page, *one) for b, one in zip(parsed.blocks, shape(parsed), strict=True)][:3] == [
        (1, "heading", 1, "Итоги года"),
        (1, "list_item", 0, "- Выручка выросла"),
        (1, "paragraph", 0, "Сказать спасибо."),
    ]
    assert parsed.blocks[-1].page == 2
    assert "| Стаж | Дни | Примечание |" in parsed.text


def test_ods_sheets_are_headings_with_tables(tmp_path: Path) -> None:
    def value(kind: str, attribute: str, shown: str) -> str:
        return cell(shown, f'office:value-type="{kind}" office:{attribute}')

    rows = [
        cell("Товар", 'office:value-type="string"') + cell("Цена", 'office:value-type="string"')
        + cell("С даты", 'office:value-type="string"'),
        cell("Балка", 'office:value-type="string"') + value("float", 'value="1500.5"', "1 500,50")
        + value("date", 'date-value="2026-03-01"', "1 мар"),
    ]  # fmt: skip
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    body = f'<office:spreadsheet><table:table table:name="Прайс">{table}</table:table>'
    parsed = read(make_open_document(tmp_path / "a.ods", body + "</office:spreadsheet>"))
    assert shape(parsed) == [
        ("heading", 1, "Прайс"),
        (
            "table",
            0,
            "| Товар | Цена | С даты |\n| --- | --- | --- |\n| Балка | 1500.5 | 2026-03-01 |",
        ),
    ]


def test_open_documents_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(EncryptedDocument, match="password"):
        read(make_open_document(tmp_path / "a.odt", "<office:text/>", locked=True))
    with pytest.raises(EmptyDocument, match="no text"):
        read(make_open_document(tmp_path / "a.odt", "<office:text/>"))
    path = make_open_document(tmp_path / "a.odt", "<office:text/>")
    data = path.read_bytes()
    at = data.find(b"content.xml") + len(b"content.xml")
    path.write_bytes(data[:at] + b"\xff" * 9 + data[at + 9 :])
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(path)
    path.write_bytes(data[:50] + data[60:])  # its mimetype is damaged, its content is not
    with pytest.raises(EmptyDocument):
        read(path)
    kind = b"application/vnd.oasis.opendocument.text"
    with pytest.raises(UnreadableDocument, match="no document body"):
        read(make_zip(tmp_path / "a.odt", {"mimetype": kind, "content.xml": b"<a/>"}))
