"""A report's text as it is looked at: one plain form, with the way back to the author's own characters.

Not a normaliser for storage: the author's text stays as it came, and every span is given in its offsets.

Rules:
- What cannot be shown as it was typed is refused (`BadReport`): too long, half a surrogate pair, control
  characters, and the four bidirectional controls that make a line *display* in another order than it is stored (UTR
  #36 §3).
- What cannot be seen is dropped (zero-width and other format characters), so that the machine reads what a person
  sees.
- A digit that is not 0–9 (full width, Arabic-Indic, superscript, circled) becomes `BLOCK`, which is part of no
  number and bounds no number: ``4９.61`` is not read as 49.61 nor as .61.
- Dashes, quotes, primes and blanks have one form each. Letters keep their accents.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Literal

from appliance.domain import Report
from appliance.errors import BadReport

MAX_BYTES: Final = 8192
"""Of a report in UTF-8: some 80 lines. A longer text is a document, and belongs to a person."""
BLOCK: Final = "\ufffd"
"""Stands for a character that looks like a digit and is none of 0–9."""
_REORDERS: Final = frozenset("\u202b\u202d\u202e\u2067")
_NEWLINES: Final = frozenset("\n\r\f\v\x85\u2028\u2029")
_APOSTROPHES: Final = "\u2018\u2019\u201a\u201b\u02bc\u00b4`\u2032"
_QUOTES: Final = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_SAME: Final = {
    **dict.fromkeys(_APOSTROPHES, "'"),
    **dict.fromkeys(_QUOTES, '"'),
    **dict.fromkeys("\u00ba\u02da\u2218", "°"),
    "\u2212": "-",
    "\t": " ",
    "\u00b7": " ",
    "\u2022": " ",
}

TokenKind = Literal["word", "number", "mark", "line"]


@dataclass(frozen=True, slots=True)
class Folded:
    """``plain`` in the author's case, ``low`` in lower case, of one length; ``starts``/``ends`` lead back."""

    plain: str
    low: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The author's offsets of the plain characters ``start`` to ``end`` (one past the last)."""
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number, a mark or a line end of the plain text. ``glued``: a hyphen joins it to the token before."""

    text: str
    start: int
    end: int
    kind: TokenKind
    glued: bool = False


def fold(report: Report) -> Folded:
    """The plain form of a report's text.

    Raises `BadReport` with the reason ``size``, ``encoding``, ``control`` or ``bidi``.
    """
    text = report.text
    _check(text)
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for index, char in enumerate(text):
        kind = unicodedata.category(char)
        if kind in {"Mn", "Me", "Cf"} and char not in _SAME:
            _combine(plain, ends, char, index)
            continue
        plain.append(_plain(char, kind))
        starts.append(index)
        ends.append(index + 1)
    joined = "".join(plain)
    low = "".join(c.lower() if len(c.lower()) == 1 else c for c in joined)
    return Folded(joined, low, tuple(starts), tuple(ends))


def _check(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise BadReport("size", f"expected at most {MAX_BYTES} bytes; found {len(text)} characters")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as e:
        raise BadReport("encoding", f"expected Unicode text; found half a surrogate pair at {e.start}") from e
    if size > MAX_BYTES:
        raise BadReport("size", f"expected at most {MAX_BYTES} bytes; found {size}")
    for index, char in enumerate(text):
        if char in _REORDERS:
            raise BadReport("bidi", f"expected text that shows as it is stored; found U+{ord(char):04X} at {index}")
        if unicodedata.category(char) == "Cc" and char not in _NEWLINES and char != "\t":
            raise BadReport("control", f"expected text; found the control character U+{ord(char):04X} at {index}")


def _combine(plain: list[str], ends: list[int], mark: str, index: int) -> None:
    if not plain or plain[-1] == "\n":
        return
    if unicodedata.category(mark) != "Cf":
        whole = unicodedata.normalize("NFC", plain[-1] + mark)
        plain[-1] = whole if len(whole) == 1 else (BLOCK if plain[-1].isdecimal() else plain[-1])
    ends[-1] = index + 1


def _plain(char: str, kind: str) -> str:
    if char in _SAME:
        return _SAME[char]
    if char in _NEWLINES:
        return "\n"
    if kind == "Zs":
        return " "
    if kind == "Pd":
        return "-"
    if kind in {"Nd", "No", "Nl"} and not char.isascii():
        return BLOCK
    return char


_TOKEN: Final = re.compile(
    r"(?P<number>[0-9\ufffd]+(?:[.,][0-9\ufffd]+){0,4})"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+){0,2})"
    r"|(?P<line>\n)"
    r"|(?P<mark>[^\w\s]|_)"
)
#: What stands before an apostrophe and is a word of its own: French and Luxembourgish elision.
ELIDED: Final = frozenset(("l", "d", "n", "j", "m", "t", "s", "c", "qu", "jusqu", "lorsqu", "puisqu", "quelqu"))


def tokens(text: Folded) -> tuple[Token, ...]:
    """The tokens of the lower-case plain text, in order. Elisions are split: ``l'hélicoptère`` is two words."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text.low):
        kind = match.lastgroup
        start = match.start()
        glued = start > 1 and text.low[start - 1] == "-" and text.low[start - 2].isalnum()
        if kind == "word":
            found.extend(_words(match.group(), start, glued))
        elif kind == "number":
            found.append(Token(match.group(), start, match.end(), "number", glued))
        elif not _is_hyphen(text.low, start):
            found.append(Token(match.group(), start, match.end(), "line" if kind == "line" else "mark"))
    return tuple(found)


def _is_hyphen(low: str, at: int) -> bool:
    """A hyphen within a word or a range is no mark of its own: `Token.glued` says that it was there."""
    return low[at] == "-" and 0 < at < len(low) - 1 and low[at - 1].isalnum() and low[at + 1].isalnum()


def _words(text: str, start: int, glued: bool) -> list[Token]:
    head, apostrophe, tail = text.partition("'")
    if not apostrophe or (head.endswith("n") and tail == "t"):
        return [Token(text, start, start + len(text), "word", glued)]
    cut = len(head) + (1 if head in ELIDED else 0)
    first = Token(text[:cut], start, start + cut, "word", glued)
    rest = text[cut:]
    if rest.startswith("'") or not rest:
        return [first]
    return [first, *_words(rest, start + cut, False)]


def first_at(items: tuple[Token, ...], offset: int) -> int:
    """The index of the first token that starts at or after ``offset``."""
    return bisect_left(items, offset, key=lambda token: token.start)
