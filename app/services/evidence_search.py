"""What a question finds: first by itself, and again with a draft of its answer or part by part."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, zip_longest

from app.domain.access import AccessScope
from app.domain.documents import Passage, SearchFilters
from app.domain.evidence import Candidates, Excerpt, Similarity
from app.domain.follow_ups import Asked, Turn, in_context, topic_keys
from app.domain.parts import question_parts
from app.domain.ports import Embedder
from app.domain.text import guess_language
from app.services.retrieval import Retrieval, SearchOptions, SearchResult
from app.services.rewriting import OTHER_LANGUAGE, Rewriter
from app.settings import AnsweringSettings
from app.telemetry import stage

# On XQuAD, Russian questions over English paragraphs: at the default threshold half of the
# answerable questions and 5 % of the unanswerable ones pass.
_FOREIGN_WEIGHT = 0.8
_DRAFT_WEIGHT = 0.5  # of a draft's keys; the question's count 1


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        asked: What was searched for.
        result: Passages, best first.
        strength: How well the passages bear on the question, in [0, 1].
        candidates: The sentences that may go into the prompt.
    """

    asked: Asked
    result: SearchResult
    strength: float
    candidates: Candidates = field(repr=False)

    @property
    def text(self) -> str:
        """The question as it was understood: in its context, in the keyboard layout meant."""
        return self.result.query.text

    @property
    def language(self) -> str:
        """The question's own."""
        return _language(self.text)

    @property
    def similarity(self) -> Similarity:
        """How alike texts are to the embedder of the index that was searched."""
        return _similarity_of(self.result)


class EvidenceSearch:
    """Searches for what an answer can be written from."""

    def __init__(
        self, retrieval: Retrieval, rewriter: Rewriter, settings: AnsweringSettings
    ) -> None:
        self._retrieval = retrieval
        self._rewriter = rewriter
        self._limit = settings.max_passages
        self._min_evidence = settings.min_evidence

    def is_weak(self, strength: float) -> bool:
        """Whether the model is better not asked."""
        return strength < self._min_evidence

    async def first(
        self,
        scope: AccessScope,
        filters: SearchFilters,
        asked: Asked,
        timings_ms: dict[str, float],
    ) -> Found:
        """Search; where that finds little, search translated, if there is anything to find so."""
        options = SearchOptions(filters=filters)
        result = await self._retrieval.search(scope, asked, self._limit, options)
        language = _language(result.query.text)
        weak = self.is_weak(evidence_strength(language, result.passages))
        if weak and filters.language != language:
            foreign = replace(filters, language=OTHER_LANGUAGE[language])
            if await asyncio.to_thread(self._retrieval.has_documents, scope, foreign):
                translated = await self._rewriter.translate(result.query.text, timings_ms)
                if translated is not None:
                    asked = replace(asked, translated=translated)
                    result = await self._retrieval.search(
                        scope, asked, self._limit, options, result.index
                    )
        timings_ms |= result.timings_ms
        wanted = f"{result.query.text} {asked.translated}".rstrip()
        candidates = await asyncio.to_thread(
            Candidates, wanted, result.passages, _similarity_of(result)
        )
        strength = evidence_strength(language, result.passages)
        return Found(asked, result, strength, candidates)

    async def again(
        self,
        scope: AccessScope,
        filters: SearchFilters,
        found: Found,
        told: Sequence[Excerpt],
        draft: str | None,
        timings_ms: dict[str, float],
    ) -> Found | None:
        """Search with a draft of the answer, or without one for each part of the question.

        Args:
            scope: The caller's rights.
            filters: What the caller narrows the search to.
            found: What the first search gave.
            told: Its excerpts; no sentence of them becomes a candidate again.
            draft: What the model wrote from them; None where it found no answer there.
            timings_ms: Gets `retrieve_2`.

        Returns:
            None where there is nothing else to search for.
        """
        if draft is not None:
            searches = [_with_draft(found.asked, draft)]
        else:
            whole = [Turn(found.text)]
            searches = [in_context(part, whole) for part in question_parts(found.text)]
        if not searches:
            return None
        limit = 2 * self._limit if draft is not None else self._limit
        options = SearchOptions(filters=filters)
        with stage("retrieve_2", timings_ms):
            results = await asyncio.gather(
                *(
                    self._retrieval.search(scope, asked, limit, options, found.result.index)
                    for asked in searches
                )
            )
        ranks = count(len(found.result.passages) + 1)
        passages = [
            replace(passage, rank=rank)
            for passage, rank in zip(
                _in_turn([result.passages for result in results]), ranks, strict=False
            )
        ]
        candidates = await asyncio.to_thread(
            Candidates, f"{found.text} {draft or ''}".rstrip(), passages, found.similarity, told
        )
        strength = found.strength
        if draft is None:
            each = [evidence_strength(found.language, result.passages) for result in results]
            strength = max(strength, min(each))
        return replace(found, strength=strength, candidates=candidates)


def _with_draft(asked: Asked, draft: str) -> Asked:
    keys = dict.fromkeys(topic_keys(draft), _DRAFT_WEIGHT) | dict(asked.earlier_keys)
    return replace(asked, leans_on=f"{asked.leans_on} {draft}".lstrip(), earlier_keys=keys)


def _in_turn(rankings: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Take the best of each ranking, then the second ones, and so on; each chunk once."""
    found: dict[int, Passage] = {}
    for row in zip_longest(*rankings):
        for passage in row:
            if passage is not None:
                found.setdefault(passage.chunk_id, passage)
    return list(found.values())


def _language(text: str) -> str:
    return guess_language(text) or "en"


def _similarity_of(result: SearchResult) -> Similarity:
    return partial(_similarity, result.index.embedder)


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
