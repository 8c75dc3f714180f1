"""What an answer is written to, and the answer while it is being written."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from app.domain.answers import (
    Abstention,
    AbstentionReason,
    Answer,
    Citation,
    Provenance,
    SentenceCounts,
    Usage,
)
from app.domain.assistants import AnswerFormat, Assistant, FormatType
from app.domain.citations import Sentence
from app.domain.documents import Passage, SearchFilters
from app.domain.evidence import Excerpt, Similarity, render
from app.domain.follow_ups import Turn
from app.domain.html_form import paragraph
from app.domain.ports import Message
from app.domain.prompts import answer_prompt, data_prompt, prompt, style_prompt
from app.domain.structured import AnswerSchema, Json
from app.domain.unlinking import unlinked

_NAMES, _LONGEST_NAME = 3, 100


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
    stages: int | None = None

    @property
    def is_in_two_stages(self) -> bool:
        """Whether is searched again with a draft."""
        return (self.stages or self.assistant.stages) == 2

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
    """What the model is to write: the question as it was understood, and the evidence for it.

    Args:
        question: What was asked and how.
        asked: The question as it was understood.
        language: That of the answer.
        history: The turns before, for a question that leans on them.
        schema: That of the JSON that was asked for, None for text.
        excerpts: The evidence, best first; in two stages that of the first comes before.
        prompt_order: The places in `excerpts` of those in the prompt, in its order.
    """

    question: Question
    asked: str
    language: str
    history: str = ""
    schema: AnswerSchema | None = None
    excerpts: Sequence[Excerpt] = ()
    prompt_order: Sequence[int] = ()

    def claimed(self, sentence: Sentence) -> Sentence:
        """The sentence with its markers, which count in the prompt, as numbers of excerpts."""
        known = {n: place + 1 for n, place in enumerate(self.prompt_order, start=1)}
        return replace(sentence, markers=tuple(known[n] for n in sentence.markers if n in known))

    def prompt(self) -> list[Message]:
        """The messages that the model gets."""
        assistant = self.question.assistant
        style = style_prompt(self.language, assistant.instructions, assistant.tone)
        told = [self.excerpts[place] for place in self.prompt_order]
        request = (render(told), self.asked, style, self.history)
        if self.schema is None:
            return answer_prompt(self.language, *request)
        shown = json.dumps(self.schema.schema, ensure_ascii=False)
        return data_prompt(self.language, shown, *request)


class Draft:
    """An answer in the making; `held` are events that wait for what comes after them."""

    def __init__(self, language: str, similarity: Similarity) -> None:
        self.similarity = similarity
        self.language = language
        self.passages: tuple[Passage, ...] = ()
        self.text = ""
        self.citations: list[Citation] = []
        self.usage = Usage()
        self.verify_ms = 0.0
        self.reason: AbstentionReason | None = None
        self.data: Json = None
        self.is_cut = False
        self.unsupported = 0
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
        counts = SentenceCounts(len(self.citations), self.unsupported)
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
                counts,
            )
        text = abstention_text(self.language, self.passages)
        if provenance.format is FormatType.HTML:
            text = paragraph(text)
        return Abstention(
            text, self.reason, self.passages, provenance, self.usage, timings_ms, counts
        )


def abstention_text(language: str, passages: Sequence[Passage]) -> str:
    """Say that there is no answer, which documents come nearest, and what they can be asked about.

    Titles and headings are the documents' own; nothing else is promised.
    """
    said = [prompt("abstention", language)]
    nearest = sorted(passages, key=lambda passage: passage.rank)
    titles = _named(passage.title for passage in nearest)
    if titles:
        said.append(prompt("nearest", language).format(titles=titles))
        headings = _named(
            passage.heading_path[-1]
            for passage in nearest
            if passage.heading_path and passage.heading_path[-1] != passage.title
        )
        hint = prompt("ask_about", language).format(headings=headings)
        said.append(hint if headings else prompt("ask_otherwise", language))
    return " ".join(said)


def _named(texts: Iterable[str]) -> str:
    """The first different ones, without addresses and in quotation marks."""
    names = dict.fromkeys(" ".join(unlinked(text).split()) for text in texts)
    short = (name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names)
    return ", ".join(f"«{name}»" for name in islice(filter(None, short), _NAMES))
