"""Conversations: what of them reaches a prompt, who may read them, and when they are forgotten."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from app.db.base import now
from app.domain.answers import Answer
from app.domain.errors import NotFound
from app.engines.llm.scripted import ScriptedChatModel
from app.services.answering import Answering, Finished
from app.services.drafts import Question
from app.services.retention import Retention
from app.services.rewriting import Rewriter
from app.services.verification import Verification
from tests.integration.house import ADMIN, House, member

ANN = member("ann")
FIRST = "Сколько дней отпуска у сотрудника лаборатории?"
FOLLOW_UP = "А за сколько дней подаётся заявление?"
LEAVE = "Сотруднику лаборатории полагается 31 день отпуска. Заявление подаётся за 14 дней."


class Talk:
    """A person's conversation, and the prompts that it made."""

    def __init__(self, house: House) -> None:
        self.chat = ScriptedChatModel()
        services = house.services
        self.answering = Answering(
            services.database,
            services.retrieval,
            self.chat,
            Rewriter(self.chat, 0),
            Verification(services.settings.answering.min_support),
            services.settings.answering.model_copy(update={"min_evidence": 0.0}),
            4,
        )
        self.conversation_id: str | None = None

    async def ask(self, question: str) -> Finished:
        asked = Question(question, conversation_id=self.conversation_id)
        async for event in self.answering.ask(ANN, asked):
            if isinstance(event, Finished):
                self.conversation_id = event.conversation_id
                return event
        raise AssertionError

    @property
    def prompt(self) -> str:
        """The last user message that the model was given."""
        return self.chat.requests[-1][0][-1].content


async def live(house: House, content: str, *readers: str) -> str:
    return await house.add(content, readers=readers)


async def test_a_follow_up_is_told_the_turns_before(house: House) -> None:
    await live(house, LEAVE, "user:ann")
    talk = Talk(house)
    assert isinstance((await talk.ask(FIRST)).result, Answer)
    assert "Разговор" not in talk.prompt
    await talk.ask(FOLLOW_UP)
    excerpts, _, told = talk.prompt.partition("\n\nРазговор до этого")
    assert "31 день" in excerpts
    history, _, question = told.partition("\n\nВопрос: ")
    assert f"- {FIRST}" in history
    assert "полагается 31 день отпуска." in history
    assert "[1]" not in history
    assert question.endswith(FOLLOW_UP)


async def lose_by_deletion(house: House, document_id: str) -> None:
    await house.services.documents.delete(ADMIN, document_id)


async def lose_by_rights(house: House, document_id: str) -> None:
    await house.services.documents.change(ADMIN, document_id, readers=["user:bob"])


@pytest.mark.parametrize("lose", [lose_by_deletion, lose_by_rights])
async def test_what_the_caller_lost_is_in_no_later_prompt(
    house: House, lose: Callable[[House, str], Awaitable[None]]
) -> None:
    document_id = await live(house, LEAVE, "user:ann")
    await live(house, "Заявление на отпуск подаётся через портал.", "user:ann")
    talk = Talk(house)
    await talk.ask(FIRST)
    await lose(house, document_id)
    await house.services.index.catch_up()
    await talk.ask(FOLLOW_UP)
    assert f"- {FIRST}" in talk.prompt
    for messages, _ in talk.chat.requests[1:]:
        assert all("31 день" not in message.content for message in messages)


async def test_conversations_are_forgotten_after_their_days(house: House) -> None:
    await live(house, LEAVE, "user:ann")
    old, new = Talk(house), Talk(house)
    await old.ask(FIRST)
    await new.ask(FIRST)
    database = house.services.database
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE conversation SET updated_at = :at WHERE conversation_id = :id"),
            {"at": now() - timedelta(days=30, minutes=1), "id": old.conversation_id},
        )
    audit = house.services.audit
    assert await Retention(database, 0, audit).forget() == 0
    assert await Retention(database, 31, audit).forget() == 0
    assert await Retention(database, 30, audit).forget() == 1
    with pytest.raises(NotFound):
        await old.ask(FOLLOW_UP)
    await new.ask(FOLLOW_UP)
    async with database.transaction() as session:
        left = await session.execute(text("SELECT count(*) FROM answer"))
        assert left.scalar_one() == 2
