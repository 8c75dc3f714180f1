"""A text layer is told from its look-alikes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parsers.text_quality import is_garbage

RUSSIAN = (
    "Настоящий порядок устанавливает процедуру согласования подключения значимого объекта к сети "
    "связи общего пользования, сроки рассмотрения заявлений и ответственность сторон."
)
ENGLISH = (
    "This policy describes how requests for annual leave are filed, who approves them, and what "
    "happens when two colleagues of one team ask for the same weeks of the summer."
)
LOWER = "абвгдежзийклмнопрстуфхцчшщъыьэюя"


def shifted(text: str, by: int) -> str:
    return text.lower().translate(str.maketrans(LOWER, LOWER[by:] + LOWER[:by]))


@pytest.mark.parametrize(
    "text",
    [
        RUSSIAN,
        ENGLISH,
        f"{RUSSIAN[:60]} {ENGLISH[:60]}",
        "Ознакомлен: ____",
        "№ 44-ФЗ, ГОСТ 8736-2014, DN50, A4-B7/12",
        "| Итого | 1 500,00 | 12 % |\n" * 10,
        "Die Übergänge für Fußgänger wären größer als früher gewünscht.",
        "L'été où la façade a été rénovée, le café a rouvert à Noël.",
        "Η πολιτική αδειών ισχύει για όλους τους υπαλλήλους από τον Ιανουάριο",
        "本規則は会社のすべての従業員に適用されるものとする。休暇の申請は十四日前に行う。",
        "\uf0b7 первый пункт\n\uf0b7 второй пункт\n\uf0b7 третий пункт",
        "max_text_chars max_blocks parser_wall_s parser_cpu_s chunk_tokens a[0] and b[1]",
        "",
    ],
)
def test_text_is_believed(text: str) -> None:
    assert not is_garbage(text)


@pytest.mark.parametrize(
    "text",
    [
        "(cid:12)(cid:44)(cid:7) " * 4,
        "Отч\ufffd\ufffd \ufffd\ufffd \ufffd\ufffd\ufffd год 2026, итоги",
        "\ue001\ue002\ue003 \ue004\ue005 " * 5,
        RUSSIAN.encode("cp1251").decode("latin-1"),
        RUSSIAN.encode("utf-8").decode("cp1252", "replace"),
        RUSSIAN.encode("koi8-r").decode("cp1251"),
        "GZklhysbc Dh^_dk hkgh\\u\\Z_lky gZ Dhgklblmpbb Jhkkbckdhc N_^_jZpbb",
        "Пpикaз oб oтпycкe coтpyдникoв нa втopoe пoлyгoдиe yтвepждён",
    ],
)
def test_what_no_page_shows_is_not(text: str) -> None:
    assert is_garbage(text)


@given(st.integers(1, 31))
def test_a_cipher_of_letters_is_not_believed(by: int) -> None:
    assert is_garbage(shifted(RUSSIAN, by))
