"""E-mail: the envelope as the first block, the body as text, then what is attached."""

from collections.abc import Iterator
from email import policy
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from typing import BinaryIO

from app.domain.documents import BlockKind, ParsedDocument
from ingestion.parsers.attachments import Attachment, add_attachments
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode
from ingestion.parsers.text import add_plain_text

_ENVELOPE = ("From", "To", "Cc", "Date", "Subject")


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read a message; its subject is the title."""
    message = BytesParser(policy=policy.compat32).parse(file)
    builder = TextBuilder(limits)
    envelope = {name: _header(message, name) for name in _ENVELOPE}
    lines = [f"{name}: {value}" for name, value in envelope.items() if value]
    builder.add(BlockKind.PARAGRAPH, "\n".join(lines))
    parts = list(_parts(message))
    _add_body(builder, parts)
    add_attachments(builder, [_attached(part) for part in parts if _is_attached(part)], limits)
    return builder.build(envelope["Subject"] or None)


def _parts(message: Message) -> Iterator[Message]:
    """Yield the leaves of a message in order; an attached message is a leaf."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            inner = [one for one in part.get_payload() if isinstance(one, Message)]
            waiting += reversed(inner)
        else:
            yield part


def _header(message: Message, name: str) -> str:
    """Return a header's text: encoded words (RFC 2047) or raw bytes of some encoding."""
    value = message.get(name)
    if value is None:
        return ""
    return _decoded(value)


def _known(charset: str | None) -> str | None:
    return None if charset in {None, "unknown-8bit", "us-ascii"} else charset


def _add_body(builder: TextBuilder, parts: list[Message]) -> None:
    """Add the text part; the HTML one where there is none, or an empty one."""
    for wanted in ("plain", "html"):
        bodies = [text for part in parts if (text := _text(part, wanted)).strip()]
        for text in bodies:
            if wanted == "plain":
                add_plain_text(builder, text)
            else:
                from ingestion.parsers.html import add_html

                add_html(builder, text)
        if bodies:
            return


def _text(part: Message, subtype: str) -> str:
    if part.get_content_type() != f"text/{subtype}" or _is_attached(part):
        return ""
    payload = part.get_payload(decode=True)
    charset = part.get_content_charset()
    return decode(payload, _known(charset)) if isinstance(payload, bytes) else ""


def _is_attached(part: Message) -> bool:
    """Whether a leaf is a file; the rest is the body of the message."""
    if part.get_filename() or part.get_content_disposition() == "attachment":
        return True
    return part.get_content_type() not in {"text/plain", "text/html"}


def _attached(part: Message) -> Attachment:
    name = _decoded(part.get_filename() or "")
    payload = part.get_payload()
    if part.get_content_type() == "message/rfc822" and isinstance(payload, list):
        inner = payload[0]
        assert isinstance(inner, Message)
        name = name or f"{_header(inner, 'Subject') or 'message'}.eml"
        return Attachment(name, inner.as_bytes())
    data = part.get_payload(decode=True)
    return Attachment(name or part.get_content_type(), data if isinstance(data, bytes) else b"")


def _decoded(header: str) -> str:
    """Decode a header's words; those that were encoded stand apart from those that were not."""
    text, before = "", None
    for word, charset in decode_header(header):
        plain = word if isinstance(word, str) else decode(word, _known(charset))
        text += (" " if (charset is None) != (before is None) else "") + plain
        before = charset
    return " ".join(text.split())
