"""From a question to an answer that carries its evidence, or to an honest abstention."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from app.db.base import new_id
from app.db.session import Database
from app.domain.access import AccessScope
from app.domain.answers import (
    Abstention,
    AbstentionReason,
    Answer,
    AnswerStatus,
    Provenance,
    Usage,
)
from app.domain.assistants import FormatType, Unsupported
from app.domain.citations import Sentence, Support, cite, read_sentences, with_marker
from app.domain.documents import Passage
from app.domain.errors import ModelServerBroken
from app.domain.follow_ups import leans, recalled
from app.domain.html_form import HtmlForm
from app.domain.ports import ChatModel, ChatParams
from app.domain.prompts import PROMPT_VERSION, answer_prompt, prompt
from app.domain.structured import AnswerSchema, ground
from app.domain.text import sentences
from app.domain.unlinking import as_written, unlinked
from app.services.admission import Admission
from app.services.audit import Audit
from app.services.drafts import Cited, Draft, Order, Question, Token
from app.services.evidence_search import EvidenceSearch, Found
from app.services.prompt_budget import PromptBudget
from app.services.retrieval import Retrieval
from app.services.rewriting import Rewriter
from app.services.structured import drafted, refuses, write_structured
from app.services.turns import read_turns, store_turn
from app.services.verification import Verification
from app.settings import AnsweringSettings, AuditSettings
from app.telemetry import ANSWERS, get_logger, stage

log = get_logger(__name__)

# What PostgreSQL does not take as text: NUL, and halves of characters.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DRAFT_TOKENS = 120
_HISTORY_TOKENS = 160  # estimated; of the turns before, in the prompt of a question that leans


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages that the answer will be written from."""

    passages: tuple[Passage, ...]
    generation_id: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with everything."""

    answer_id: str
    conversation_id: str
    result: Answer | Abstention


AnswerEvent = Retrieved | Token | Cited | Finished


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
        canonical_order: bool = True,
        audit: Audit | None = None,
    ) -> None:
        self._database = database
        self._audit = audit or Audit(database, AuditSettings())
        self._search = EvidenceSearch(retrieval, rewriter, settings)
        self._budget = PromptBudget(
            chat, settings.evidence_tokens, settings.max_answer_tokens, canonical_order
        )
        self._chat = chat
        self._rewriter = rewriter
        self._verification = verification
        self._settings = settings
        self.admission = Admission(max_concurrent)
        self.is_warm = False
        self._warming: asyncio.Task[object] | None = None

    async def ask(
        self, scope: AccessScope, question: Question
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question as a stream of events; closing it stops the model.

        Raises:
            NotFound: The conversation is not the caller's.
            Overloaded: Too many questions wait already, or this one waited too long.
            Unavailable: The model server, the index or the database fails; never an answer.
        """
        if self._warming is not None:
            self._warming.cancel()
            self._warming, self.is_warm = None, True
        async with self.admission.place(scope.user_id):
            outcome = "failed"
            try:
                async with (
                    aclosing(self._answer(scope, question)) as answer,
                    aclosing(self.admission.unless_stopped(answer)) as events,
                ):
                    async for event in events:
                        if isinstance(event, Finished):
                            answered = isinstance(event.result, Answer)
                            outcome = AnswerStatus.ANSWERED if answered else AnswerStatus.ABSTAINED
                        yield event
            except (asyncio.CancelledError, GeneratorExit):
                outcome = "left" if outcome == "failed" else outcome
                raise
            finally:
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
        history = history or list(question.history)
        timings_ms: dict[str, float] = {}
        asked = await self._rewriter.stand_alone(question.text, history, timings_ms)
        found = await self._search.first(scope, question.filters, asked, timings_ms)
        language = question.assistant.language or question.language or found.language
        generation_id = found.result.generation_id
        draft = Draft(language, found.similarity)
        form = question.form
        order = Order(
            question,
            found.text,
            language,
            recalled(history, _HISTORY_TOKENS) if leans(question.text) else "",
            AnswerSchema(form.schema or {}) if form.type is FormatType.JSON_SCHEMA else None,
        )
        order = await self._filled(order, found, draft, timings_ms, "choose_evidence")
        answer_id = new_id("ans")
        await self._audit.asked(scope, answer_id, question.text, generation_id, draft.passages)
        yield Retrieved(draft.passages, generation_id)
        if order.excerpts and question.is_in_two_stages:
            told = order.excerpts
            order, found = await self._second_stage(scope, order, found, draft, timings_ms)
            if order.excerpts != told:
                await self._audit.asked(
                    scope, answer_id, question.text, generation_id, draft.passages
                )
                yield Retrieved(draft.passages, generation_id)
        if not order.excerpts:
            draft.reason = AbstentionReason.NOTHING_READABLE
        elif self._search.is_weak(found.strength):
            draft.reason = AbstentionReason.WEAK_EVIDENCE
        elif draft.reason is None:
            async with aclosing(self._form(order, draft, timings_ms)) as events:
                async for event in events:
                    yield event
        timings_ms["verify"] = round(draft.verify_ms, 3)
        timings_ms["total"] = round((perf_counter() - started) * 1000, 3)
        assistant = question.assistant
        provenance = Provenance(
            assistant.model or self._chat.model,
            generation_id,
            PROMPT_VERSION,
            assistant.adapter,
            assistant.name,
            form.type,
        )
        result = draft.result(provenance, timings_ms)
        conversation_id = await store_turn(
            self._database, scope, answer_id, question.conversation_id, question.text, result
        )
        yield Finished(answer_id, conversation_id, result)

    async def _filled(
        self, order: Order, found: Found, draft: Draft, timings_ms: dict[str, float], name: str
    ) -> Order:
        """Add the best of what was found to the prompt, and to the answer's passages."""
        with stage(name, timings_ms):
            order = await self._budget.fill(order, found.candidates, self._params(order.question))
        draft.passages = tuple(excerpt.passage for excerpt in order.excerpts)
        return order

    async def _second_stage(
        self,
        scope: AccessScope,
        order: Order,
        found: Found,
        draft: Draft,
        timings_ms: dict[str, float],
    ) -> tuple[Order, Found]:
        """Let the model draft an answer, and search again with it.

        The prompt that comes back begins like the one of the draft, which the model server's prefix
        cache still holds; what is new stands after it. Where the model finds no answer, or weak
        evidence kept it from being asked, the parts of the question are searched for.
        """
        said: str | None = None
        is_weak = self._search.is_weak(found.strength)
        if not is_weak:
            with stage("draft", timings_ms):
                done = await self._chat.complete(order.prompt(), self._draft_params(order.question))
            if not done.text.strip():
                raise ModelServerBroken("the model drafted nothing at all; see its server's log")
            draft.usage += done.usage
            said = drafted(done.text)
        filters = order.question.filters
        again = await self._search.again(scope, filters, found, order.excerpts, said, timings_ms)
        if again is None or self._search.is_weak(again.strength):
            joined = order
        else:
            joined = await self._filled(order, again, draft, timings_ms, "choose_evidence_2")
        is_new = len(joined.excerpts) - len(order.excerpts)
        if said is None and not is_weak and not is_new:
            draft.reason = AbstentionReason.MODEL_FOUND_NOTHING
        log.info(
            "answer.second_stage",
            drafted=said is not None,
            new_excerpts=is_new,
            draft_ms=timings_ms.get("draft", 0.0),
            retrieve_ms=timings_ms.get("retrieve_2", 0.0),
        )
        return joined, again or found

    async def _form(
        self, order: Order, draft: Draft, timings_ms: dict[str, float]
    ) -> AsyncGenerator[Token | Cited, None]:
        """Let the model write in the form that was asked for."""
        form = order.question.form.type
        write = self._write if order.schema is None else self._write_data
        html = HtmlForm() if form is FormatType.HTML else None
        async with aclosing(write(order, draft, timings_ms)) as events:
            async for event in events:
                if html is None:
                    yield event
                elif isinstance(event, Token):
                    yield Token(html.sentence(event.text))
                else:
                    yield Cited(html.citation(event.citation))
        if html is not None and draft.reason is None:
            yield Token(html.end())
            draft.text, draft.citations = html.text, html.citations

    async def _write_data(
        self, order: Order, draft: Draft, timings_ms: dict[str, float]
    ) -> AsyncGenerator[Token | Cited, None]:
        """Let the model fill in JSON; it leaves as a whole, each value with its citation."""
        schema = order.schema
        assert schema is not None
        grounding = partial(
            ground,
            schema=schema,
            excerpts=order.excerpts,
            check=partial(self._support, order=order, draft=draft),
        )
        with stage("generate", timings_ms):
            done = await write_structured(
                self._chat,
                order.prompt(),
                self._params(order.question),
                schema,
                order.language,
                grounding,
            )
        draft.usage, draft.reason = draft.usage + done.usage, done.reason
        if done.grounded is not None:
            draft.data, draft.text = done.data, done.grounded.text
            yield Token(draft.text)
            for citation in done.grounded.citations:
                draft.citations.append(citation)
                yield Cited(citation)

    async def _write(
        self, order: Order, draft: Draft, timings_ms: dict[str, float]
    ) -> AsyncGenerator[Token | Cited, None]:
        """Let the model write; each sentence leaves once a quote carries it, or not at all."""
        messages, params = order.prompt(), self._params(order.question)
        written, read = "", 0
        with stage("generate", timings_ms):
            begun = perf_counter()
            async with aclosing(self._chat.stream(messages, params)) as deltas:
                async for delta in deltas:
                    if delta.text and "first_token" not in timings_ms:
                        timings_ms["first_token"] = round((perf_counter() - begun) * 1000, 3)
                    written += _UNSTORABLE.sub("", delta.text)
                    draft.usage += delta.usage or Usage()
                    draft.is_cut = draft.is_cut or delta.finish_reason == "length"
                    if refuses(written):
                        draft.reason = AbstentionReason.MODEL_FOUND_NOTHING
                        continue  # the rest is only the usage
                    *whole, _ = sentences(written[read:]) or [(0, 0)]
                    if whole:
                        end = read + whole[-1][1]
                        for sentence in read_sentences(written[read:end]):
                            for event in await self._release(sentence, order, draft):
                                yield event
                        read = end
        if draft.reason is AbstentionReason.MODEL_FOUND_NOTHING:
            return
        if not (written.strip() or params.stop):
            raise ModelServerBroken("the model wrote nothing at all; see the model server's log")
        for sentence in read_sentences(written[read:]):
            if not (draft.is_cut and draft.citations):  # cut off by the limit it claims nothing
                for event in await self._release(sentence, order, draft):
                    yield event
        strict = order.question.assistant.unsupported is Unsupported.ABSTAIN
        if not draft.citations or (strict and draft.unsupported):
            draft.reason = AbstentionReason.NOTHING_SUPPORTED
        else:
            for event in draft.release():
                yield event

    async def _release(self, sentence: Sentence, order: Order, draft: Draft) -> list[Token | Cited]:
        """Let a sentence leave, or do with it what the assistant does with unsupported ones."""
        sentence = replace(sentence, text=unlinked(sentence.text).strip())
        if not any(letter.isalnum() for letter in sentence.text):
            return []
        policy = order.question.assistant.unsupported
        events = await self._check(sentence, order, draft)
        draft.held += events
        if not events:
            draft.unsupported += 1
            if policy is Unsupported.MARK:
                mark = prompt("unsupported", order.language)
                draft.held.append(Token(draft.add(f"{sentence.text} {mark}")))
            return []
        return draft.release() if policy is not Unsupported.ABSTAIN else []

    def _params(self, question: Question) -> ChatParams:
        assistant, most = question.assistant, self._settings.max_answer_tokens
        given = question.temperature
        return ChatParams(
            max_tokens=min(question.max_tokens or most, most),
            temperature=assistant.temperature if given is None else given,
            stop=question.stop,
            model=assistant.model,
            adapter=assistant.adapter,
        )

    def _draft_params(self, question: Question) -> ChatParams:
        most = min(_DRAFT_TOKENS, self._settings.max_answer_tokens)
        return replace(self._params(question), max_tokens=most, stop=())

    async def _check(self, sentence: Sentence, order: Order, draft: Draft) -> list[Token | Cited]:
        support = await asyncio.to_thread(self._support, sentence, order, draft)
        if support is None:
            return []
        text = with_marker(sentence.text, support.excerpt)
        added = draft.add(text)
        end = len(draft.text)
        citation = cite(support, order.excerpts[support.excerpt - 1], end - len(text), end)
        draft.citations.append(citation)
        return [Token(added), Cited(citation)]

    def _support(self, sentence: Sentence, order: Order, draft: Draft) -> Support | None:
        begun = perf_counter()
        try:
            claimed = order.claimed(replace(sentence, text=as_written(sentence.text)))
            return self._verification.check(claimed, order.asked, order.excerpts, draft.similarity)
        finally:
            draft.verify_ms += (perf_counter() - begun) * 1000
