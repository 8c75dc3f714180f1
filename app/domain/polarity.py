"""What a text affirms and what it denies: negations, opposites, what is allowed and forbidden."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.domain.text import FUNCTION_KEYS, normalise
from app.domain.words import lower, word_keys

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CLAUSE_END = re.compile(r"[.,](?!\d)|[!?;:|()\n]")
_REACH = 4  # words from a negation to what it denies

_NOT = frozenset("не нет not never нету".split())
_WITHOUT = frozenset("без no without neither none lacks lack".split())
_NOT_ONLY = frozenset("только лишь столько only just merely".split())
_CONJUNCTIONS = frozenset("but because however although а но однако хотя".split())
_MODAL = frozenset("can could may".split())
_SKIPPED = FUNCTION_KEYS | frozenset(
    "been being has have had do doe did will would shall should ani ever yet also so veri there "
    "realli necessarili its their his her him them they we you he she who which than then "
    "его ее их он она оно они мы вы я еще уже этот тот который весь свой ни".split()
)


def _concepts(*lines: str) -> dict[str, tuple[str, bool]]:
    """Read `concept: words that affirm it / words that deny it`."""
    table: dict[str, tuple[str, bool]] = {}
    for line in lines:
        concept, _, words = line.partition(":")
        for affirms, side in zip((True, False), words.split("/"), strict=True):
            for word in side.split():
                for key in (word, *word_keys(word)):
                    table.setdefault(key, (concept, affirms))
    return table


# Words that say the same, or its opposite. Those of `_WITH_TARGET` say it of the next word.
_CONCEPTS = _concepts(
    "allowed:можно разрешить разрешать разрешаться разрешено разрешен разрешенный допускаться "
    "допускать допустимо допустимый вправе мочь can could may allow allowed permit permitted "
    "permissible / нельзя запретить запрещать запрещаться запрещено запрещен запрещенный запрет "
    "недопустимо недопустимый cannot can't couldn't forbid forbidden prohibit prohibited ban "
    "banned disallow disallowed",
    "required:обязать обязан обязательный обязательно требоваться необходимо необходимый must "
    "require required mandatory compulsory obligatory / необязательный необязательно optional "
    "optionally voluntary",
    "increase:увеличить увеличиться увеличиваться увеличивать повысить повыситься повышаться "
    "повышать вырасти расти возрасти возрастать увеличение повышение рост increase rise growth / "
    "уменьшить уменьшиться уменьшаться уменьшать снизить снизиться снижаться снижать сократить "
    "сократиться сокращаться уменьшение снижение сокращение decrease reduce reduction decline",
    "more:больше более more / меньше менее less fewer",
    "most:максимум максимальный наибольший maximum maximal highest / минимум минимальный "
    "наименьший minimum minimal lowest",
    "enabled:включить включено enable enabled / выключить выключено отключить отключено disable "
    "disabled",
    "success:успешный успешно success successful succeed / неуспешный неудача failure fail",
    "true:верно верный правда true / неверно неверный ложь ложный false",
)
_WITH_TARGET = frozenset(("allowed", "required"))
_PREFIXES = ("не", "без", "бес", "un", "non")
_AT_TIMES = ("in", "im", "il", "ir", "dis")
_DENYING = frozenset(  # where those deny, unlike in “inform” or “discount”
    key
    for word in "invalid incomplete incorrect inactive indirect inaccurate independent ineligible "
    "impossible illegal irregular inappropriate insufficient invisible insecure inadmissible "
    "inability disagree disadvantage dissimilar".split()
    for key in word_keys(word)
)


@dataclass(slots=True)
class Polarity:
    """Words and concepts by key: for each occurrence whether it is affirmed or denied.

    `denied` names the words that stand under a negation as they are written; `shaded` are those
    beside them, which another wording would deny: “earned no rent”, “without earning rent”.
    """

    words: dict[str, list[bool]] = field(default_factory=dict)
    concepts: dict[str, list[bool]] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    shaded: set[str] = field(default_factory=set)
    has_negation: bool = False

    @classmethod
    def joined(cls, parts: Iterable["Polarity"]) -> "Polarity":
        """That of several texts."""
        whole = cls()
        for part in parts:
            for mine, theirs in ((whole.words, part.words), (whole.concepts, part.concepts)):
                for key, said in theirs.items():
                    mine.setdefault(key, []).extend(said)
            whole.denied |= part.denied
            whole.shaded |= part.shaded
            whole.has_negation |= part.has_negation
        return whole


def read_polarity(text: str) -> Polarity:
    """Read which words of a text stand under a negation."""
    return _Reader(normalise(text)).read()


def contradiction(claim: Polarity, evidence: Polarity) -> str | None:
    """What a claim affirms and its evidence denies, or the other way round; None for nothing.

    A word that the evidence both affirms and denies contradicts nothing, unless the claim says it
    as often and denies it more or less often. A denial of what the evidence does not mention counts
    where the evidence denies nothing at all.
    """
    for concept, said in claim.concepts.items():
        known = evidence.concepts.get(concept)
        if known and _differ(said, known):
            return concept.replace(":", " ")
    for key, said in claim.words.items():
        known = evidence.words.get(key) or [not value for value in _behind_prefixes(key, evidence)]
        denying = evidence if False in said else claim
        if known and _differ(said, known) and key not in denying.shaded:
            return claim.denied.get(key, key)
    if not (evidence.has_negation or any(False in said for said in evidence.concepts.values())):
        for key, word in claim.denied.items():
            if key not in evidence.words and not _behind_prefixes(key, evidence):
                return word
    return None


def _differ(said: list[bool], known: list[bool]) -> bool:
    as_often = len(said) == len(known) and sum(said) != sum(known)
    return as_often or not set(said) <= set(known)


def _behind_prefixes(key: str, evidence: Polarity) -> list[bool]:
    """What the evidence says of the word that is this one's opposite by a prefix."""
    said: list[bool] = []
    for prefix in (*_PREFIXES, *_AT_TIMES):
        bare = key.removeprefix(prefix)
        for other, longer, shorter in ((bare, key, bare), (prefix + key, prefix + key, key)):
            denies = prefix in _PREFIXES or longer in _DENYING
            if denies and longer != shorter and len(shorter) >= 4:
                said += evidence.words.get(other, [])
    return said


class _Reader:
    """Reads the words of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = [match.span() for match in _WORD.finditer(text)]
        self.words = [lower(text[start:end]) for start, end in self.spans]
        self.keys = [_key(word) for word in self.words]

    def read(self) -> Polarity:
        """Read all."""
        found = Polarity()
        is_denied = [False] * len(self.words)
        for at, word in enumerate(self.words):
            if _is_negation(word) and (target := self._target(at)) is not None:
                found.has_negation = True
                is_denied[target] = not is_denied[target]
                if (self.words[target] not in _CONCEPTS) and self.keys[target] not in _CONCEPTS:
                    found.denied[self.keys[target]] = self.words[target]
                    found.shaded |= self._beside(at, target)
        for at, word in enumerate(self.words):
            key = self.keys[at]
            if concept := _CONCEPTS.get(word) or _CONCEPTS.get(key):
                name, affirms = concept
                says = affirms != is_denied[at]
                found.concepts.setdefault(name, []).append(says)
                if name in _WITH_TARGET and (target := self._next(at)) is not None:
                    found.concepts.setdefault(f"{name}:{self.keys[target]}", []).append(says)
            elif key not in _SKIPPED and not _is_negation(word):
                found.words.setdefault(key, []).append(not is_denied[at])
        return found

    def _beside(self, at: int, target: int) -> set[str]:
        """The keys of the words that say something before a negation and after what it denies."""
        after = self._next(target)
        before = [p for p in range(at - 1, max(at - 3, -1), -1) if self.keys[p] not in _SKIPPED]
        if before and self._ends_between(before[0], at):
            before = []
        return {self.keys[place] for place in (after, *before[:1]) if place is not None}

    def _target(self, at: int) -> int | None:
        """The place of the word that a negation denies."""
        word = self.words[at]
        if word not in _NOT | _WITHOUT and self.keys[at] in _MODAL:  # can't
            return None
        if word == "not" and at and self.words[at - 1] in _MODAL:
            return at - 1
        following = self.words[at + 1] if at + 1 < len(self.words) else ""
        if following in _NOT_ONLY:
            return None
        if word == "не" and at + 1 < len(self.words) and self.keys[at + 1] not in _SKIPPED:
            return at + 1 if following and not self._ends_between(at, at + 1) else None
        after = self._next(at)
        if after is not None or word in _WITHOUT:
            return after
        before = [p for p in range(at - 1, max(at - 3, -1), -1) if self.keys[p] not in _SKIPPED]
        if before and not self._ends_between(before[0], at):
            return before[0]
        return self._next(at, beyond=True)

    def _next(self, at: int, beyond: bool = False) -> int | None:
        """The next word that says something, in the same clause or beyond."""
        for place in range(at + 1, min(at + 1 + _REACH, len(self.words))):
            is_over = self._ends_between(place - 1, place) or self.words[place] in _CONJUNCTIONS
            if is_over and not beyond:
                return None
            if self.keys[place] not in _SKIPPED and not _is_negation(self.words[place]):
                return place
        return None

    def _ends_between(self, one: int, two: int) -> bool:
        between = self.text[self.spans[one][1] : self.spans[two][0]]
        return _CLAUSE_END.search(between) is not None


def _is_negation(word: str) -> bool:
    return word in _NOT or word in _WITHOUT or word.endswith("n't")


def _key(word: str) -> str:
    stem = word.removesuffix("n't") if word not in ("can't", "won't") else word[:-2]
    keys = word_keys(stem.partition("'")[0] or word)
    return keys[0] if len(keys) == 1 else word
