"""A reranker for tests: no model, the same scores on every machine."""

from collections.abc import Sequence

import numpy as np

from app.domain.ports import Scores
from app.domain.text import search_keys


class OverlapReranker:
    """Scores a text by the share of the question's search keys that it holds."""

    model = "overlap"

    def score(self, question: str, texts: Sequence[str]) -> Scores:
        """Return float32 (n,) in [0, 1]; 0 for a question without keys."""
        asked = set(search_keys(question))
        shares = [len(asked & set(search_keys(text))) / max(len(asked), 1) for text in texts]
        return np.array(shares, np.float32)
