"""Whatever a model writes, no marker dangles and each quote is the document's own text.

1,000 answers: `pytest --hypothesis-profile=thousand tests/integration/test_adversarial_answers.py`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.schemas import AskResponse
from app.db.repositories import documents as document_rows
from app.domain.errors import ModelServerBroken
from app.domain.ports import ChatDelta, ChatParams, Message
from app.engines.llm.scripted import ScriptedChatModel
from app.quality.recheck import ExportedAnswer, Sources, recheck
from app.services.answering import Answering, Finished
from app.services.drafts import Question
from app.services.rewriting import Rewriter
from app.services.verification import Verification
from tests.integration.house import ADMIN, House

LEAVE = (
    "Сотруднику полагается 28 календарных дней отпуска. Заявление подаётся за 14 дней. "
    "Отпуск не делится на части короче 7 дней.\n"
)
TABLE = (
    "# Командировки\n\n| Город | Суточные |\n| --- | --- |\n| Казань | 700 рублей |\n"
    "| Омск | 650 рублей |\n"
)
TRUE = [*re.findall(r"[^.\n]+\.", LEAVE), "Суточные в Казани — 700 рублей.", "Отпуск — 28 дней."]
FRAGMENTS = [
    "[1]", "[2]", "[0]", "[-1]", "[99999999999999999999]", "[1, 2]", "[[1]]", "[1[2]]", "[", "]",
    "[١]", "[１]", "[²]", "[1;3]", "[ 1 ]", "(1)", "[a]", "[^1]", "[1](https://evil.example/x)",
    "<script>alert(1)</script>", "<b>28</b>", "![x](https://evil.example/?q=28)", "**28 дней**",
    "```\n28\n```", "\n\n", "\n- ", "\n1. ", "| 28 | 14 |", "#", "…", "...", "?!", "\u200b",
    "\u202e", "\ufeff", "9" * 400, "٢٨ дней", "28", "1e308", "№ 44-ФЗ", "\t", "\0", "н.э.", "т. е.",
    "🙂",
]  # fmt: skip

reply = st.lists(
    st.one_of(
        st.sampled_from(TRUE),
        st.sampled_from(FRAGMENTS),
        st.text(st.characters(codec="utf-8"), max_size=12),
    ),
    max_size=14,
).map(" ".join)


@dataclass
class PiecewiseModel(ScriptedChatModel):
    """Says a text in pieces of some lengths, over and over."""

    lengths: Sequence[int] = field(default_factory=lambda: (1,))

    async def stream(
        self, messages: Sequence[Message], params: ChatParams
    ) -> AsyncGenerator[ChatDelta]:
        text, place, at = self.reply(messages), 0, 0
        while place < len(text):
            length = self.lengths[at % len(self.lengths)]
            yield ChatDelta(text[place : place + length])
            place, at = place + length, at + 1
        yield ChatDelta(finish_reason="stop")


async def test_no_marker_dangles_and_no_quote_differs(house: House) -> None:
    services = house.services
    documents = [await house.add(LEAVE, "leave.txt"), await house.add(TABLE, "trips.md")]
    async with services.database.transaction() as session:
        texts = {name: await document_rows.get_text(session, name, 1) for name in documents}
    sources = Sources(lambda name, _version: texts[name], lambda _name, _version, said: said)
    outcomes = {"answered": 0, "abstained": 0}

    async def ask(text: str, lengths: Sequence[int]) -> None:
        model = PiecewiseModel(reply=lambda _messages: text, lengths=lengths)
        answering = Answering(
            services.database,
            services.retrieval,
            model,
            Rewriter(model, 0, rewrites=False),
            Verification(services.settings.answering.min_support),
            services.settings.answering.model_copy(update={"min_evidence": 0.0}),
            max_concurrent=1,
        )
        streamed = ""
        question = Question("Сколько дней отпуска и какие суточные в Казани?")
        try:
            async with aclosing(answering.ask(ADMIN, question)) as events:
                async for event in events:
                    streamed += getattr(event, "text", "")
                    last = event
        except ModelServerBroken:
            assert not any(letter.isalnum() for letter in text)
            return
        assert isinstance(last, Finished)
        exported = AskResponse.of(last).model_dump_json().encode()
        answer = msgspec.json.decode(exported, type=ExportedAnswer)
        outcomes[answer.status] += 1
        checked = recheck(answer, sources)
        assert checked.ok, checked.failures
        if answer.status == "answered":
            assert streamed == answer.text
            assert checked.unchecked == {}
            assert checked.checked["quotes"] == len(answer.citations)

    loop = asyncio.get_running_loop()

    @settings(derandomize=True, deadline=None, database=None)
    @given(text=reply, lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
    def asked(text: str, lengths: list[int]) -> None:
        asyncio.run_coroutine_threadsafe(ask(text, lengths), loop).result(60)

    await asyncio.to_thread(asked)
    assert min(outcomes.values()) > sum(outcomes.values()) / 20, outcomes
