"""RTF: one pass over its control words, which keep headings, lists, tables and notes apart."""

import codecs
import re
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from app.domain.documents import BlockKind, ParsedDocument
from app.domain.errors import UnreadableDocument
from ingestion.parsers.builder import TextBuilder, TextLimits

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|[\r\n]+"
    rb"|([^\\{}\r\n]+)"
)
_HEADING_NAME = re.compile(r"(?:heading|заголовок)\s*([1-9])$", re.IGNORECASE)
_TITLE_NAMES = {"title", "название", "заголовок"}
_LONGEST_HEADING = 300
_REPEATED_CHARS = 200
_DEEPEST = 2000
# What is no text of the document.
_SKIPPED = set(
    "colortbl pict objdata header headerl headerr headerf footer footerl footerr footerf "
    "ftnsep ftnsepc aftnsep aftnsepc fldinst themedata colorschememapping datastore latentstyles "
    "listtable listoverridetable rsidtbl xmlnstbl generator annotation atnid atnauthor atndate "
    "nonshppict nonesttables sn sv nesttableprops bkmkstart bkmkend htmltag mhtmltag "
    "pntxta pntxtb".split()
)
# Groups marked as ones that a reader may pass over, but that hold text.
_OPTIONAL_TEXT = {"shptxt", "shpinst", "nesttableprops", "listtext", "pntext", "fldrslt", "docvar"}
_OPTIONAL_TEXT -= {"nesttableprops", "docvar"}
_CHARACTERS = {
    "tab": "\t",
    "line": "\n",
    "lbr": "\n",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "emspace": " ",
    "enspace": " ",
    "nestcell": " ",
}
_SYMBOLS = {"~": "\xa0", "_": "-", "\t": "\t"}
# \fcharsetN to codepages, where they are not that of the document.
_CHARSETS = {77: "mac-roman", 128: "cp932", 129: "cp949", 134: "gbk", 136: "big5", 161: "cp1253"}
_CHARSETS |= {162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257"}
_CHARSETS |= {204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437"}
_SYMBOL_CHARSET = 2
_BULLETS = re.compile(r"[•·●▪◦○■□➢✓\uf000-\uf0ff-]+$")


def parse(file: BinaryIO, limits: TextLimits) -> ParsedDocument:
    """Read an RTF file; the title is that of its properties."""
    builder = TextBuilder(limits)
    title = add_rtf(builder, file.read())
    return builder.build(title, empty="the document holds no text, only images")


def add_rtf(builder: TextBuilder, data: bytes) -> str | None:
    """Add an RTF text; returns its title.

    Raises:
        UnreadableDocument: It is nested beyond reason, or not RTF.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("the file is damaged: it does not begin as RTF does")
    reader = _Reader(builder)
    reader.read(data)
    return reader.info.get("title")


@dataclass(frozen=True)
class _State:
    """What a group inherits and a `}` gives back."""

    into: str = "text"
    font: int = 0
    fallback_chars: int = 1
    hidden: bool = False
    style: int = 0
    outline: int | None = None
    deleted: bool = False
    depth: int = 0
    in_table: bool = False


@dataclass(frozen=True)
class _Style:
    name: str = ""
    outline: int | None = None

    @property
    def level(self) -> int:
        """The level of a heading, 0 for other styles."""
        named = _HEADING_NAME.match(self.name)
        if named:
            return int(named[1])
        if self.outline is not None and self.outline < 9:
            return self.outline + 1
        return 1 if self.name.lower() in _TITLE_NAMES else 0


@dataclass
class _Reader:
    """Everything that is known at one place of the file."""

    builder: TextBuilder
    state: _State = field(default_factory=_State)
    outer: list[_State] = field(default_factory=list)
    codepage: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    symbol_fonts: set[int] = field(default_factory=set)
    styles: dict[int, _Style] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    pending: bytearray = field(default_factory=bytearray)
    name: list[str] = field(default_factory=list)
    optional: bool = False
    fallback_left: int = 0
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    merged: list[bool] = field(default_factory=list)
    merges: bool = False
    footnotes: list[list[str]] = field(default_factory=list)

    def read(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            token = _TOKEN.match(data, at)
            if token is None:  # a lone backslash at the end
                break
            at = token.end()
            word, number, code, symbol, brace, plain = token.groups()
            if word == b"bin" and number:
                at += max(0, int(number))
            elif code:
                self.byte(int(code, 16))
            elif plain:
                self.plain(plain)
            else:
                self.decode_pending()
                if brace:
                    self.brace(brace)
                elif word:
                    self.word(word.decode(), int(number) if number else None)
                elif symbol:
                    self.symbol(symbol.decode("latin-1"))
        self.decode_pending()
        self.paragraph()
        self.table()
        for number, note in enumerate(self.footnotes, 1):
            text = " ".join(_joined(note).split())
            self.builder.add(BlockKind.PARAGRAPH, f"[{number}] {text}")

    def byte(self, code: int) -> None:
        """Take a byte of the font's encoding, unless it stands in for a character before it."""
        if self.fallback_left:
            self.fallback_left -= 1
        else:
            self.pending.append(code)

    def plain(self, text: bytes) -> None:
        skipped = min(self.fallback_left, len(text))
        self.fallback_left -= skipped
        self.pending += text[skipped:]

    def decode_pending(self) -> None:
        """Turn the bytes that were held into characters, together: some encodings use two."""
        if self.pending:
            encoding = self.fonts.get(self.state.font, self.codepage)
            text = self.pending.decode(encoding, errors="replace")
            self.pending.clear()
            if self.state.font in self.symbol_fonts:
                text = "•" if len(text) == 1 and not text.isascii() else text
            self.put(text)

    def put(self, text: str) -> None:
        """Put characters where the group says."""
        into = self.state.into
        if self.state.deleted:
            return
        if into == "text":
            if self.state.hidden:
                if text.strip():
                    self.builder.flag("hidden_text_left_out")
            else:
                self.held.append(text)
        elif into == "label":
            self.label.append(text)
        elif into == "note":
            self.footnotes[-1].append(text)
        elif into in {"stylesheet", "info"}:
            self.name.append(text)

    def brace(self, brace: bytes) -> None:
        self.fallback_left = 0
        self.optional = False
        if brace == b"{":
            if len(self.outer) >= _DEEPEST:
                raise UnreadableDocument(f"the RTF nests more than {_DEEPEST} groups")
            self.outer.append(self.state)
        elif self.outer:
            self.close()
            self.state = self.outer.pop()

    def close(self) -> None:
        """End a group that named something."""
        if self.state.into == "stylesheet" and self.name:
            name = "".join(self.name).split(";")[0].strip()
            self.styles[self.state.style] = _Style(name, self.state.outline)
            self.name = []
        elif self.state.into == "info" and self.name:
            self.info.setdefault("title", "".join(self.name))
            self.name = []

    def symbol(self, symbol: str) -> None:
        if symbol == "*":
            self.optional = True
        elif symbol in "\\{}":
            self.put(symbol)
        elif symbol in "\r\n":
            self.word("par", None)
        elif symbol in _SYMBOLS:
            self.put(_SYMBOLS[symbol])

    def word(self, word: str, number: int | None) -> None:
        """Act on a control word; unknown ones mean nothing, unknown optional groups are skipped."""
        optional, self.optional = self.optional, False
        on = number != 0
        if word == "u" and number is not None:
            self.put(chr(number & 0xFFFF))
            self.fallback_left = self.state.fallback_chars
        elif self.state.into == "skip":
            return
        elif word in _SKIPPED or (optional and word not in _OPTIONAL_TEXT):
            self.state = replace(self.state, into="skip")
        elif word in _CHARACTERS:
            self.put(_CHARACTERS[word])
        elif word in _BY_WORD:
            _BY_WORD[word](self, number)
        elif word == "v":
            self.state = replace(self.state, hidden=on)
        elif word == "deleted":
            self.state = replace(self.state, deleted=on)

    # What each control word does to the reader.

    def set_codepage(self, number: int | None) -> None:
        self.codepage = _known_encoding(f"cp{number}") or self.codepage

    def set_font(self, number: int | None) -> None:
        self.state = replace(self.state, font=number or 0)

    def set_charset(self, number: int | None) -> None:
        if self.state.into != "fonts":
            return
        if number == _SYMBOL_CHARSET:
            self.symbol_fonts.add(self.state.font)
        elif number in _CHARSETS:
            self.fonts[self.state.font] = _CHARSETS[number]

    def set_fallback(self, number: int | None) -> None:
        self.state = replace(self.state, fallback_chars=max(0, number or 0))

    def begin_fonts(self, _: int | None) -> None:
        self.state = replace(self.state, into="fonts")

    def begin_styles(self, _: int | None) -> None:
        self.state = replace(self.state, into="stylesheet")

    def begin_info(self, _: int | None) -> None:
        self.state = replace(self.state, into="skip_info")

    def begin_title(self, _: int | None) -> None:
        if self.state.into == "skip_info":
            self.state = replace(self.state, into="info")

    def begin_label(self, _: int | None) -> None:
        self.label = []
        self.state = replace(self.state, into="label")

    def begin_note(self, _: int | None) -> None:
        self.footnotes.append([])
        self.put(f"[{len(self.footnotes)}]")
        self.state = replace(self.state, into="note")

    def reset_paragraph(self, _: int | None) -> None:
        self.state = replace(self.state, style=0, outline=None, depth=0, in_table=False)

    def reset_characters(self, _: int | None) -> None:
        self.state = replace(self.state, hidden=False, deleted=False)

    def set_style(self, number: int | None) -> None:
        self.state = replace(self.state, style=number or 0)

    def set_outline(self, number: int | None) -> None:
        self.state = replace(self.state, outline=number)

    def set_depth(self, number: int | None) -> None:
        self.state = replace(self.state, depth=min(max(0, number or 0), 8))

    def set_in_table(self, _: int | None) -> None:
        self.state = replace(self.state, in_table=True)

    def paragraph(self, _: int | None = None) -> None:
        """End a paragraph; inside a table it only parts the lines of a cell."""
        if self.state.into == "note":
            self.put(" ")
            return
        if self.state.into != "text":
            return
        if self.state.in_table:
            self.held.append(" ")
            return
        text, self.held = _joined(self.held).strip(), []
        label, self.label = " ".join("".join(self.label).split()), []
        self.table()
        if not text:
            return
        style = self.styles.get(self.state.style, _Style())
        level = style.level
        if self.state.outline is not None:
            level = self.state.outline + 1 if self.state.outline < 9 else 0
        if _BULLETS.match(label):
            label = "-"
        if level and len(text) <= _LONGEST_HEADING:
            numbered = f"{label} {text}" if label not in {"", "-"} else text
            self.builder.add(BlockKind.HEADING, numbered, min(level, 9))
        elif label:
            self.builder.add(BlockKind.LIST_ITEM, f"{'  ' * self.state.depth}{label} {text}")
        else:
            self.builder.add(BlockKind.PARAGRAPH, text)

    def begin_row(self, _: int | None) -> None:
        self.merged, self.merges = [], False

    def merge_cell(self, _: int | None) -> None:
        self.merges = True

    def define_cell(self, _: int | None) -> None:
        self.merged.append(self.merges)
        self.merges = False

    def cell(self, _: int | None) -> None:
        label, self.label = " ".join("".join(self.label).split()), []
        text = " ".join(_joined(self.held).split())
        self.cells.append(f"{label} {text}" if label and not _BULLETS.match(label) else text)
        self.held = []

    def row(self, _: int | None) -> None:
        """End a row; a cell that is merged with the one above repeats its text."""
        above = self.rows[-1] if self.rows else []
        for column, merged in enumerate(self.merged[: len(self.cells)]):
            repeated = column < len(above) and len(above[column]) <= _REPEATED_CHARS
            if merged and repeated and not self.cells[column]:
                self.cells[column] = above[column]
        self.rows.append(self.cells)
        self.cells = []

    def table(self) -> None:
        """Add the rows that were read; one of a single cell is a frame around text."""
        rows, self.rows = self.rows, []
        if len(rows) == 1 and len(rows[0]) == 1:
            self.builder.add(BlockKind.PARAGRAPH, rows[0][0])
        else:
            self.builder.add_table(rows)


def _joined(parts: list[str]) -> str:
    """Join characters; those beyond 16 bits come as two."""
    text = "".join(parts)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _known_encoding(name: str) -> str | None:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


_BY_WORD = {
    "ansicpg": _Reader.set_codepage,
    "f": _Reader.set_font,
    "fcharset": _Reader.set_charset,
    "uc": _Reader.set_fallback,
    "fonttbl": _Reader.begin_fonts,
    "stylesheet": _Reader.begin_styles,
    "info": _Reader.begin_info,
    "title": _Reader.begin_title,
    "listtext": _Reader.begin_label,
    "pntext": _Reader.begin_label,
    "footnote": _Reader.begin_note,
    "pard": _Reader.reset_paragraph,
    "plain": _Reader.reset_characters,
    "s": _Reader.set_style,
    "outlinelevel": _Reader.set_outline,
    "ilvl": _Reader.set_depth,
    "intbl": _Reader.set_in_table,
    "par": _Reader.paragraph,
    "sect": _Reader.paragraph,
    "page": _Reader.paragraph,
    "trowd": _Reader.begin_row,
    "clvmrg": _Reader.merge_cell,
    "cellx": _Reader.define_cell,
    "cell": _Reader.cell,
    "row": _Reader.row,
}
