"""An answer as HTML: Opora's own tags around its escaped words."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from app.domain.answers import Citation
from app.domain.unlinking import unlinked

TAGS = frozenset({"p", "sup", "ol", "li", "a", "q"})
"""All that a rendered answer holds; `a` has a `href` of a document's metadata and `rel`."""

_MARKER = re.compile(r"\[\d+\]")
_WEB = re.compile(r"https?://[^\s<>\"'\\^`{|}]+", re.IGNORECASE)


class HtmlForm:
    """Renders an answer sentence by sentence, so that it can be streamed.

    `text` is what was rendered by now; `citations` point into it.
    """

    def __init__(self) -> None:
        self.text = ""
        self.citations: list[Citation] = []
        self._sentence_start = 0

    def sentence(self, text: str) -> str:
        """Render a sentence, the space before it included."""
        words = text.lstrip()
        lead = text[: len(text) - len(words)] if self.text else "<p>"
        self._sentence_start = len(self.text) + len(lead)
        return self._append(lead + _marked(words))

    def citation(self, citation: Citation) -> Citation:
        """Point a citation to the sentence just rendered."""
        moved = replace(citation, answer_start=self._sentence_start, answer_end=len(self.text))
        self.citations.append(moved)
        return moved

    def end(self) -> str:
        """Render the end: the sources, numbered as the markers are."""
        return self._append("</p>" + _sources(self.citations)) if self.text else ""

    def _append(self, piece: str) -> str:
        self.text += piece
        return piece


def paragraph(text: str) -> str:
    """Render a text without citations."""
    return f"<p>{_marked(text)}</p>"


def is_web_address(source_uri: str | None) -> bool:
    """Whether a document's source can be linked to: nothing but http and https."""
    return bool(source_uri and _WEB.fullmatch(source_uri))


def _marked(text: str) -> str:
    return _MARKER.sub(lambda marker: f"<sup>{marker[0]}</sup>", escape(text))


def _sources(citations: Sequence[Citation]) -> str:
    items: dict[tuple[int, str], str] = {}
    for citation in citations:
        title = escape(unlinked(citation.title))
        if is_web_address(citation.source_uri):
            address = escape(citation.source_uri or "")
            title = f'<a href="{address}" rel="noopener noreferrer nofollow">{title}</a>'
        quote = escape(" ".join(unlinked(citation.quote).split()))
        items[citation.marker, citation.quote] = (
            f"<li>[{citation.marker}] {title}: <q>{quote}</q></li>"
        )
    return f"<ol>{''.join(items.values())}</ol>" if items else ""
