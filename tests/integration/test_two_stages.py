"""Two stages: what a draft, or a part of the question, finds that the question alone does not."""

import pytest

from app.domain.access import AccessScope
from app.domain.answers import Abstention, AbstentionReason, Answer
from app.domain.assistants import AnswerFormat, Assistant, FormatType
from app.domain.errors import ModelServerBroken, ModelServerUnavailable
from app.engines.llm.scripted import ScriptedChatModel, fixed
from app.services.answering import Answering, Finished, Retrieved
from app.services.drafts import Question
from app.services.rewriting import Rewriter
from app.services.verification import Verification
from tests.integration.house import ADMIN, House, member

QUESTION = "Кто утверждает договор с поставщиком, который возит обеды в лабораторию?"
SUPPLIER = "Обеды в лабораторию возит поставщик Калинка."
SIGNER = "Документы фирмы Калинка подписывает Орлова."
NOISE = "Парковка закрыта по воскресеньям."
DRAFT = "Обеды в лабораторию возит поставщик Калинка."
FINAL = "Документы фирмы Калинка подписывает Орлова."
REFUSAL = "НЕТ ОТВЕТА"


def answering(house: House, chat: ScriptedChatModel, **changes: object) -> Answering:
    services = house.services
    changes = {"min_evidence": 0.0, "max_passages": 1} | changes
    settings = services.settings.answering.model_copy(update=changes)
    return Answering(
        services.database,
        services.retrieval,
        chat,
        Rewriter(chat, 0),
        Verification(settings.min_support),
        settings,
        4,
    )


async def ask(
    talk: Answering, question: Question, scope: AccessScope = ADMIN
) -> tuple[list[Retrieved], Finished]:
    retrieved: list[Retrieved] = []
    async for event in talk.ask(scope, question):
        if isinstance(event, Retrieved):
            retrieved.append(event)
        if isinstance(event, Finished):
            return retrieved, event
    raise AssertionError


def prompts(chat: ScriptedChatModel) -> list[str]:
    return [messages[-1].content for messages, _ in chat.requests]


async def fill(house: House) -> None:
    for content in (SUPPLIER, SIGNER, NOISE):
        await house.add(content)


async def test_a_draft_finds_what_the_question_does_not_name(house: House) -> None:
    await fill(house)
    one, two = ScriptedChatModel(fixed(FINAL)), ScriptedChatModel(fixed(DRAFT, FINAL))
    _, alone = await ask(answering(house, one), Question(QUESTION))
    assert isinstance(alone.result, Abstention)
    retrieved, finished = await ask(answering(house, two), Question(QUESTION, stages=2))
    result = finished.result
    assert isinstance(result, Answer)
    assert result.text == "Документы фирмы Калинка подписывает Орлова [2]."
    assert result.citations[0].quote == SIGNER
    assert [passage.text for passage in result.passages][:2] == [SUPPLIER, SIGNER]
    ranks = [passage.rank for passage in result.passages]
    assert ranks == sorted(set(ranks))
    assert [event.passages for event in retrieved] == [result.passages[:1], result.passages]
    assert DRAFT not in result.text
    first, last = prompts(two)
    assert SIGNER not in first
    shared = first.partition("\n\nВопрос:")[0]
    assert last.startswith(shared + "\n\n[2] ")
    assert two.requests[0][0][:-1] == two.requests[1][0][:-1]
    sizes = [await two.measure(*request) for request in two.requests]
    assert result.usage.prompt_tokens == sum(size.tokens for size in sizes)
    words = f"{DRAFT} {FINAL}".replace(".", " .").split()
    assert result.usage.completion_tokens == len(words)
    assert {"draft", "retrieve_2", "choose_evidence_2", "generate"} <= result.timings_ms.keys()


@pytest.mark.parametrize("form", [FormatType.HTML, FormatType.JSON_SCHEMA])
async def test_other_forms_take_two_stages_too(house: House, form: FormatType) -> None:
    await fill(house)
    schema = {"type": "object", "properties": {"who": {"type": "string"}}}
    is_data = form is FormatType.JSON_SCHEMA
    said = ('{"who": "Калинка"}', '{"who": "Орлова"}') if is_data else (DRAFT, FINAL)
    chat = ScriptedChatModel(fixed(*said))
    wanted = AnswerFormat(form, schema if is_data else None)
    assistant = Assistant(stages=2, answer_format=wanted)
    _, finished = await ask(answering(house, chat), Question(QUESTION, assistant=assistant))
    assert isinstance(finished.result, Answer)
    assert "Орлова" in finished.result.text
    assert "Обеды" not in finished.result.text
    first, last = prompts(chat)
    assert last.startswith(first.partition("\n\nВопрос:")[0])
    assert [params.response_format is not None for _, params in chat.requests] == [False, is_data]


async def test_a_refused_draft_lets_the_parts_of_the_question_be_searched(house: House) -> None:
    await house.add("Отпуск в лаборатории длится 31 день.")
    await house.add("Командировку в Казань согласует Орлова.")
    chat = ScriptedChatModel(fixed(REFUSAL, "Командировку в Казань согласует Орлова."))
    question = Question(
        "Сколько дней длится отпуск в лаборатории и кто согласует командировку?", stages=2
    )
    retrieved, finished = await ask(answering(house, chat), question)
    assert isinstance(finished.result, Answer)
    assert len(retrieved) == 2
    assert "31 день" in prompts(chat)[1]


async def test_a_refused_draft_ends_there_where_nothing_else_can_be_searched(house: House) -> None:
    await fill(house)
    chat = ScriptedChatModel(fixed(REFUSAL))
    retrieved, finished = await ask(
        answering(house, chat), Question("Кто возит обеды в лабораторию?", stages=2)
    )
    assert isinstance(finished.result, Abstention)
    assert finished.result.reason is AbstentionReason.MODEL_FOUND_NOTHING
    assert (len(chat.requests), len(retrieved)) == (1, 1)
    assert finished.result.usage.prompt_tokens > 0


async def test_weak_evidence_is_not_drafted_from(house: House) -> None:
    await fill(house)
    chat = ScriptedChatModel()
    weak = answering(house, chat, min_evidence=1.0)
    _, finished = await ask(weak, Question(QUESTION, stages=2))
    assert isinstance(finished.result, Abstention)
    assert finished.result.reason is AbstentionReason.WEAK_EVIDENCE
    assert chat.requests == []


async def test_the_second_search_sees_no_more_than_the_caller_may(house: House) -> None:
    await house.add(SUPPLIER)
    await house.add(SIGNER, readers=["user:bob"])
    chat = ScriptedChatModel(fixed(DRAFT, FINAL))
    question = Question(QUESTION, stages=2)
    _, finished = await ask(answering(house, chat), question, member("ann"))
    assert isinstance(finished.result, Abstention)
    assert all("Орлова" not in text for text in prompts(chat))


async def test_a_failing_draft_is_an_error_and_no_answer(house: House) -> None:
    await fill(house)
    gone, mute = (
        ScriptedChatModel(fail_with=ModelServerUnavailable("")),
        ScriptedChatModel(fixed("")),
    )
    for chat, error in ((gone, ModelServerUnavailable), (mute, ModelServerBroken)):
        with pytest.raises(error):
            await ask(answering(house, chat), Question(QUESTION, stages=2))


async def test_the_request_decides_over_the_assistant(house: House) -> None:
    await fill(house)
    for stages, own, requests in ((None, 1, 1), (None, 2, 2), (1, 2, 1), (2, 1, 2)):
        chat = ScriptedChatModel(fixed(DRAFT, FINAL))
        question = Question(QUESTION, stages=stages, assistant=Assistant(stages=own))
        await ask(answering(house, chat), question)
        assert len(chat.requests) == requests, (stages, own)


async def test_weak_evidence_for_the_whole_can_be_strong_for_each_part(house: House) -> None:
    await house.add("Отпуск стажёра длится 31 день.")
    await house.add("Командировку в Казань согласует Орлова.")
    text = "Сколько дней длится отпуск стажёра и кто согласует командировку в Казань?"
    said = "Командировку в Казань согласует Орлова."
    chat = ScriptedChatModel(fixed(said))
    gated = answering(house, chat, min_evidence=0.6)
    _, one = await ask(gated, Question(text))
    assert isinstance(one.result, Abstention)
    assert one.result.reason is AbstentionReason.WEAK_EVIDENCE
    _, two = await ask(gated, Question(text, stages=2))
    assert isinstance(two.result, Answer)
    assert len(chat.requests) == 1
    half = text.replace("командировку в Казань", "поездку на Луну")
    _, three = await ask(gated, Question(half, stages=2))
    assert isinstance(three.result, Abstention)
    assert three.result.reason is AbstentionReason.WEAK_EVIDENCE
