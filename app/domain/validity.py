"""Documents that say of themselves that they are no longer in force."""

import re

SUPERSEDED = "superseded"

_HEAD_CHARS = 800
_OPENS_WITH = re.compile(
    r"^[\W_]*(?:(?:настоящ\w+|данн\w+|this)\s+(?:\w+\s+){1,2})?(?:(?:has been|is|was)\s+)?"
    r"(?:утратил\w*\s+силу|отмен[её]н\w*|не\s+действует|недействующ\w+"
    r"|superseded|withdrawn|no\s+longer\s+in\s+force|obsolete)\b",
    re.IGNORECASE | re.MULTILINE,
)
_PAST = re.compile(
    r"\b(?:19|20)\d\d\b|\b(?:раньше|прежн\w+|бывш\w+|стар(?:ая|ой|ую|ые|ых|ый|ого)|утрати\w+"
    r"|former\w*|previous\w*|old|earlier|superseded|used\s+to)\b",
    re.IGNORECASE,
)


def is_superseded(text: str) -> bool:
    """Whether a line near the document's start opens with the statement that it is not in force.

    A line that merely mentions another document's end ("it replaces the 2023 version") does not
    count.
    """
    return _OPENS_WITH.search(text[:_HEAD_CHARS]) is not None


def asks_about_the_past(question: str) -> bool:
    """Whether a question wants rules of the past: it names a year or says so."""
    return _PAST.search(question) is not None
