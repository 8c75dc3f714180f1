"""Answers, abstentions and the citations that carry them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.domain.assistants import DEFAULT_ASSISTANT, FormatType
from app.domain.documents import Passage
from app.domain.verification import Layers


class AnswerStatus(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    ABSTAINED = "abstained"


class AbstentionReason(StrEnum):
    """Why Opora does not answer."""

    NOTHING_READABLE = "nothing_readable"
    WEAK_EVIDENCE = "weak_evidence"
    MODEL_FOUND_NOTHING = "model_found_nothing"
    NOTHING_SUPPORTED = "nothing_supported"


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the answer and the exact piece of a document that carries it.

    `quote` is the parsed document's text at `[char_start, char_end)`; `[answer_start, answer_end)`
    is the sentence in the answer's text; `support` in [0, 1] says how sure it is that the quote
    carries it, `layers` what each check found. `document_sha256` is of the document's own bytes.
    """

    marker: int
    document_id: str
    version: int
    chunk_id: int
    title: str
    source_uri: str | None
    pages: tuple[int, ...]
    quote: str
    char_start: int
    char_end: int
    answer_start: int
    answer_end: int
    support: float
    layers: Layers | None = None
    document_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class SentenceCounts:
    """The model's sentences: those that a document carries, and those that none does."""

    supported: int = 0
    unsupported: int = 0


@dataclass(frozen=True, slots=True)
class Provenance:
    """What produced an answer, so that it can be explained later."""

    model: str
    generation_id: str
    prompt_version: str
    adapter: str | None = None
    assistant: str = DEFAULT_ASSISTANT
    format: FormatType = FormatType.TEXT


@dataclass(frozen=True, slots=True)
class Answer:
    """A grounded answer: each sentence in it, or each value, has a citation.

    `text` has the form that was asked for; as JSON it is the text of `data`. `is_cut` says that the
    model came to its limit of tokens.
    """

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    provenance: Provenance
    usage: Usage = Usage()
    timings_ms: dict[str, float] = field(default_factory=dict)
    data: Any = None
    is_cut: bool = False
    sentences: SentenceCounts = SentenceCounts()


@dataclass(frozen=True, slots=True)
class Abstention:
    """An honest "not in the documents", with the nearest passages and the reason."""

    text: str
    reason: AbstentionReason
    passages: tuple[Passage, ...]
    provenance: Provenance
    usage: Usage = Usage()
    timings_ms: dict[str, float] = field(default_factory=dict)
    sentences: SentenceCounts = SentenceCounts()
