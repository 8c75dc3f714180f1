"""Nothing that a client would fetch or follow is left in generated text, and nothing else goes."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.unlinking import unlinked

EVIL = "evil.example"
ORDERS = (
    f"![x](https://{EVIL}/x.png)",
    f"![x](//{EVIL}/x.png 'title')",
    f"![x][ref]\n\n[ref]: https://{EVIL}/x.png",
    f"[click](https://{EVIL}/?q=28)",
    f"[click](<https://{EVIL}/a b>)",
    "[click](javascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    f"<https://{EVIL}/x>",
    f"<img src=https://{EVIL}/x.png>",
    f"<img src='//{EVIL}/x.png' onerror=alert(1)",
    f"<iframe src=//{EVIL}></iframe>",
    "<script>alert(1)</script>",
    f"<!-- ><img src=//{EVIL}> -->",
    f"&lt;img src=//{EVIL}/x&gt;",
    f"&amp;lt;img src=//{EVIL}/x&amp;gt;",
    f"https&colon;//{EVIL}/x",
    f"https:&#47;&#x2f;{EVIL}/x",
    "ht\u200btps:/\u2060/evil\u00ad.example/x",
    f"ｈｔｔｐｓ：／／{EVIL}／x",
    f"https\\://{EVIL}/x",
    f"https:\\\\{EVIL}\\x",
    f"1http://{EVIL}/x",
    f"ftp://user:key@{EVIL}:21/x",
    "https://[2001:db8::1]/x",
    f"//{EVIL}/x",
    f"\\\\{EVIL}\\share",
    f"www.{EVIL}",
    f"{EVIL}/path?secret=28",
    f"{EVIL}:8080/x",
    EVIL,
    "кремль.рф",
    f"mailto:a@{EVIL}?body=28",
    f"[1]: https://{EVIL}/x",
    f"[click]\n(https://{EVIL})",
    f"<a hr<b>ef=//{EVIL}>x</a>",
    f"<<b>script>fetch('//{EVIL}')<</b>/script>",
)
ORDINARY = (
    "Отпуск — 28 календарных дней [1].",
    "См. п. 3.2 и ст. 115 ТК РФ, т.е. 44-ФЗ; приказ № 12.ОД/2024 от 01.02.2024.",
    "Срок 12:30, доля 3/4 и/или 50 %, 10.0.0.0/24, адрес 192.168.1.1:8080, версия v1.2.3.",
    "Write to hr@company.ru or ivan.petrov@mail.company.ru, e.g. before 5 p.m. in the U.S.",
    "Файлы report.pdf, README.md и C:\\Users\\anna\\план.docx; C#/C++, ASP.NET, Node.js.",
    "If x < 5 and y > 3, then x <= y; «персональные данные: имя, адрес»; data: none.",
    "| Город | Сумма |\n| --- | --- |\n| Казань | 1 500,50 ₽ |",
    "Скидка 5%… (да!) [сноска] {скобки} *важно* _так_ `код` R&D A&B",
    "конец предложения.Начало следующего; days.The employee",
)
PIECES = "lt; gt colon; script img http evil example com 28 слово java data: www".split()
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_ACTIVE = re.compile(
    r"""://|(?<!\w)(?:javascript|vbscript|data):\S|www\d*\.\w|!\[|\]\(|\]:|\]\[|<[a-zA-Z/!?]
        |(?<![\w@])(?<!\w[.-])(?:evil\.example|кремль\.рф)(?![\w@-]|\.\w)""",
    re.VERBOSE | re.IGNORECASE,
)


class Tags(HTMLParser):
    """Keeps what a browser would act on."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def assert_dead(text: str) -> None:
    assert not _ACTIVE.search(text), text
    assert not _HIDDEN.search(text), text
    browser = Tags()
    browser.feed(text)
    browser.close()
    assert browser.seen == [], text
    assert unlinked(text) == text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("around", ["{}", "Отпуск — 28 дней {} в году.", "({})", "**{}**"])
def test_what_a_poisoned_document_orders_is_dead(order: str, around: str) -> None:
    assert_dead(unlinked(around.format(order)))


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert unlinked(text) == text


def test_words_stay_and_hosts_are_readable() -> None:
    said = "Заявление [подают](https://portal.example/leave) на gosuslugi.ru за 14 дней."
    assert unlinked(said) == "Заявление подают на gosuslugi[.]ru за 14 дней."
    assert unlinked("Портал: https://portal.example/leave.") == "Портал: …."


@given(
    st.lists(
        st.sampled_from([*ORDERS, *"<>[]()!:/\\.&#;'\"=@ \n\u200b", *PIECES]),
        max_size=12,
    ).map("".join)
)
def test_no_combination_lives(text: str) -> None:
    assert_dead(unlinked(text))


@given(st.text())
def test_any_text_is_dead_afterwards(text: str) -> None:
    assert_dead(unlinked(text))
