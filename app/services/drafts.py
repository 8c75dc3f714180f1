"""What an answer is written to, and the answer while it is being written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.answers import (
    Abstention,
    AbstentionReason,
    Answer,
    Citation,
    Provenance,
    Usage,
)
from app.domain.assistants import AnswerFormat, Assistant, FormatType
from app.domain.documents import Passage, SearchFilters
from app.domain.evidence import Excerpt, Similarity, render
from app.domain.follow_ups import Turn
from app.domain.html_form import paragraph
from app.domain.ports import Message
from app.domain.prompts import answer_prompt, data_prompt, prompt, style_prompt
from app.domain.structured import AnswerSchema, Json
from app.domain.unlinking import unlinked


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked and how; what is None is as the assistant has it.

    `history` stands in for a conversation that the caller keeps.
    """

    text: str
    conversation_id: str | None = None
    filters: SearchFilters = field(default_factory=SearchFilters)
    language: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    assistant: Assistant = field(default_factory=Assistant)
    answer_format: AnswerFormat | None = None
    history: tuple[Turn, ...] = ()

    @property
    def form(self) -> AnswerFormat:
        """The form of the answer."""
        return self.answer_format or self.assistant.answer_format


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the final text: a whole sentence that has its citation, or the frame around."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """The citation of the sentence just sent."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Order:
    """What the model is to write: the question as it was understood, and the evidence for it."""

    question: Question
    asked: str
    language: str
    excerpts: Sequence[Excerpt]
    history: str

    def messages(self) -> list[Message]:
        """The prompt for text."""
        return answer_prompt(
            self.language, render(self.excerpts), self.asked, self._style(), self.history
        )

    def data_messages(self, schema: AnswerSchema) -> list[Message]:
        """The prompt for JSON."""
        shown = json.dumps(schema.schema, ensure_ascii=False)
        return data_prompt(
            self.language, shown, render(self.excerpts), self.asked, self._style(), self.history
        )

    def _style(self) -> str:
        assistant = self.question.assistant
        return style_prompt(self.language, assistant.instructions, assistant.tone)


class Draft:
    """An answer in the making; `held` are events that wait for what comes after them."""

    def __init__(
        self, language: str, passages: tuple[Passage, ...], similarity: Similarity
    ) -> None:
        self.similarity = similarity
        self.language = language
        self.passages = passages
        self.text = ""
        self.citations: list[Citation] = []
        self.usage = Usage()
        self.verify_ms = 0.0
        self.reason: AbstentionReason | None = None
        self.data: Json = None
        self.is_cut = False
        self.has_unsupported = False
        self.held: list[Token | Cited] = []

    def add(self, text: str) -> str:
        """Append a sentence; return it with the space before it."""
        lead = " " if self.text else ""
        self.text += lead + text
        return lead + text

    def release(self) -> list[Token | Cited]:
        """Give the events out that were held."""
        events, self.held = self.held, []
        return events

    def result(self, provenance: Provenance, timings_ms: dict[str, float]) -> Answer | Abstention:
        """Freeze it."""
        if self.reason is None:
            return Answer(
                self.text,
                tuple(self.citations),
                self.passages,
                provenance,
                self.usage,
                timings_ms,
                self.data,
                self.is_cut,
            )
        text = prompt("abstention", self.language)
        titles = list(dict.fromkeys(passage.title for passage in self.passages))[:3]
        if titles:
            names = ", ".join(f"«{unlinked(title)}»" for title in titles)
            text += " " + prompt("nearest", self.language).format(titles=names)
        if provenance.format is FormatType.HTML:
            text = paragraph(text)
        return Abstention(text, self.reason, self.passages, provenance, self.usage, timings_ms)
