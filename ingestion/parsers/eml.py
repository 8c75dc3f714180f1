"""E-mail: the envelope as the first block, the body as text; attachments are named, not read."""

from email import policy
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from app.domain.documents import BlockKind, ParsedDocument
from ingestion.parsers.builder import TextBuilder, TextLimits
from ingestion.parsers.encodings import decode
from ingestion.parsers.text import add_plain_text

_ENVELOPE = ("From", "To", "Cc", "Date", "Subject")
_MOST_PARTS = 1000


def parse(path: Path, limits: TextLimits) -> ParsedDocument:
    """Read a message; its subject is the title."""
    with path.open("rb") as file:
        message = BytesParser(policy=policy.compat32).parse(file)
    builder = TextBuilder(limits)
    envelope = {name: _header(message, name) for name in _ENVELOPE}
    lines = [f"{name}: {value}" for name, value in envelope.items() if value]
    builder.add(BlockKind.PARAGRAPH, "\n".join(lines))
    _add_body(builder, message)
    names = [name for part in message.walk() if (name := _attachment(part))]
    for name in names[:_MOST_PARTS]:
        builder.flag("attachments_not_read")
        builder.add(BlockKind.LIST_ITEM, f"- Attachment: {name}")
    return builder.build(envelope["Subject"] or None)


def _header(message: Message, name: str) -> str:
    """Return a header's text: encoded words (RFC 2047) or raw bytes of some encoding."""
    value = message.get(name)
    if value is None:
        return ""
    return _decoded(value)


def _known(charset: str | None) -> str | None:
    return None if charset in {None, "unknown-8bit", "us-ascii"} else charset


def _add_body(builder: TextBuilder, message: Message) -> None:
    """Add the text part; the HTML one where there is none, or an empty one."""
    for wanted in ("plain", "html"):
        bodies = [text for part in message.walk() if (text := _text(part, wanted)).strip()]
        for text in bodies:
            if wanted == "plain":
                add_plain_text(builder, text)
            else:
                from ingestion.parsers.html import add_html

                add_html(builder, text)
        if bodies:
            return


def _text(part: Message, subtype: str) -> str:
    if part.get_content_type() != f"text/{subtype}" or _attachment(part):
        return ""
    payload = part.get_payload(decode=True)
    charset = part.get_content_charset()
    return decode(payload, _known(charset)) if isinstance(payload, bytes) else ""


def _attachment(part: Message) -> str:
    """Return an attachment's name, "" for a part of the body."""
    name = part.get_filename()
    if name:
        return _decoded(name)
    return "message" if part.get_content_type() == "message/rfc822" else ""


def _decoded(header: str) -> str:
    """Decode a header's words; those that were encoded stand apart from those that were not."""
    text, before = "", None
    for word, charset in decode_header(header):
        plain = word if isinstance(word, str) else decode(word, _known(charset))
        text += (" " if (charset is None) != (before is None) else "") + plain
        before = charset
    return " ".join(text.split())
