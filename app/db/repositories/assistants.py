"""Stored assistants."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import AssistantRow
from app.domain.assistants import AnswerFormat, Assistant, FormatType, Unsupported
from app.domain.errors import Conflict, NotFound


async def list_assistants(session: AsyncSession) -> list[Assistant]:
    """All of them, by name."""
    rows: Sequence[AssistantRow] = (
        await session.scalars(select(AssistantRow).order_by(AssistantRow.name))
    ).all()
    return [_assistant(row) for row in rows]


async def get_assistant(session: AsyncSession, name: str) -> Assistant:
    """Return an assistant, or raise NotFound."""
    return _assistant(await _row(session, name))


async def add_assistant(session: AsyncSession, assistant: Assistant) -> None:
    """Store a new one; Conflict when the name is taken."""
    if await session.get(AssistantRow, assistant.name, with_for_update=True) is not None:
        raise Conflict(f"there is an assistant {assistant.name!r} already")
    session.add(AssistantRow(**_fields(assistant)))


async def replace_assistant(session: AsyncSession, assistant: Assistant) -> None:
    """Store what changed of one, or raise NotFound."""
    row = await _row(session, assistant.name)
    for name, value in _fields(assistant).items():
        setattr(row, name, value)


async def delete_assistant(session: AsyncSession, name: str) -> None:
    """Remove one, or raise NotFound."""
    await session.delete(await _row(session, name))


async def _row(session: AsyncSession, name: str) -> AssistantRow:
    found = await session.get(AssistantRow, name)
    if found is None:
        raise NotFound(f"there is no assistant {name!r}")
    return found


def _fields(assistant: Assistant) -> dict[str, object]:
    fields = asdict(assistant)
    del fields["answer_format"]
    form = assistant.answer_format
    own = {"format": form.type, "json_schema": form.schema}
    return fields | own | {"collections": list(assistant.collections)}


def _assistant(row: AssistantRow) -> Assistant:
    return Assistant(
        name=row.name,
        instructions=row.instructions,
        tone=row.tone,
        language=row.language,
        collections=tuple(row.collections),
        answer_format=AnswerFormat(FormatType(row.format), row.json_schema),
        model=row.model,
        adapter=row.adapter,
        temperature=row.temperature,
        stages=row.stages,
        unsupported=Unsupported(row.unsupported),
    )
