"""HTML answers: Opora's own tags, everything else escaped, links from metadata alone."""

from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from app.domain.answers import Citation
from app.domain.html_form import TAGS, HtmlForm, paragraph

CITATION = Citation(
    marker=1,
    document_id="doc_1",
    version=1,
    chunk_id=1,
    title="Отпуск",
    source_uri=None,
    pages=(),
    quote="28 дней",
    char_start=0,
    char_end=7,
    answer_start=0,
    answer_end=1,
    support=1.0,
)


class Browser(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def render(*sentences: str, citation: Citation = CITATION) -> HtmlForm:
    form = HtmlForm()
    pieces = []
    for number, sentence in enumerate(sentences):
        pieces.append(form.sentence(f" {sentence}" if number else sentence))
        form.citation(citation)
    pieces.append(form.end())
    assert "".join(pieces) == form.text
    return form


def test_sentences_and_sources_are_rendered() -> None:
    linked = replace(CITATION, source_uri="https://wiki.example/a?b=1&c=2")
    form = render("Отпуск — 28 дней [1].", "A < B [1].", citation=linked)
    assert form.text == (
        "<p>Отпуск — 28 дней <sup>[1]</sup>. A &lt; B <sup>[1]</sup>.</p>"
        '<ol><li>[1] <a href="https://wiki.example/a?b=1&amp;c=2" '
        'rel="noopener noreferrer nofollow">Отпуск</a>: <q>28 дней</q></li></ol>'
    )
    spans = [form.text[c.answer_start : c.answer_end] for c in form.citations]
    assert spans == ["Отпуск — 28 дней <sup>[1]</sup>.", "A &lt; B <sup>[1]</sup>."]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3), st.text(), st.text())
def test_nothing_but_the_allowed_tags_whatever_is_said(
    sentences: list[str], title: str, source_uri: str
) -> None:
    hostile = replace(CITATION, title=title, source_uri=source_uri, quote=title + "<b>")
    form = render(*(f"x{sentence}" for sentence in sentences), citation=hostile)
    for html in (form.text, paragraph(title)):
        for tag, attributes in Browser(html).tags:
            assert tag in TAGS
            assert attributes.keys() <= {"href", "rel"}
            assert (attributes.get("href") or "http://").startswith(("http://", "https://"))


def test_a_script_of_the_metadata_is_no_link() -> None:
    for source_uri in ("javascript:alert(1)", "//evil.example", 'https://x"onclick=y', "data:x"):
        assert "<a" not in render("x [1].", citation=replace(CITATION, source_uri=source_uri)).text
