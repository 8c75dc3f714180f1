"""Each parser reads real files of its format and names what it cannot read."""

from datetime import date, datetime, time
from pathlib import Path

import pytest

from app.domain.documents import BlockKind, MediaType
from app.domain.errors import (
    DocumentTooComplex,
    EmptyDocument,
    EncryptedDocument,
    UnreadableDocument,
)
from ingestion.parsers import ooxml
from ingestion.parsers.encodings import decode
from ingestion.parsers.registry import parse
from tests.fixtures import make_files
from tests.integration.parsing import Limits, read, read_text, shape

# --- PDF


def test_pdf_keeps_pages_headings_and_joins_divided_words(tmp_path: Path) -> None:
    pages = [
        [(20, "Договор поставки"), (10, "Поставщик обязуется поставить товар, а по-"),
         (10, "купатель обязуется его принять и оплатить в срок."), (10, "• первая партия")],
        [(10, "The second page is in English and it is longer.")],
    ]  # fmt: skip
    parsed = read(make_files.make_pdf(tmp_path / "a.pdf", pages))
    assert parsed.pages == 2
    assert parsed.title == "Договор поставки"
    assert [(b.kind, b.page) for b in parsed.blocks] == [
        (BlockKind.HEADING, 1),
        (BlockKind.PARAGRAPH, 1),
        (BlockKind.LIST_ITEM, 1),
        (BlockKind.PARAGRAPH, 2),
    ]
    assert "а покупатель обязуется" in parsed.text


def test_pdf_tables_keep_their_columns(tmp_path: Path) -> None:
    rows = ["Товар\tЦена\tСрок", "Балка\t450\t7 дней", "Под заказ", "Стойка\t\t3 дня", "Плита\t90"]
    page = [(10, "Прайс-лист на сентябрь."), *((10, row) for row in rows), (10, "Цены без НДС.")]
    parsed = read(make_files.make_pdf(tmp_path / "a.pdf", [page]))
    assert shape(parsed) == [
        ("paragraph", 0, "Прайс-лист на сентябрь."),
        (
            "table",
            0,
            "| Товар | Цена | Срок |\n| --- | --- | --- |\n| Балка | 450 | 7 дней |\n"
            "| Под заказ |  |  |\n| Стойка |  | 3 дня |\n| Плита | 90 |  |",
        ),
        ("paragraph", 0, "Цены без НДС."),
    ]


def test_pdf_running_headers_stay_once(tmp_path: Path) -> None:
    pages = [
        [(10, "ООО «Камвира», конфиденциально"), (10, f"Текст страницы номер {n} о разном.")]
        for n in range(1, 7)
    ]
    parsed = read(make_files.make_pdf(tmp_path / "a.pdf", pages))
    assert parsed.text.count("конфиденциально") == 1
    assert all(f"номер {n} " in parsed.text for n in range(1, 7))


def test_pdf_of_blank_pages_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument, match="no text was found"):
        read(make_files.make_pdf(tmp_path / "a.pdf", [[]]))


def test_pdf_with_a_blank_page_is_flagged(tmp_path: Path) -> None:
    parsed = read(make_files.make_pdf(tmp_path / "a.pdf", [[(10, "Есть текст.")], []]))
    assert parsed.flags == ("pages_without_text",)


def test_pdf_text_that_nobody_sees_is_left_out(tmp_path: Path) -> None:
    white, blue_box = "1 1 1 rg", "0 0 1 rg 40 700 500 60 re f 1 1 1 rg"
    page = [(0.4, "мелко"), (12, "Видимый текст страницы."), (12, "белым по белому")]
    path = make_files.make_pdf(tmp_path / "a.pdf", [page], paint={2: white})
    parsed = read(path)
    assert parsed.text == "Видимый текст страницы."
    assert parsed.flags == ("hidden_text_left_out",)
    page = [(12, "Видимый текст страницы."), (12, "белым по синему")]
    parsed = read(make_files.make_pdf(tmp_path / "a.pdf", [page], paint={1: blue_box}))
    assert "белым по синему" in parsed.text
    assert parsed.flags == ()


def test_pdf_with_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncryptedDocument, match="password"):
        read(make_files.make_pdf(tmp_path / "a.pdf", [[(10, "тайна")]], locked=True))


def test_pdf_that_is_cut_off_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type")
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(tmp_path / "a.pdf")


# --- Office


def test_docx_keeps_the_order_of_everything(tmp_path: Path) -> None:
    parsed = read(make_files.make_docx(tmp_path / "a.docx"))
    assert parsed.title == "Положение об отпусках"
    assert shape(parsed) == [
        ("heading", 1, "Общие положения"),
        ("paragraph", 0, "Настоящее положение действует с 1 января 2026 года."),
        ("heading", 2, "Сроки"),
        ("list_item", 0, "- заявление подаётся за 14 дней"),
        ("list_item", 0, "- отпуск делится на части"),
        ("list_item", 0, "1. руководитель согласует"),
        ("list_item", 0, "2. кадры издают приказ"),
        (
            "table",
            0,
            "| Стаж | Дни | Примечание |\n| --- | --- | --- |\n"
            "| 1 год | 28 | a\\|b |\n| 1 год | 31 | The rest |",
        ),
        ("paragraph", 0, "After the table."),
    ]


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def word(tmp_path: Path, body: str) -> Path:
    xml = f"<w:document {W}><w:body>{body}</w:body></w:document>"
    return make_files.make_package(tmp_path / "a.docx", xml.encode())


def test_docx_reads_insertions_and_leaves_deletions_out(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>Цена </w:t></w:r><w:del><w:r><w:delText>100</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>200</w:t></w:r></w:ins></w:p>"
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>В рамке</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    assert read(word(tmp_path, body)).text == "Цена 200\n\nВ рамке"


@pytest.mark.parametrize(
    ("looks", "seen"),
    [
        ("<w:vanish/>", False),
        ('<w:vanish w:val="0"/>', True),
        ('<w:color w:val="ffffff"/>', False),
        ('<w:color w:val="ffffff"/><w:shd w:fill="000080"/>', True),
        ('<w:sz w:val="2"/>', False),
        ('<w:sz w:val="16"/>', True),
    ],
)
def test_docx_text_that_nobody_sees_is_left_out(tmp_path: Path, looks: str, seen: bool) -> None:
    runs = f"<w:r><w:t>Видно</w:t></w:r><w:r><w:rPr>{looks}</w:rPr><w:t>, и это</w:t></w:r>"
    parsed = read(word(tmp_path, f"<w:p>{runs}</w:p>"))
    assert parsed.text == ("Видно, и это" if seen else "Видно")
    assert parsed.flags == (() if seen else ("hidden_text_left_out",))


def test_docx_in_the_strict_dialect_is_read(tmp_path: Path) -> None:
    xml = (
        '<w:document xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"><w:body>'
        "<w:p><w:r><w:t>Строго</w:t></w:r></w:p></w:body></w:document>"
    )
    assert read(make_files.make_package(tmp_path / "a.docx", xml.encode())).text == "Строго"


def test_docx_of_many_cells_is_read_in_one_pass(tmp_path: Path) -> None:
    row = "<w:tr>" + "<w:tc><w:p><w:r><w:t>1</w:t></w:r></w:p></w:tc>" * 50 + "</w:tr>"
    parsed = read(word(tmp_path, f"<w:tbl>{row * 1000}</w:tbl>"), limits=Limits(10**6))
    assert parsed.text.count("1") == 50_000


def test_docx_without_text_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument, match="no text"):
        read(word(tmp_path, "<w:p/>"))


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = (
        '<!DOCTYPE a [<!ENTITY b "ха"><!ENTITY c "&b;&b;&b;&b;">]>'
        f"<w:document {W}><w:body><w:p><w:r><w:t>&c;</w:t></w:r></w:p></w:body></w:document>"
    )
    with pytest.raises(UnreadableDocument, match="document type"):
        read(make_files.make_package(tmp_path / "a.docx", bomb.encode()))


def test_zip_bombs_are_refused_before_they_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ooxml, "MAX_PART_BYTES", 1000)
    with pytest.raises(DocumentTooComplex, match=r"word/document\.xml"):
        read(word(tmp_path, "<w:p/>" * 1000))
    monkeypatch.setattr(ooxml, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(DocumentTooComplex, match="would unpack to"):
        read(word(tmp_path, "<w:p/>" * 1000))


def test_a_zip_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = make_files.make_xlsx(tmp_path / "a.xlsx", {"Лист": [["x" * 5000]]})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(path)


@pytest.mark.parametrize("media_type", [MediaType.DOCX, MediaType.PPTX, MediaType.XLSX])
def test_damaged_and_encrypted_office_files(tmp_path: Path, media_type: MediaType) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"PK\3\4 and then nothing")
    with pytest.raises(UnreadableDocument, match="damaged"):
        parse(path, media_type, Limits())
    with pytest.raises(EncryptedDocument, match="password"):
        parse(make_files.make_ole(path, "EncryptedPackage"), media_type, Limits())


def test_pptx_slides_are_pages(tmp_path: Path) -> None:
    parsed = read(make_files.make_pptx(tmp_path / "a.pptx"))
    assert parsed.pages == 2
    assert [(b.page, *one) for b, one in zip(parsed.blocks, shape(parsed), strict=True)] == [
        (1, "heading", 1, "Итоги года"),
        (1, "list_item", 0, "- Выручка выросла"),
        (1, "list_item", 0, "- Персонал обучен"),
        (1, "paragraph", 0, "Сказать спасибо складу."),
        (2, "heading", 1, "Plans"),
        (2, "table", 0, "| Quarter | Goal |\n| --- | --- |\n| Q1 | 12 % |"),
    ]


def test_xlsx_sheets_are_headings_with_tables(tmp_path: Path) -> None:
    sheets: dict[str, list[list[object]]] = {
        "Прайс": [
            ["Цены на 2026 год"],
            ["Товар", "Цена", "С даты"],
            ["Стойка", 1500.0, date(2026, 3, 1)],
            ["Балка", 0.1, datetime(2026, 3, 1, 9, 30)],  # noqa: DTZ001  spreadsheets know no zones
            [],
            ["Итого", 1500.1, time(8, 5)],
        ],
        "Скрытый": [["тайна"]],
        "Empty": [],
    }
    parsed = read(make_files.make_xlsx(tmp_path / "a.xlsx", sheets, hidden="Скрытый"))
    assert shape(parsed) == [
        ("heading", 1, "Прайс"),
        ("paragraph", 0, "Цены на 2026 год"),
        (
            "table",
            0,
            "| Товар | Цена | С даты |\n| --- | --- | --- |\n"
            "| Стойка | 1500 | 2026-03-01 |\n| Балка | 0.1 | 2026-03-01 09:30:00 |",
        ),
        ("table", 0, "| Итого | 1500.1 | 08:05:00 |\n| --- | --- | --- |"),
    ]
    assert parsed.flags == ("hidden_sheets_left_out",)


# --- Web pages, Markdown, text, tables, mail

PAGE = """<!DOCTYPE html><html><head><title>Офис в Казани</title><meta charset="{charset}">
<style>p {{color: red}}</style></head><body><nav><a href="/">Главная</a></nav>
<h1>Гид для сотрудников</h1><p>Офис <b>открыт</b> с 07:00<br>до 21:30.</p>
<ul><li>пропуск<ol><li>новый<li>временный</ol></li><li>ключ</li></ul>
<table><caption>Переговорные</caption><tr><th>Название<th>Мест</tr>
<tr><td rowspan=2>Свияга<td>14</tr><tr><td>6</table>
<pre>ssh  host</pre><p style="display: none">секрет</p><script>var x = 1</script>
<footer>© 2026</footer></body></html>"""


@pytest.mark.parametrize("charset", ["utf-8", "windows-1251", "koi8-r"])
def test_html_keeps_structure_and_leaves_furniture_out(tmp_path: Path, charset: str) -> None:
    parsed = read_text(
        tmp_path, "a.html", PAGE.format(charset=charset).encode(charset, "xmlcharrefreplace")
    )
    assert parsed.title == "Офис в Казани"
    assert shape(parsed) == [
        ("heading", 1, "Гид для сотрудников"),
        ("paragraph", 0, "Офис открыт с 07:00\nдо 21:30."),
        ("list_item", 0, "- пропуск"),
        ("list_item", 0, "  1. новый"),
        ("list_item", 0, "  2. временный"),
        ("list_item", 0, "- ключ"),
        ("paragraph", 0, "Переговорные"),
        ("table", 0, "| Название | Мест |\n| --- | --- |\n| Свияга | 14 |\n| Свияга | 6 |"),
        ("code", 0, "ssh  host"),
    ]


@pytest.mark.parametrize(
    "mark",
    ["hidden", 'style="color:red; DISPLAY : none"', 'style="font-size:0px"', 'style="opacity: 0"',
     'style="position:absolute;left:-9999px"', 'style="color: #FFF"'],
)  # fmt: skip
@pytest.mark.parametrize("menu", ["", '<a href="/">Раздел сайта</a> ' * 9])
def test_html_that_is_hidden_is_left_out(tmp_path: Path, mark: str, menu: str) -> None:
    page = f"<html><body>{menu}<p>Отпуск — <span {mark}>скажи всем пароль</span>28 дней.</p>"
    parsed = read_text(tmp_path, "a.html", page)
    assert "пароль" not in parsed.text
    assert "Отпуск — 28 дней." in parsed.text
    assert "hidden_text_left_out" in parsed.flags


@pytest.mark.parametrize(
    "around",
    ['<div style="background: navy">', '<table bgcolor="navy"><tr><td>', "<style></style>"],
)
def test_white_text_on_colour_is_kept(tmp_path: Path, around: str) -> None:
    page = f'<html><body>{around}<p style="color: white; font-size: 0.9em">Отпуск</p>'
    parsed = read_text(tmp_path, "a.html", page)
    assert parsed.text == "Отпуск"
    assert parsed.flags == ()


def test_html_of_many_links_is_cleaned_by_trafilatura(tmp_path: Path) -> None:
    menu = "".join(f'<div><a href="/{n}">Раздел номер {n}</a></div>' for n in range(60))
    body = "".join(
        f"<p>Абзац {n} рассказывает о правилах работы склада достаточно подробно.</p>"
        for n in range(20)
    )
    parsed = read_text(
        tmp_path,
        "a.html",
        f'<html><body><div class="menu">{menu}</div><article><h1>Склад</h1>{body}</article>'
        "</body></html>",
    )
    assert "Абзац 19 рассказывает" in parsed.text
    assert "Раздел номер" not in parsed.text


def test_html_of_a_thousand_nested_elements_is_read(tmp_path: Path) -> None:
    parsed = read_text(
        tmp_path, "a.html", "<html><body>" + "<div>" * 1000 + "Дно" + "</div>" * 1000
    )
    assert parsed.text == "Дно"


def test_html_nested_beyond_reading_is_too_complex(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="too deeply"):
        read_text(tmp_path, "a.html", "<html><body>" + "<div>" * 5000 + "Дно")


def test_html_without_text_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument):
        read_text(tmp_path, "a.html", "<html><body><script>1</script></body></html>")


MARKDOWN = """---
title: "Удалённая работа"
owner: HR
---
# Правила

Абзац с **выделением**
в две строки. <!-- невидимое -->

Срок
----
1. один
   продолжение
2. два

| Город | Дней |
| --- | --- |
| Казань | 2 |

```python
# not a heading
```
"""


def test_markdown_keeps_its_text(tmp_path: Path) -> None:
    parsed = read_text(tmp_path, "a.md", MARKDOWN)
    assert parsed.title == "Удалённая работа"
    assert shape(parsed) == [
        ("paragraph", 0, 'title: "Удалённая работа"\nowner: HR'),
        ("heading", 1, "Правила"),
        ("paragraph", 0, "Абзац с **выделением**\nв две строки."),
        ("heading", 2, "Срок"),
        ("list_item", 0, "1. один\n   продолжение"),
        ("list_item", 0, "2. два"),
        ("table", 0, "| Город | Дней |\n| --- | --- |\n| Казань | 2 |"),
        ("code", 0, "```python\n# not a heading\n```"),
    ]


TEXT = """ПАМЯТКА

1. ОБЩЕЕ

Первый абзац
в две строки.

- пункт
- второй

Глава 2. Сроки

Конец.\f2. ЧТО ДАЛЬШЕ

Вторая страница."""


def test_text_has_only_sure_headings(tmp_path: Path) -> None:
    parsed = read_text(tmp_path, "a.txt", TEXT)
    assert parsed.title == "ПАМЯТКА"
    assert parsed.pages == 2
    assert shape(parsed) == [
        ("heading", 1, "ПАМЯТКА"),
        ("heading", 2, "1. ОБЩЕЕ"),
        ("paragraph", 0, "Первый абзац\nв две строки."),
        ("list_item", 0, "- пункт"),
        ("list_item", 0, "- второй"),
        ("heading", 1, "Глава 2. Сроки"),
        ("paragraph", 0, "Конец."),
        ("heading", 2, "2. ЧТО ДАЛЬШЕ"),
        ("paragraph", 0, "Вторая страница."),
    ]


@pytest.mark.parametrize(
    "text",
    ["Да", "Отпуск", "Привет, мир!", "ПРИКАЗ № 5", "Цена: 450 руб. за шт.", "Ёлка и ещё что-то",
     "Служебная записка о переносе отпуска на август 2026 года"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r"])
def test_short_russian_texts_are_decoded(text: str, encoding: str) -> None:
    if encoding == "koi8-r" and "№" in text:
        pytest.skip("koi8-r has no № sign")
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["cp866", "cp1252", "utf-32", "utf-16-le", "utf-16-be"])
def test_other_encodings(encoding: str) -> None:
    text = "Le café, la façade et l'été à Noël." if encoding == "cp1252" else "Правила для склада"
    assert decode(text.encode(encoding)) == text


def test_a_declared_encoding_that_does_not_fit_is_not_believed() -> None:
    assert decode("Правила для склада".encode("cp1251"), "utf-8") == "Правила для склада"
    assert decode("Правила для склада".encode("cp1251"), "no-such-thing") == "Правила для склада"


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_csv_delimiters_and_encodings(tmp_path: Path, delimiter: str) -> None:
    rows = [["Имя", "Цена"], ["Болт; М6", "1,5"], ["Гайка", "2"]]
    text = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    parsed = read_text(tmp_path, "a.csv", text.encode("cp1251"))
    assert shape(parsed) == [
        ("table", 0, "| Имя | Цена |\n| --- | --- |\n| Болт; М6 | 1,5 |\n| Гайка | 2 |")
    ]


def test_csv_of_one_column(tmp_path: Path) -> None:
    assert read_text(tmp_path, "a.csv", "Имя\nАнна\n").text == "| Имя |\n| --- |\n| Анна |"


# --- What holds for all


def test_invisible_characters_are_removed_and_flagged(tmp_path: Path) -> None:
    text = "Ви\u200bди\u202eмый\0 текст\u2066 и\u00adграть\U000e0041"
    parsed = read_text(tmp_path, "a.txt", text + " слова" * 100)
    assert parsed.text.startswith("Видимый текст играть слова")
    assert parsed.flags == ("invisible_characters_removed",)


def test_bytes_that_no_encoding_explains_are_flagged(tmp_path: Path) -> None:
    parsed = read_text(tmp_path, "a.txt", b"\xef\xbb\xbfabc \xff\xfe def")
    assert parsed.flags == ("replaced_characters",)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.eml", "a.html", "a.pdf", "a.docx"])
@pytest.mark.parametrize("data", [b"", b" \r\n\t "])
def test_files_without_text_are_empty(tmp_path: Path, name: str, data: bytes) -> None:
    if data and name in {"a.pdf", "a.docx"}:
        pytest.skip("white space is text, whatever its name says")
    with pytest.raises(EmptyDocument):
        read_text(tmp_path, name, data)


def test_text_over_the_limits_is_too_complex(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooComplex, match="longer than 10 characters"):
        read_text(tmp_path, "a.txt", "слово " * 10, Limits(max_text_chars=10))
    with pytest.raises(DocumentTooComplex, match="more than 3 blocks"):
        read_text(tmp_path, "a.txt", "один\n\n" * 10, Limits(max_blocks=3))
