"""From a question to an answer that carries its evidence, or to an honest abstention."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.answers import (
    Abstention,
    AbstentionReason,
    Answer,
    AnswerStatus,
    Citation,
    Provenance,
    Usage,
)
from app.domain.citations import Sentence, cite, read_sentences, with_marker
from app.domain.documents import Passage, SearchFilters
from app.domain.errors import Overloaded
from app.domain.evidence import Excerpt, Similarity, choose_evidence, render
from app.domain.follow_ups import Asked
from app.domain.ports import ChatModel, ChatParams, Embedder
from app.domain.prompts import PROMPT_VERSION, answer_prompt, prompt
from app.domain.text import guess_language, sentences
from app.services.retrieval import Retrieval, SearchOptions, SearchResult
from app.services.rewriting import OTHER_LANGUAGE, Rewriter
from app.services.turns import read_turns, store_turn
from app.services.verification import Verification
from app.settings import AnsweringSettings
from app.telemetry import ANSWERS, ANSWERS_IN_FLIGHT, stage

# On XQuAD, Russian questions over English paragraphs: at the default threshold half of the
# answerable questions and 5 % of the unanswerable ones pass.
_FOREIGN_WEIGHT = 0.8
# What PostgreSQL does not take as text: NUL, and halves of characters.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REFUSALS = ("no answer", "нет ответа")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked and how."""

    text: str
    conversation_id: str | None = None
    filters: SearchFilters = field(default_factory=SearchFilters)
    language: str | None = None
    temperature: float = 0.0
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages that the answer will be written from."""

    passages: tuple[Passage, ...]
    generation_id: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the final text: a whole sentence that has its citation."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """The citation of the sentence just sent."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with everything."""

    answer_id: str
    conversation_id: str
    result: Answer | Abstention


AnswerEvent = Retrieved | Token | Cited | Finished


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search gave, and the question's translation if that was searched for too."""

    result: SearchResult
    translated: str = ""

    @property
    def text(self) -> str:
        """The question as it was understood: in its context, in the keyboard layout meant."""
        return self.result.query.text

    @property
    def language(self) -> str:
        """The question's own."""
        return guess_language(self.text) or "en"

    @property
    def strength(self) -> float:
        """How well the passages bear on it, in [0, 1]."""
        return evidence_strength(self.language, self.result.passages)


class Answering:
    """Answers questions over the documents that the caller may read."""

    def __init__(
        self,
        database: Database,
        retrieval: Retrieval,
        chat: ChatModel,
        rewriter: Rewriter,
        verification: Verification,
        settings: AnsweringSettings,
        max_concurrent: int,
    ) -> None:
        self._database = database
        self._retrieval = retrieval
        self._chat = chat
        self._rewriter = rewriter
        self._verification = verification
        self._settings = settings
        self._max_concurrent = max_concurrent
        self._in_flight = 0
        self.is_warm = False
        self._warming: asyncio.Task[object] | None = None

    async def ask(
        self, scope: AccessScope, question: Question
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question as a stream of events; closing it stops the model.

        Raises:
            NotFound: The conversation is not the caller's.
            Overloaded: Too many answers are in the making.
            Unavailable: The model server, the index or the database fails; never an answer.
        """
        if self._in_flight >= self._max_concurrent:
            raise Overloaded("too many answers are in the making; try again shortly", 5)
        if self._warming is not None:
            self._warming.cancel()
            self._warming, self.is_warm = None, True
        self._in_flight += 1
        ANSWERS_IN_FLIGHT.inc()
        outcome = "failed"
        try:
            async with aclosing(self._answer(scope, question)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        answered = isinstance(event.result, Answer)
                        outcome = AnswerStatus.ANSWERED if answered else AnswerStatus.ABSTAINED
                    yield event
        finally:
            self._in_flight -= 1
            ANSWERS_IN_FLIGHT.dec()
            ANSWERS.labels(outcome).inc()

    async def warm(self) -> None:
        """Let the model server read the fixed start of each prompt, which it keeps for later.

        The first question ends this: it reads that start itself and must not wait in line.

        Raises:
            Unavailable: The model server does not answer yet.
        """
        self._warming = asyncio.current_task()
        await self._chat.check()
        for language in ("en", "ru"):
            await self._chat.complete(answer_prompt(language, "", "?"), ChatParams(max_tokens=1))
        self.is_warm = True

    async def _answer(
        self, scope: AccessScope, question: Question
    ) -> AsyncGenerator[AnswerEvent, None]:
        started = perf_counter()
        history = await read_turns(self._database, scope, question.conversation_id)
        rewriting_ms: dict[str, float] = {}
        asked = await self._rewriter.stand_alone(question.text, history, rewriting_ms)
        found = await self._search(scope, question, asked, rewriting_ms)
        language = question.language or found.language
        timings_ms = rewriting_ms | found.result.timings_ms
        similarity = partial(_similarity, found.result.index.embedder)
        with stage("choose_evidence", timings_ms):
            excerpts = await asyncio.to_thread(
                choose_evidence,
                f"{found.text} {found.translated}".rstrip(),
                found.result.passages,
                self._settings.evidence_tokens,
                similarity,
            )
        passages = tuple(excerpt.passage for excerpt in excerpts)
        draft = _Draft(language, passages, similarity)
        generation_id = found.result.generation_id
        yield Retrieved(passages, generation_id)
        if not excerpts:
            draft.reason = AbstentionReason.NOTHING_READABLE
        elif found.strength < self._settings.min_evidence:
            draft.reason = AbstentionReason.WEAK_EVIDENCE
        else:
            async with aclosing(
                self._write(question, found.text, language, excerpts, draft, timings_ms)
            ) as events:
                async for event in events:
                    yield event
        timings_ms["verify"] = round(draft.verify_ms, 3)
        timings_ms["total"] = round((perf_counter() - started) * 1000, 3)
        provenance = Provenance(self._chat.model, generation_id, PROMPT_VERSION)
        result = draft.result(provenance, timings_ms)
        answer_id, conversation_id = await store_turn(
            self._database, scope, question.conversation_id, question.text, result
        )
        yield Finished(answer_id, conversation_id, result)

    async def _search(
        self,
        scope: AccessScope,
        question: Question,
        asked: Asked,
        timings_ms: dict[str, float],
    ) -> "_Found":
        """Search; where that finds little, search translated, if there is anything to find so."""
        limit, filters = self._settings.max_passages, question.filters
        options = SearchOptions(filters=filters)
        found = _Found(await self._retrieval.search(scope, asked, limit, options))
        other = OTHER_LANGUAGE[found.language]
        if found.strength >= self._settings.min_evidence or filters.language == found.language:
            return found
        foreign = replace(filters, language=other)
        if not await asyncio.to_thread(self._retrieval.has_documents, scope, foreign):
            return found
        translated = await self._rewriter.translate(found.text, timings_ms)
        if translated is None:
            return found
        both = replace(asked, translated=translated)
        again = await self._retrieval.search(scope, both, limit, options, found.result.index)
        return _Found(again, translated)

    async def _write(
        self,
        question: Question,
        asked: str,
        language: str,
        excerpts: Sequence[Excerpt],
        draft: "_Draft",
        timings_ms: dict[str, float],
    ) -> AsyncGenerator[Token | Cited, None]:
        """Let the model write; each sentence leaves once a quote carries it, or not at all."""
        messages = answer_prompt(language, render(excerpts), asked)
        params = ChatParams(
            max_tokens=min(
                question.max_tokens or self._settings.max_answer_tokens,
                self._settings.max_answer_tokens,
            ),
            temperature=question.temperature,
        )
        written, read = "", 0
        cut = False
        with stage("generate", timings_ms):
            begun = perf_counter()
            async with aclosing(self._chat.stream(messages, params)) as deltas:
                async for delta in deltas:
                    if delta.text and "first_token" not in timings_ms:
                        timings_ms["first_token"] = round((perf_counter() - begun) * 1000, 3)
                    written += _UNSTORABLE.sub("", delta.text)
                    draft.usage = delta.usage or draft.usage
                    cut = cut or delta.finish_reason == "length"
                    if _refuses(written):
                        draft.reason = AbstentionReason.MODEL_FOUND_NOTHING
                        continue  # the rest is only the usage
                    *whole, _ = sentences(written[read:]) or [(0, 0)]
                    if whole:
                        end = read + whole[-1][1]
                        for sentence in read_sentences(written[read:end]):
                            for event in await self._check(sentence, asked, excerpts, draft):
                                yield event
                        read = end
        if draft.reason is AbstentionReason.MODEL_FOUND_NOTHING:
            return
        for sentence in read_sentences(written[read:]):
            if not (cut and draft.citations):  # a sentence cut off by the limit claims nothing
                for event in await self._check(sentence, asked, excerpts, draft):
                    yield event
        if not draft.citations:
            draft.reason = AbstentionReason.NOTHING_SUPPORTED

    async def _check(
        self,
        sentence: Sentence,
        asked: str,
        excerpts: Sequence[Excerpt],
        draft: "_Draft",
    ) -> list[Token | Cited]:
        begun = perf_counter()
        support = await asyncio.to_thread(
            self._verification.check, sentence, asked, excerpts, draft.similarity
        )
        draft.verify_ms += (perf_counter() - begun) * 1000
        if support is None:
            return []
        text = with_marker(sentence.text, support.excerpt)
        lead = " " if draft.text else ""
        start = len(draft.text) + len(lead)
        citation = cite(support, excerpts[support.excerpt - 1], start, start + len(text))
        draft.text += lead + text
        draft.citations.append(citation)
        return [Token(lead + text), Cited(citation)]


def _similarity(embedder: Embedder, text: str, others: Sequence[str]) -> list[float]:
    vectors = embedder.embed_passages([text, *others])
    return [float(score) for score in vectors[1:] @ vectors[0]]


def evidence_strength(language: str, passages: Sequence[Passage]) -> float:
    """How well the best passages bear on a question in a language, in [0, 1].

    The mean of two: the best cosine similarity, and the largest share of the question's keys that
    one passage holds. Words are not shared across languages, so a passage in the other language
    counts by its similarity alone, at a discount.
    """
    similarity = max((passage.similarity for passage in passages), default=0.0)
    coverage = max((passage.coverage for passage in passages), default=0.0)
    foreign = [p.similarity for p in passages if p.language not in (language, None)]
    return max((similarity + coverage) / 2, _FOREIGN_WEIGHT * max(foreign, default=0.0))


class _Draft:
    """An answer in the making."""

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
            )
        text = prompt("abstention", self.language)
        titles = list(dict.fromkeys(passage.title for passage in self.passages))[:3]
        if titles:
            names = ", ".join(f"«{title}»" for title in titles)
            text += " " + prompt("nearest", self.language).format(titles=names)
        return Abstention(text, self.reason, self.passages, provenance, self.usage, timings_ms)


def _refuses(written: str) -> bool:
    return written.strip().strip('*"«').lower().startswith(_REFUSALS)
