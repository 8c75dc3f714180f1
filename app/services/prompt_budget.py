"""Filling a prompt with evidence, as far as the budget and the model's context allow."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.domain.errors import PromptTooLong
from app.domain.evidence import Candidates, Excerpt, canonical_order
from app.domain.ports import ChatModel, ChatParams, PromptSize
from app.services.drafts import Order

_TRIES = 4
_REPAIR_TOKENS = 300  # what asks for better JSON, beside the JSON itself
_ESTIMATE_MARGIN = 1.25  # the estimate of a prompt without its tokenizer is up to 24 % too low


class PromptBudget:
    """Counts in the model's own tokens where its server counts them, else in estimated ones.

    Args:
        chat: The model.
        evidence_tokens: What the excerpts of one search may take.
        answer_tokens: The longest answer, for which the context keeps room.
        is_canonical: Whether excerpts stand by document and place, or the best first.
    """

    def __init__(
        self, chat: ChatModel, evidence_tokens: int, answer_tokens: int, is_canonical: bool
    ) -> None:
        self._chat = chat
        self._evidence_tokens = evidence_tokens
        self._answer_tokens = answer_tokens
        self._is_canonical = is_canonical

    async def fill(self, order: Order, candidates: Candidates, params: ChatParams) -> Order:
        """Add the best candidates to the excerpts that the order has; those stay as they are.

        A smaller budget takes fewer sentences, the least fitting ones go first. History goes before
        the question does.

        Raises:
            PromptTooLong: Not even the question has room.
        """
        base = await self._chat.measure(order.prompt(), params)
        if self._lacking(base, order) > 0 and order.history:
            order = replace(order, history="")
            base = await self._chat.measure(order.prompt(), params)
        if self._lacking(base, order) > 0:
            raise PromptTooLong(
                f"question, instructions and schema take {base.tokens} tokens, and the model reads "
                f"{base.context_tokens} with the answer; ask in fewer words, or let an admin "
                "shorten the assistant's instructions or give the model server a longer context"
            )
        budget = self._evidence_tokens
        chosen: list[Excerpt] = []
        for _ in range(_TRIES):
            chosen = await asyncio.to_thread(candidates.within, budget)
            taken, lacking = await self._priced(order, chosen, base, params)
            if lacking <= 0:
                return self._with(order, chosen)
            budget = max(0, min(budget - 1, int(budget * (1 - lacking / max(taken, lacking)))))
        while chosen:
            chosen = chosen[:-1]
            if (await self._priced(order, chosen, base, params))[1] <= 0:
                break
        return self._with(order, chosen)

    async def _priced(
        self, order: Order, chosen: Sequence[Excerpt], base: PromptSize, params: ChatParams
    ) -> tuple[int, int]:
        """Return the tokens that excerpts take, and how many too many they are."""
        if not chosen:
            return 0, 0
        filled = self._with(order, chosen)
        size = await self._chat.measure(filled.prompt(), params)
        taken = size.tokens - base.tokens
        over = taken - self._evidence_tokens if size.is_exact and base.is_exact else 0
        return taken, max(over, self._lacking(size, order))

    def _lacking(self, size: PromptSize, order: Order) -> int:
        """Return by how many tokens a prompt and what follows it exceed the context."""
        if size.context_tokens is None:
            return 0
        reserve = self._answer_tokens
        if order.schema is not None:
            reserve = 2 * reserve + _REPAIR_TOKENS
        tokens = size.tokens if size.is_exact else int(size.tokens * _ESTIMATE_MARGIN)
        return tokens + reserve - size.context_tokens

    def _with(self, order: Order, chosen: Sequence[Excerpt]) -> Order:
        stand = canonical_order(chosen) if self._is_canonical else range(len(chosen))
        told = len(order.excerpts)
        return replace(
            order,
            excerpts=(*order.excerpts, *chosen),
            prompt_order=(*order.prompt_order, *(told + number for number in stand)),
        )
