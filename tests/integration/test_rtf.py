"""RTF as Word, LibreOffice and older programs write it."""

from pathlib import Path

import pytest

from app.domain.errors import EmptyDocument, UnreadableDocument
from ingestion.parsers.rtf_compression import decompress_rtf
from tests.integration.parsing import read_text, shape

HEAD = r"{\rtf1\ansi\ansicpg1251\uc1\deff0{\fonttbl{\f0\fcharset204 Arial;}{\f1\fcharset0 Times;}"
HEAD += r"{\f2\fcharset2 Symbol;}}{\stylesheet{\ql Normal;}{\s1\outlinelevel0 heading 1;}"
HEAD += r"{\*\cs10 Default;}}{\info{\title Отпуска}{\author Анна}}"


def rtf(body: str) -> bytes:
    """Escape Cyrillic letters as bytes of cp1251, as most programs do."""
    text = HEAD + body + "}"
    return "".join(c if c.isascii() else f"\\'{c.encode('cp1251').hex()}" for c in text).encode()


def test_rtf_keeps_the_order_of_everything(tmp_path: Path) -> None:
    row = r"\trowd{merge}\cellx1000\cellx2000\pard\intbl {a}\cell {b}\cell\row"
    body = (
        r"{\header колонтитул\par}\pard\plain\s1\outlinelevel0 Общие положения\par"
        r"\pard\plain Действует с 1\~января{\footnote\pard С первого числа.}.\line Для всех.\par"
        r"{\v секрет}{\deleted старое}\pard{\listtext\f2\'b7\tab}\ilvl0\ls1 пропуск\par"
        r"{\listtext 1.\tab}\pard\ilvl1\ls2 лично\par"
        + row.replace("{merge}", r"\clvmgf").replace("{a}", "Стаж").replace("{b}", "Дни")
        + row.replace("{merge}", r"").replace("{a}", "1 год").replace("{b}", "28")
        + row.replace("{merge}", r"\clvmrg").replace("{a}", "").replace("{b}", "31")
        + r"\pard\par{\*\generator Word;}{\pict\pngblip 89504e47}После {\field{\*\fldinst PAGE}"
        r"{\fldrslt 7}} таблицы.\par"
    )
    parsed = read_text(tmp_path, "a.doc", rtf(body))
    assert parsed.title == "Отпуска"
    assert parsed.flags == ("hidden_text_left_out",)
    assert shape(parsed) == [
        ("heading", 1, "Общие положения"),
        ("paragraph", 0, "Действует с 1 января[1].\nДля всех."),
        ("list_item", 0, "- пропуск"),
        ("list_item", 0, "  1. лично"),
        ("table", 0, "| Стаж | Дни |\n| --- | --- |\n| 1 год | 28 |\n| 1 год | 31 |"),
        ("paragraph", 0, "После 7 таблицы."),
        ("paragraph", 0, "[1] С первого числа."),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\u1050?\u1086?\u1090?", "Кот"),
        (r"{\uc2\u1050\'ca\'ca}{\uc0\u1086}\u1090\'f2", "Кот"),
        (r"\f0\'ca\'ee\'f2", "Кот"),
        (r"\u-10179?\u-8704? fun", "😀 fun"),
        (r"\{a\}\\b\emdash\endash\ldblquote c\rdblquote", "{a}\\b—–“c”"),
        (r"a\bin3 }}}b", "ab"),
    ],
)
def test_rtf_characters(tmp_path: Path, written: str, meant: str) -> None:
    assert read_text(tmp_path, "a.rtf", HEAD + written + r"\par}").text == meant


def test_rtf_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument, match="no text"):
        read_text(tmp_path, "a.rtf", HEAD + "}")
    with pytest.raises(UnreadableDocument, match="nests"):
        read_text(tmp_path, "a.rtf", r"{\rtf1" + "{" * 5000)


def test_a_cut_off_rtf_gives_what_is_there(tmp_path: Path) -> None:
    assert read_text(tmp_path, "a.rtf", rtf(r"Первый абзац.\par Второй")[:-1]).text.endswith("ой")


def test_outlooks_compression_is_undone() -> None:
    # The example of [MS-OXRTFCP], section 3.1.1.
    data = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c64"
        "7d0a800fa0"
    )
    assert decompress_rtf(data) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    with pytest.raises(UnreadableDocument):
        decompress_rtf(b"LZFu")
