"""An entailment model for tests: no model, the same scores on every machine."""

from collections.abc import Sequence

import numpy as np

from app.domain.ports import Scores
from app.domain.text import search_keys


class OverlapEntailment:
    """Scores a hypothesis by the share of its search keys that the premise holds."""

    model = "overlap"

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """Return float32 (n,) in [0, 1]; 0 for a hypothesis without keys."""
        shares = []
        for premise, hypothesis in zip(premises, hypotheses, strict=True):
            stated = set(search_keys(hypothesis))
            shares.append(len(stated & set(search_keys(premise))) / max(len(stated), 1))
        return np.array(shares, np.float32)
