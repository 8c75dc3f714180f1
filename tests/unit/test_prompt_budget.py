"""Prompts that are filled with evidence, and what of it goes where there is no room."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.citations import Sentence
from app.domain.errors import PromptTooLong
from app.domain.evidence import Candidates
from app.domain.ports import ChatParams, Message, PromptSize
from app.engines.llm.scripted import ScriptedChatModel
from app.services.drafts import Order, Question
from app.services.prompt_budget import PromptBudget
from tests.unit.passages import passage, unlike

ANSWER = 50
QUESTION = "За сколько дней подаётся заявление на отпуск?"
FILLER = "Рабочий день начинается в девять часов утра в каждом отделе. "
KEY = "Заявление на отпуск подаётся за четырнадцать дней. "
LONG = FILLER * 10 + KEY + FILLER * 10
PARAMS = ChatParams(ANSWER)
BARE = Order(Question(QUESTION), QUESTION, "ru")


@dataclass
class LetterModel(ScriptedChatModel):
    """Each letter is a token of it."""

    is_exact: bool = True

    async def measure(self, messages: Sequence[Message], params: ChatParams) -> PromptSize:
        letters = sum(len(turn.content) for turn in messages)
        return PromptSize(letters, self.context_tokens, self.is_exact)


async def room(chat: LetterModel, order: Order = BARE) -> int:
    return (await chat.measure(order.prompt(), PARAMS)).tokens


def candidates(*texts: str) -> Candidates:
    return Candidates(QUESTION, [passage(text, n) for n, text in enumerate(texts, 1)], unlike)


async def test_the_budget_is_in_the_models_own_tokens() -> None:
    chat = LetterModel()
    filled = await PromptBudget(chat, 300, ANSWER, True).fill(BARE, candidates(LONG), PARAMS)
    assert KEY.strip() in filled.excerpts[0].text
    assert await room(chat, filled) - await room(chat) <= 300
    guessed = LetterModel(is_exact=False)
    more = await PromptBudget(guessed, 300, ANSWER, True).fill(BARE, candidates(LONG), PARAMS)
    assert await room(chat, more) - await room(chat) > 300  # estimated, a token has many letters


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    texts=st.lists(st.sampled_from([KEY, FILLER, LONG, FILLER + KEY]), max_size=5),
    spare=st.integers(0, 2000),
    budget=st.integers(0, 2000),
    is_exact=st.booleans(),
)
async def test_prompt_and_answer_fit_the_context_and_cuts_are_marked(
    texts: list[str], spare: int, budget: int, is_exact: bool
) -> None:
    chat = LetterModel(is_exact=is_exact)
    needed = await room(chat) * (1 if is_exact else 1.25)
    chat.context_tokens = int(needed) + ANSWER + spare
    filled = await PromptBudget(chat, budget, ANSWER, True).fill(BARE, candidates(*texts), PARAMS)
    assert await room(chat, filled) + ANSWER <= chat.context_tokens
    for excerpt in filled.excerpts:
        whole = excerpt.passage.text.strip()
        assert excerpt.text == whole or "…" in excerpt.text


async def test_history_goes_before_the_question_does() -> None:
    chat = LetterModel()
    order = Order(Question(QUESTION), QUESTION, "ru", history="- Сколько дней отпуска?" * 9)
    chat.context_tokens = await room(chat) + ANSWER
    budget = PromptBudget(chat, 300, ANSWER, True)
    assert (await budget.fill(order, candidates(KEY), PARAMS)) == BARE
    chat.context_tokens -= 1
    with pytest.raises(PromptTooLong):
        await budget.fill(order, candidates(KEY), PARAMS)


async def test_what_the_first_stage_told_stays_first_and_is_not_told_again() -> None:
    chat = LetterModel()
    budget = PromptBudget(chat, 10_000, ANSWER, is_canonical=True)
    first = await budget.fill(BARE, candidates(KEY, FILLER), PARAMS)
    joint = passage(KEY + "\n" + LONG, 1)
    again = Candidates(QUESTION, [joint, passage(FILLER, 2)], unlike, first.excerpts)
    second = await budget.fill(first, again, PARAMS)
    assert second.excerpts[:2] == first.excerpts
    (added,) = second.excerpts[2:]
    assert added.text.startswith("…")
    assert min(start for start, _ in added.spans) >= len(KEY)


async def test_the_prompt_is_in_canonical_order_and_markers_count_there() -> None:
    budget = PromptBudget(LetterModel(), 10_000, ANSWER, is_canonical=True)
    ranked = [passage(f"Пункт {n}.", n, title=f"Том {n}") for n in (3, 1, 2)]
    prompts = set()
    for passages in (ranked, ranked[::-1], ranked[1:] + ranked[:1]):
        order = await budget.fill(BARE, Candidates(QUESTION, passages, unlike), PARAMS)
        assert [excerpt.passage for excerpt in order.excerpts] == passages  # best first
        prompts.add(order.prompt()[-1].content)
        claimed = order.claimed(Sentence("Пункт 3.", (3, 9)))
        (number,) = claimed.markers
        assert order.excerpts[number - 1].passage.text == "Пункт 3."
    assert len(prompts) == 1
    best_first = PromptBudget(LetterModel(), 10_000, ANSWER, is_canonical=False)
    order = await best_first.fill(BARE, Candidates(QUESTION, ranked, unlike), PARAMS)
    assert "[1] Том 3" in order.prompt()[-1].content
