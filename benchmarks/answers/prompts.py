"""The final prompts that Opora makes for some questions, without asking a model."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from app.domain.access import AccessScope
from app.domain.ports import ChatDelta, ChatParams, Message
from app.engines.llm.openai_client import OpenAiChatModel
from app.services.answering import Answering
from app.services.drafts import Question
from app.settings import AnsweringSettings
from app.wiring import Services, build_rewriter, build_verification


class Recorder(OpenAiChatModel):
    """Keeps the messages of each request and answers that there is no answer."""

    messages: Sequence[Message] = ()

    async def stream(
        self, messages: Sequence[Message], _params: ChatParams
    ) -> AsyncGenerator[ChatDelta]:
        """Keep the messages."""
        self.messages = messages
        yield ChatDelta("NO ANSWER", None, "stop")


async def final_prompts(
    services: Services,
    scope: AccessScope,
    questions: Sequence[Question],
    settings: AnsweringSettings,
    canonical_order: bool,
) -> list[Sequence[Message]]:
    """The messages for each question, as the app sends them."""
    recorder = Recorder(services.settings.llm)
    answering = Answering(
        services.database,
        services.retrieval,
        recorder,
        build_rewriter(services.settings, recorder),
        build_verification(services.settings),
        settings,
        1,
        canonical_order=canonical_order,
    )
    prompts = []
    for question in questions:
        async with aclosing(answering.ask(scope, question)) as events:
            async for _ in events:
                pass
        prompts.append(recorder.messages)
    await recorder.close()
    return prompts
