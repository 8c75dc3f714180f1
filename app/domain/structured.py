"""Answers as JSON: read by a schema, and each value tied to the span that carries it."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from jsonschema_rs import RegexOptions, ValidationError, validator_for

from app.domain.answers import Citation
from app.domain.citations import Sentence, Support, cite
from app.domain.errors import InvalidField, SchemaMismatch
from app.domain.evidence import Excerpt
from app.domain.text import FUNCTION_KEYS, search_keys, sentences
from app.domain.unlinking import unlinked
from app.domain.verification import Layers

Json = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What `json.loads` gives."""

LONGEST_SCHEMA = 20_000  # characters
_LONGEST_QUOTE = 3  # sentences
_FEW_KEYS = 8
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FIELD = "response_format.json_schema"


class AnswerSchema:
    """A JSON Schema that answers are held to. Nothing is fetched for it, its patterns are linear.

    Raises:
        InvalidField: It is no JSON Schema, over-long, or refers to another document.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        if len(json.dumps(schema, ensure_ascii=False)) > LONGEST_SCHEMA:
            raise InvalidField(_FIELD, f"is longer than {LONGEST_SCHEMA} characters")
        try:
            self._validator = validator_for(
                schema, retriever=_refuse, pattern_options=RegexOptions(), validate_formats=True
            )
        except ValidationError as error:
            raise InvalidField(_FIELD, f"is no JSON Schema: {error.message}") from None
        except ValueError as error:
            raise InvalidField(_FIELD, f"is no JSON Schema: {error}") from None
        self.names = frozenset(_names(schema))
        self.choices = list(_choices(schema))

    def read(self, text: str) -> Json:
        """Read a model's text: without addresses and markup, and as the schema wants it.

        Raises:
            SchemaMismatch: It is no JSON, or not by the schema; the message says where.
        """
        fenced = _FENCE.match(text)
        try:
            data = _cleaned(json.loads(fenced[1] if fenced else text, parse_constant=_refuse))
        except (ValueError, RecursionError) as error:
            raise SchemaMismatch(f"the answer is no JSON: {error}") from None
        for found in self._validator.iter_errors(data):
            place = "/".join(map(str, found.instance_path)) or "the whole"
            raise SchemaMismatch(f"{place}: {found.message[:300]}")
        return data


@dataclass(frozen=True, slots=True)
class Grounded:
    """Data as JSON text, with a citation for each value that a document has to carry.

    `missing` names the values that none carries.
    """

    text: str
    citations: tuple[Citation, ...]
    missing: tuple[str, ...]


def ground(
    data: Json,
    schema: AnswerSchema,
    excerpts: Sequence[Excerpt],
    check: Callable[[Sentence], Support | None],
) -> Grounded:
    """Tie each number and each string of the data to the span that carries it.

    A number, and each sentence of a string, must stand whole in at most three sentences that follow
    each other, their headings included: all of its keys (lemmas, numbers as values). A sentence of
    more than eight keys may also be carried as a sentence of an answer is; `check` decides. So must
    the names of fields that the schema does not name. What the schema offers as a choice (`enum`,
    `const`), booleans and nulls need no evidence and get no citation.
    """
    pieces, values = _write(data, schema)
    text = "".join(pieces)
    spans = [_Span(number, excerpt, *bounds) for number, excerpt in enumerate(excerpts, start=1)
             for bounds in _windows(excerpt.passage.text)]  # fmt: skip
    citations: list[Citation] = []
    missing: list[str] = []
    for value, start, end in values:
        for claim in _claims(value):
            found = _carried(claim, spans)
            if found is None and isinstance(claim, str) and len(_keys(claim)) > _FEW_KEYS:
                found = check(Sentence(claim, ()))
            if found is None:
                missing.append(str(claim))
            else:
                citation = cite(found, excerpts[found.excerpt - 1], start, end)
                if citation not in citations:
                    citations.append(citation)
    return Grounded(text, tuple(citations), tuple(missing))


class _Span:
    """Some sentences of an excerpt, and what they hold."""

    def __init__(self, number: int, excerpt: Excerpt, start: int, end: int, length: int) -> None:
        self.number, self.start, self.end, self.length = number, start, end, length
        self.held = set(search_keys(excerpt.passage.text[start:end]))
        self.known = self.held | set(search_keys(f"{excerpt.heading} {excerpt.passage.context}"))
        self.numbers = set(_numbers(self.held))
        self.known_numbers = set(_numbers(self.known))


def _windows(text: str) -> Iterator[tuple[int, int, int]]:
    found = sentences(text)
    for length in range(1, _LONGEST_QUOTE + 1):
        for first in range(len(found) - length + 1):
            yield found[first][0], found[first + length - 1][1], length


def _carried(claim: str | Decimal, spans: Sequence[_Span]) -> Support | None:
    """Find the shortest span that holds a value, the first of equals."""
    for span in sorted(spans, key=lambda span: (span.length, span.number)):
        if isinstance(claim, Decimal):
            carries = claim in span.numbers
        else:
            keys = _keys(claim)
            # The whole of «44-ФЗ» is a key beside its parts, so a number is never taken in pieces.
            carries = keys <= span.known and not keys.isdisjoint(span.held)
        if carries:
            return Support(span.number, span.start, span.end, Layers(facts=1.0, lexical=1.0))
    return None


def _claims(value: str | int | float) -> Iterator[str | Decimal]:
    if isinstance(value, str):
        yield from (value[start:end] for start, end in sentences(value)
                    if _keys(value[start:end]))  # fmt: skip
    else:
        yield Decimal(str(value)).normalize()


def _keys(text: str) -> set[str]:
    if _DATE.fullmatch(text):
        return {text}  # as every spelling of a date has it among its keys
    return set(search_keys(text)) - FUNCTION_KEYS


def _numbers(keys: set[str]) -> Iterator[Decimal]:
    for key in keys:
        if key[0].isdecimal():
            try:
                yield Decimal(key).normalize()
            except InvalidOperation:
                continue


def _write(
    data: Json, schema: AnswerSchema
) -> tuple[list[str], list[tuple[str | int | float, int, int]]]:
    """Write JSON in pieces, and return its values with where they stand in the text."""
    pieces: list[str] = []
    values: list[tuple[str | int | float, int, int]] = []
    length = 0

    def put(text: str, value: str | float | None = None) -> None:
        nonlocal length
        if value is not None and not isinstance(value, bool) and value not in schema.choices:
            values.append((value, length, length + len(text)))
        pieces.append(text)
        length += len(text)

    def walk(node: Json) -> None:
        if isinstance(node, dict):
            put("{")
            for number, (name, inner) in enumerate(node.items()):
                put(", " if number else "")
                put(json.dumps(name, ensure_ascii=False), None if name in schema.names else name)
                put(": ")
                walk(inner)
            put("}")
        elif isinstance(node, list):
            put("[")
            for number, inner in enumerate(node):
                put(", " if number else "")
                walk(inner)
            put("]")
        else:
            put(json.dumps(node, ensure_ascii=False), node)

    walk(data)
    return pieces, values


def _cleaned(node: Any) -> Json:
    if isinstance(node, dict):
        return {unlinked(name): _cleaned(inner) for name, inner in node.items()}
    if isinstance(node, list):
        return [_cleaned(inner) for inner in node]
    return unlinked(node) if isinstance(node, str) else node


def _names(node: Any) -> Iterator[str]:
    """Yield every name of a field that a schema speaks of."""
    if isinstance(node, dict):
        fields = node.get("properties")
        if isinstance(fields, dict):
            yield from fields
        for inner in node.values():
            yield from _names(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _names(inner)


def _choices(node: Any) -> Iterator[Any]:
    """Yield every value that a schema offers."""
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == "enum" and isinstance(inner, list):
                yield from inner
            elif name == "const":
                yield inner
            else:
                yield from _choices(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _choices(inner)


def _refuse(what: str) -> Any:
    raise ValueError(f"{what!r} is not taken")
