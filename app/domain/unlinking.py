"""Taking links, images and markup out of generated text, so that no client acts on them.

A poisoned document can make a model write them, and a client that shows the answer would fetch the
image or offer the link. What is left contacts no host in any client: as HTML, as Markdown with
automatic links, or as plain text.
"""

import html
import re

REMOVED = "…"
"""Stands where an address was."""

# Invisible letters, which hide an address from a filter and not always from a client: everything of
# category Cf, the variation selectors, and halves of characters, which no database stores.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]"
)
# Letters that browsers read as the signs of an address.
_LOOK_ALIKES = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | str.maketrans(
    "。｡․⁄∕⧸﹕∶ː", "...///:::"
)
_AMPERSANDS = re.compile(r"&(?:amp;|#0*38;|#x0*26;)+", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~])(?!\\)")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)
_CODE = re.compile(
    r"<(script|style|iframe|object|svg|math)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_TAG = re.compile(r"<(?:[a-z/!?])[^<>]*>", re.IGNORECASE)
_TAG_BEGINNING = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)

_CYRILLIC_TOP = "рф|рус|москва|дети|онлайн|сайт|орг|ком"
_LABEL = r"[^\W_](?:[\w-]{0,62}[^\W_])?"
_NO_SPACE = r"[^\s<>\"'«»“”]"
_ADDRESS = re.compile(
    rf"""[\w+.-]{{0,40}}:(?://|\\\\|/\\|\\/){_NO_SPACE}*
       | (?<![\w@])(?:javascript|vbscript|livescript|data|file|blob|filesystem|about|view-source
             |mailto|tel|sms|callto|skype|magnet|urn|cid|mid|intent|market|ms-[a-z-]+|jar|feed)
             :(?=[^\s:]){_NO_SPACE}*
       | (?<![\w:/\\])(?://|\\\\)(?=[^\W_]|\[){_NO_SPACE}*
       | (?<!@)www\d{{0,3}}\.(?=[^\W_]){_NO_SPACE}*
       | (?<![\w@])(?<!\w[.-])(?:{_LABEL}\.){{1,10}}
             (?:[a-z][a-z0-9-]{{1,62}}|{_CYRILLIC_TOP})
             (?::\d{{1,5}})?[/?#](?=[^\s<>]){_NO_SPACE}*""",
    re.VERBOSE | re.IGNORECASE,
)
_TRAILING = re.compile(r"[.,;:!?…)\]}»\"'*_]+$")
# Bare names of hosts become evil[.]example: clients make links of those whose last part is known.
_TOP = (
    f"{_CYRILLIC_TOP}|com|net|org|info|biz|edu|gov|mil|int|arpa|name|pro|aero|coop|museum"
    "|mobi|asia|jobs|travel|tel|app|dev|xyz|top|site|online|shop|store|club|cloud|tech|live|page|link|click|icu|vip|work|zip"
    "|blog|email|group|space|website|world|digital|agency|media|news|team|today|support|services"
    "|example|test|invalid|local|localhost|internal|lan|corp|home|intranet|onion|xn--[a-z0-9-]+"
    "|(?!am|cc|cs|db|go|js|md|pl|pm|ps|py|rs|sh|so|ts|vb)[a-z]{2}"
)
_HOST = re.compile(
    rf"(?<![\w@])(?<!\w[.-])((?:{_LABEL}\.){{1,10}})({_TOP})(?![\w@-]|\.\w)", re.IGNORECASE
)
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,2}|(?:asp|vb|ado)\.net", re.IGNORECASE)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s[^()]*)?\)")
_MARKDOWN = ((re.compile(r"!(?=\[)"), ""), (re.compile(r"\](?=[(\[:])"), "] "))


def unlinked(text: str) -> str:
    """Return a text without addresses, images, HTML and hidden letters; other texts as they are.

    An address leaves an ellipsis, a link or an image its words. A bare host name stays readable as
    `portal[.]example`; e-mail addresses stay. Doing it twice changes nothing more.
    """
    while (cleaned := _once(text)) != text:
        text = cleaned
    return text


def as_written(text: str) -> str:
    """Return an unlinked text with its host names as the documents write them."""
    return text.replace("[.]", ".")


def _once(text: str) -> str:
    text = html.unescape(_AMPERSANDS.sub("&", text))
    text = _INVISIBLE.sub("", text).translate(_LOOK_ALIKES)
    text = _ESCAPE.sub("", text)
    text = _TAG.sub("", _CODE.sub("", _COMMENT.sub("", text)))
    text = _TAG_BEGINNING.sub("< ", text)
    text = _IMAGE_OR_LINK.sub(r"\1", text)
    text = _ADDRESS.sub(_removed, text)
    text = _HOST.sub(_defanged, text)
    for pattern, plain in _MARKDOWN:
        text = pattern.sub(plain, text)
    return text


def _removed(match: re.Match[str]) -> str:
    trailing = _TRAILING.search(match[0])
    return REMOVED + (trailing[0] if trailing else "")


def _defanged(match: re.Match[str]) -> str:
    if _ABBREVIATION.fullmatch(match[0]):
        return match[0]
    return f"{match[1][:-1].replace('.', '[.]')}[.]{match[2]}"
