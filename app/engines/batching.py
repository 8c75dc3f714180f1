"""Batches of texts for models that read them side by side."""

from collections.abc import Iterator, Sequence


def of_like_length(lengths: Sequence[int], budget_tokens: int) -> Iterator[list[int]]:
    """Yield the places of texts, shortest first, cut where a batch with its padding is full.

    Args:
        lengths: Tokens of each text.
        budget_tokens: Most tokens of a batch, padding included; a longer text is alone.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > budget_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
