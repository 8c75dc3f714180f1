"""The company's glossary: its file, and the texts that mean the same as words of a question."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from app.domain.errors import InvalidLines
from app.domain.text import FUNCTION_KEYS, QUESTION_KEYS, search_keys

Keys = tuple[str, ...]

MOST_BYTES = 8 * 1024**2
MOST_TERMS = 20_000
MOST_EXPANSIONS = 20  # of one term
LONGEST_TEXT = 200  # characters of a term or an expansion
LONGEST_LINE = 10_000  # characters

_COLUMNS = ["term", "expansions", "language"]
_LANGUAGES = {"": None, "ru": "ru", "en": "en"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEPARATOR = re.compile("[;|]")
_TWO_CAPITALS = re.compile("[A-ZА-ЯЁ][^A-ZА-ЯЁ]*[A-ZА-ЯЁ]")

_MOST_FOUND = 16  # texts for a question
_MOST_MEANINGS = 3  # entries that a text may stand in and still be looked for
_COMMON_KEYS = FUNCTION_KEYS | QUESTION_KEYS


@dataclass(frozen=True, slots=True)
class Entry:
    """A term and what means the same; `language` is `ru`, `en`, or None where none was named."""

    term: str
    expansions: tuple[str, ...]
    language: str | None = None


class _BrokenLine(ValueError):
    """The reason why a line is refused."""


def read_glossary(data: bytes) -> tuple[Entry, ...]:
    """Read a glossary file: UTF-8, a header, then one term a line.

    The columns are `term`, `expansions` and, if wanted, `language`, with commas or semicolons in
    between; several expansions in a cell stand between `;` or `|`. Blank lines say nothing.

    Raises:
        InvalidLines: Every line that is broken, by number, with the reason.
    """
    header, *lines = data.removeprefix(codecs.BOM_UTF8).splitlines() or [b""]
    delimiter = ";" if b";" in header else ","
    try:
        columns = _columns(_cells(header, delimiter))
    except _BrokenLine as error:
        raise InvalidLines("glossary", [(1, str(error))]) from None
    entries: list[Entry] = []
    broken: list[tuple[int, str]] = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        if len(entries) == MOST_TERMS:
            broken.append((number, f"more than {MOST_TERMS} terms"))
            break
        try:
            entry = _entry(_cells(line, delimiter), columns)
        except _BrokenLine as error:
            broken.append((number, str(error)))
            continue
        first = first_lines.setdefault(_identity(entry.term), number)
        if first == number:
            entries.append(entry)
        else:
            broken.append((number, f"the term {entry.term!r} stands in line {first} already"))
    if broken:
        raise InvalidLines("glossary", broken)
    if not entries:
        raise InvalidLines("glossary", [(1, "no term follows the header")])
    return tuple(entries)


def write_glossary(entries: Iterable[Entry]) -> str:
    """Return the file that `read_glossary` reads as these entries."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows((e.term, "; ".join(e.expansions), e.language or "") for e in entries)
    return file.getvalue()


def _cells(raw: bytes, delimiter: str) -> list[str]:
    """Cut one line; a cell never goes on in the next one, so that line numbers stay true."""
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        raise _BrokenLine("is not UTF-8; save the file as CSV UTF-8") from None
    if control := _CONTROL.search(line):
        raise _BrokenLine(f"holds the control character U+{ord(control[0]):04X}")
    if len(line) > LONGEST_LINE:
        raise _BrokenLine(f"is longer than {LONGEST_LINE} characters")
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        raise _BrokenLine("the quotes do not pair up on this line") from None
    return [" ".join(cell.split()) for cell in cells]


def _columns(header: list[str]) -> int:
    """Check the header; return how many columns it names."""
    named = [name.lower() for name in header]
    if named not in (_COLUMNS, _COLUMNS[:2]):
        raise _BrokenLine("the header must be `term,expansions` or `term,expansions,language`")
    return len(named)


def _entry(cells: list[str], columns: int) -> Entry:
    if len(cells) != columns:
        raise _BrokenLine(
            f"has {len(cells)} columns, the header has {columns}; a cell that holds the "
            "delimiter needs quotes"
        )
    term, listed, language = [*cells, ""][:3]
    if not term:
        raise _BrokenLine("the term is empty")
    parts = dict.fromkeys(part.strip() for part in _SEPARATOR.split(listed))
    expansions = tuple(part for part in parts if part not in ("", term))
    if not expansions:
        raise _BrokenLine(f"the term {term[:LONGEST_TEXT]!r} has no expansions")
    if len(expansions) > MOST_EXPANSIONS:
        raise _BrokenLine(f"has more than {MOST_EXPANSIONS} expansions")
    for text in (term, *expansions):
        if len(text) > LONGEST_TEXT:
            raise _BrokenLine(f"{text[:20] + '…'!r} is longer than {LONGEST_TEXT} characters")
        if not _keys(text):
            raise _BrokenLine(f"{text!r} holds no word")
    if language.lower() not in _LANGUAGES:
        raise _BrokenLine(f"the language {language[:20]!r} is neither ru nor en nor empty")
    return Entry(term, expansions, _LANGUAGES[language.lower()])


def _identity(term: str) -> str:
    """What makes two lines the same: «ПО» and «по» are two terms, «Отпуск» and «отпуск» one."""
    return term if _needs_capitals(term) else term.lower()


def _needs_capitals(text: str) -> bool:
    """Whether a text is an abbreviation that small letters would turn into another word.

    One with digits is told by them: «44-фз» is «44-ФЗ».
    """
    return text.isupper() and not any(map(str.isdigit, text))


class Glossary:
    """Entries, indexed by the search keys of all that they hold; it never changes.

    Term and expansions of an entry mean the same, whichever of them a question holds. A text of
    common words alone («это», «по») is neither looked for nor given, save that an abbreviation in
    capitals («ПО») is looked for; one that stands in many entries says too little to be looked for.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._synonyms: list[dict[Keys, str]] = []
        meanings: dict[Keys, dict[int, bool]] = {}  # entries, and whether capitals are needed
        for number, entry in enumerate(entries):
            synonyms: dict[Keys, str] = {}
            for text in (entry.term, *entry.expansions):
                keys = _keys(text)
                needs_capitals = _needs_capitals(text)
                is_common = _COMMON_KEYS.issuperset(keys)
                if not is_common:
                    synonyms.setdefault(keys, text)
                if needs_capitals or not is_common:
                    entries_here = meanings.setdefault(keys, {})
                    entries_here[number] = needs_capitals and entries_here.get(number, True)
            self._synonyms.append(synonyms)
        self._meanings = {k: found for k, found in meanings.items() if len(found) <= _MOST_MEANINGS}
        lengths: dict[str, set[int]] = {}
        for keys in self._meanings:
            lengths.setdefault(keys[0], set()).add(len(keys))
        self._lengths = {key: sorted(found, reverse=True) for key, found in lengths.items()}

    def __len__(self) -> int:
        """How many terms there are."""
        return len(self._synonyms)

    def expansions(self, text: str) -> tuple[str, ...]:
        """Return what means the same as words of a text: at most 16 texts, none that it holds.

        Words are compared by their search keys, so in any inflection; where several begin at the
        same word, the longest counts. The order is that of the text, then that of the file.
        """
        if not self._lengths:
            return ()
        keys = _keys(text)
        capitals = _capital_keys(text)
        found: dict[Keys, str] = {}
        start = 0
        while start < len(keys):
            length, numbers = self._longest_at(keys, capitals, start)
            for number in numbers:
                for wanted, synonym in self._synonyms[number].items():
                    found.setdefault(wanted, synonym)
            start += length
        new = (synonym for wanted, synonym in found.items() if not _holds(keys, wanted))
        return tuple(islice(new, _MOST_FOUND))

    def _longest_at(
        self, keys: Keys, capitals: frozenset[str], start: int
    ) -> tuple[int, list[int]]:
        """Return how many keys match from `start` on, at least 1, and in which entries."""
        for length in self._lengths.get(keys[start], ()):
            span = keys[start : start + length]
            in_capitals = capitals.issuperset(span)
            numbers = [
                number
                for number, needs_capitals in self._meanings.get(span, {}).items()
                if in_capitals or not needs_capitals
            ]
            if numbers:
                return length, numbers
        return 1, []


def _keys(text: str) -> Keys:
    """Return the search keys of a text in lower case, so that «БиР» is one word and not two."""
    return tuple(search_keys(text.lower()))


def _capital_keys(text: str) -> frozenset[str]:
    """Return the keys of the words in capitals, their endings aside: «ДМС», «ГОСТа»."""
    words = (word for word in text.split() if word.isupper() or _TWO_CAPITALS.search(word))
    return frozenset(key for word in words for key in _keys(word))


def _holds(keys: Keys, wanted: Keys) -> bool:
    length = len(wanted)
    return any(keys[start : start + length] == wanted for start in range(len(keys)))
