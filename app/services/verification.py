"""Deciding whether a sentence leaves the house, and counting why not."""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.citations import Sentence, Support, find_support
from app.domain.evidence import Excerpt, Similarity
from app.domain.ports import EntailmentModel
from app.telemetry import SENTENCES


class Verification:
    """Checks sentences layer by layer against the evidence."""

    def __init__(self, min_support: float, entailment: EntailmentModel | None = None) -> None:
        """Prepare it.

        Args:
            min_support: Below it a sentence does not leave.
            entailment: Asked about each sentence whose facts hold; None asks none.
        """
        self._min_support = min_support
        self._entailment = entailment

    def check(
        self, sentence: Sentence, question: str, excerpts: Sequence[Excerpt], similarity: Similarity
    ) -> Support | None:
        """Find the quote that carries a sentence, or None where none carries it. Blocks.

        Raises:
            EntailmentUnavailable: The entailment model fails.
        """
        found = find_support(sentence, question, excerpts, similarity)
        if not isinstance(found, Support):
            kinds = {fact.kind.value for fact in found.missing}
            SENTENCES.labels(min(kinds) if kinds else "weak").inc()
            return None
        if self._entailment is not None:
            excerpt = excerpts[found.excerpt - 1]
            quote = excerpt.passage.text[found.start : found.end]
            above = (excerpt.heading, excerpt.passage.context)
            premise = "\n".join(part for part in (*above, quote) if part)
            score = float(self._entailment.score([premise], [sentence.text])[0])
            found = replace(found, layers=replace(found.layers, entailment=round(score, 4)))
        is_carried = found.score >= self._min_support
        SENTENCES.labels("supported" if is_carried else "weak").inc()
        return found if is_carried else None
