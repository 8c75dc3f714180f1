"""Passages for the tests of evidence and citations."""

from collections.abc import Sequence
from datetime import UTC, datetime

from app.domain.documents import Passage


def passage(
    text: str,
    chunk_id: int = 1,
    title: str = "Положение об отпусках",
    context: str = "",
    char_start: int = 100,
    score: float = 1.0,
) -> Passage:
    """A passage that stands at `char_start` of its document."""
    return Passage(
        chunk_id=chunk_id,
        document_id=f"doc_{chunk_id}",
        version=2,
        ordinal=chunk_id,
        tokens=len(text) // 4,
        gap="\n",
        title=title,
        source_uri="https://wiki.example/leave",
        text=text,
        context=context,
        pages=(3,),
        heading_path=(title, "Сроки"),
        char_start=char_start,
        char_end=char_start + len(text),
        language="ru",
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        score=score,
    )


def unlike(_text: str, others: Sequence[str]) -> list[float]:
    """A similarity that sees none."""
    return [0.0 for _ in others]


def alike(_text: str, others: Sequence[str]) -> list[float]:
    """A similarity that sees much of it everywhere."""
    return [0.9 for _ in others]
