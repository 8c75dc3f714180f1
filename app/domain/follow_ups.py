"""Follow-up questions without a model: which lean on the turns before, and what is searched then.

`python -m benchmarks.rewriting follow-ups` measures the weights below.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.evidence import estimate_tokens
from app.domain.ports import KeyWeights
from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys
from app.domain.words import lower

# How much the keys of the last turn count: where the question leans on it, and where it stands
# alone (people seldom leave their topic). Each turn further back counts half of that.
_LEANING, _STANDING = 0.5, 0.15
_ANSWER_SHARE = 0.5  # of a question's keys; an answer has more of them
_READ_TURNS = 4
_READ_CHARS = 200  # of each question and answer; an embedder must come to the new question too

_PRONOUNS = frozenset(
    "он она оно они его ее их ему ей им него нее нею ней нему нем ним ними них "
    "he she it they him her hers his its them their theirs".split()
)
_POINTERS = frozenset(
    "это этот эта эти этого этой этих этому этим этими эту этом тот та те того той тех том тому ту "
    "то там тогда туда оттуда тут здесь такой такая такое такие такого таком сам "
    "this these those then such same".split()
)
_WITHOUT_TOPIC = (
    FUNCTION_KEYS
    | QUESTION_KEYS
    | _PRONOUNS
    | _POINTERS
    | frozenset(
        "другой второй первый последний еще также тоже so too also one ones other another else "
        "instead former latter that there".split()
    )
)
_MARKER = re.compile(r"\s*\[\d+\]")
_WORD = re.compile(r"[\w'-]+")
_GOES_ON = re.compile(
    r"\W*(?:а|и|но|или|ну|так|тогда|and|but|or|so|also|then|ok|okay|what about|how about)\b"
    r"|.*\b(?:there|that)\W*$",
    re.DOTALL,
)
_DEFINITION = re.compile(
    r"\W*(?:что тако\w+|кто так\w+|what (?:is|are) (?!the\b)|who (?:is|was)\b)"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question asked before; `answer` stays empty where Opora abstained."""

    question: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as retrieval reads it.

    Attributes:
        question: The lexical leg takes its keys.
        leans_on: The questions before it that it cannot be understood without; empty for none.
        earlier_keys: Keys of the turns before, which the lexical leg adds.
        translated: The question in the other language; the lexical leg adds its keys too. Empty
            where it was not translated.
    """

    question: str
    leans_on: str = ""
    earlier_keys: KeyWeights = field(default_factory=dict)
    translated: str = ""

    @property
    def text(self) -> str:
        """The whole, for what reads sentences: embedder, reranker, chat model."""
        return f"{self.leans_on} {self.question}".lstrip()


def in_context(question: str, history: Sequence[Turn]) -> Asked:
    """Read a question after the turns before it, the oldest first."""
    if not history:
        return Asked(question)
    leaning = leans(question)
    weight = _LEANING if leaning else _STANDING
    recent = history[: -_READ_TURNS - 1 : -1]  # the last one first
    earlier_keys: dict[str, float] = defaultdict(float)
    for distance, turn in enumerate(recent):
        for key in topic_keys(turn.question[:_READ_CHARS]):
            earlier_keys[key] += weight * 0.5**distance
    for key in topic_keys(recent[0].answer[:_READ_CHARS]):
        earlier_keys[key] += weight * _ANSWER_SHARE
    return Asked(question, _leant_on(recent) if leaning else "", dict(earlier_keys))


def leans(question: str) -> bool:
    """Whether a question needs the turns before it to be understood.

    It goes on («А в Казани?», "what about trainees"), speaks of something that it has hardly begun
    to name («Сколько он стоит?», not «Когда Тесла получил свой патент и кто его купил?»), or has
    one topic word at most («С какого года?»), unless that is what it asks the meaning of.
    """
    plain = lower(question)
    if _GOES_ON.match(plain):
        return True
    definition = _DEFINITION.match(plain)
    named = 0
    for word in _WORD.findall(plain, definition.end() if definition else 0):
        if (word in _PRONOUNS and named < 3) or (word in _POINTERS and named < 2):
            return True
        named += bool(topic_keys(word))
    return named == 0 or (named == 1 and not definition)


def recalled(history: Sequence[Turn], budget_tokens: int) -> str:
    """Return the last turns that fit into a budget of estimated tokens, whole, the oldest first."""
    told: list[str] = []
    for turn in reversed(history):
        lines = [turn.question, _MARKER.sub("", turn.answer)]
        text = "\n".join(f"- {line}" for line in lines if line)
        budget_tokens -= estimate_tokens(text)
        if budget_tokens < 0:
            break
        told.insert(0, text)
    return "\n".join(told)


def topic_keys(text: str) -> list[str]:
    """Return the keys that say what a text is about, in order, with repetitions."""
    return [key for key in search_keys(text) if key not in _WITHOUT_TOPIC]


def _leant_on(recent: Sequence[Turn]) -> str:
    """Return the last questions back to one that stands alone, in the order they were asked."""
    questions: list[str] = []
    for turn in recent:
        questions.insert(0, turn.question[:_READ_CHARS])
        if not leans(turn.question):
            break
    return " ".join(questions)
