"""What hangs on a message: each file that Opora reads becomes a section of the message's text."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from app.domain.documents import BlockKind, MediaType, ParsedDocument
from app.domain.errors import DocumentRejected, EmptyDocument, UnreadableDocument, UnsupportedMedia
from app.services.media_types import sniff_file
from ingestion.parsers.builder import TextBuilder, TextLimits

_DEEPEST = 3
_MOST = 100
_LONGEST_LINE = 400
_MESSAGES = {MediaType.EML, MediaType.MSG}


@dataclass(frozen=True)
class Attachment:
    """What hangs on a message: the bytes of a file, or a way to `read` a message in the message."""

    name: str
    data: bytes = b""
    read: Callable[[TextLimits], ParsedDocument] | None = None


@dataclass(frozen=True)
class Inner:
    """What is left of a message's limits for one of its attachments; satisfies TextLimits."""

    max_text_chars: int
    max_blocks: int
    depth: int


def add_attachments(
    builder: TextBuilder, attachments: list[Attachment], limits: TextLimits
) -> None:
    """Add the text of each attachment under a heading of its name.

    One that cannot be read is named with the reason, and the document is flagged
    `attachments_skipped`. The builder's flags take in those of the attachments.
    """
    depth = limits.depth + 1 if isinstance(limits, Inner) else 1
    for number, attachment in enumerate(attachments):
        try:
            if number >= _MOST:
                raise UnreadableDocument(f"a message's first {_MOST} attachments are read")
            _add(builder, attachment, _room(builder, len(attachments) - number, depth))
        except EmptyDocument as error:
            builder.add(BlockKind.LIST_ITEM, f"- {attachment.name}: {error.message}")
        except (DocumentRejected, UnsupportedMedia) as error:
            builder.flag("attachments_skipped")
            builder.add(BlockKind.LIST_ITEM, f"- {attachment.name}: not read, {error.message}")


def _room(builder: TextBuilder, attachments: int, depth: int) -> Inner:
    """Return what is left of the limits when a line for each attachment is set aside."""
    chars, blocks = builder.room()
    return Inner(max(0, chars - attachments * _LONGEST_LINE), max(0, blocks - attachments), depth)


def _add(builder: TextBuilder, attachment: Attachment, limits: Inner) -> None:
    if attachment.read is not None:
        _check_depth(limits.depth)
        parsed = attachment.read(limits)
    elif attachment.data:
        parsed = _parse(attachment, limits)
    else:
        raise EmptyDocument("the file is empty (0 bytes)")
    builder.add_inner(attachment.name, parsed)


def _parse(attachment: Attachment, limits: Inner) -> ParsedDocument:
    from ingestion.parsers.registry import parse_file

    file = io.BytesIO(attachment.data)
    media_type = sniff_file(file, attachment.name)
    if media_type in _MESSAGES:
        _check_depth(limits.depth)
    file.seek(0)
    return parse_file(file, media_type, limits)


def _check_depth(depth: int) -> None:
    if depth >= _DEEPEST:
        raise UnreadableDocument(f"messages in messages are read {_DEEPEST - 1} deep")
