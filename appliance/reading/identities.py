"""Numbers and names that a text gives: MMSI, ICAO addresses, vessels' names.

Rules:
- An MMSI is nine digits after the word, or bare where its first digits are a country that may be (ITU-R M.585:
  201–775) and nothing round it makes it a telephone or part number. An ICAO address is six hexadecimal digits after
  its word.
- A name stands after a ship's prefix (MV, M/S, HMS), in quotes after a vessel or *named*, or in capitals after a
  vessel; in English and French also with capital initials. In a report that is all capitals only prefixes and
  quotes count, since there every word looks like a name. Names are given in capitals, as AIS does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.domain import Identity
from appliance.reading.clauses import Layout
from appliance.reading.lexicon import LANGUAGES, lexicons
from appliance.reading.text import Folded

_EDGE: Final = r"(?<![\w\ufffd+/])(?<![\w\ufffd][.,/-])"
_END: Final = r"(?![\w\ufffd])(?![.,/-][0-9])"
_MMSI_WORD: Final = re.compile(
    r"\bmmsi\s?(?:no\.?|nr\.?|number|numéro|nummer)?\s?[:=#]?\s?(?P<number>[0-9]{9}|[0-9]{3} [0-9]{3} [0-9]{3})" + _END
)
_MMSI_BARE: Final = re.compile(
    _EDGE + r"(?P<number>(?:20[1-9]|2[1-9][0-9]|[3-6][0-9]{2}|7[0-6][0-9]|77[0-5])[0-9]{6})" + _END
)
_TELEPHONE: Final = re.compile(r"(?:tel|phone|tél|fax|mobile|handy|call|ref|nr|no|id|serial|imo)\.?\s?:?\s?$")
_ICAO: Final = re.compile(
    r"\b(?:icao(?:[ -]?(?:24|hex|address|adresse|code))?|hex(?:code| code)?|mode[ -]?s(?: code)?)\s?[:=]?\s?"
    r"(?P<number>[0-9a-f]{6})" + _END
)
_LOOK_BEHIND: Final = 12
PREFIXES: Final = {
    "mv": "vessel/ship",
    "ms": "vessel/ship",
    "mt": "vessel/ship",
    "ss": "vessel/ship",
    "hms": "vessel/ship",
    "uss": "vessel/ship",
    "fgs": "vessel/ship",
    "rfa": "vessel/ship",
    "rms": "vessel/ship",
    "mts": "vessel/ship",
    "rv": "vessel/ship",
    "sy": "vessel/boat",
    "my": "vessel/boat",
    "fv": "vessel/boat",
    "sv": "vessel/boat",
}
"""Ships' prefixes and what they promise; written in capitals, with or without a stroke."""
_MOST_WORDS: Final = 4
_SHOUTING: Final = 0.6
"""A report with more capitals than this share of its letters is written in capitals."""
_NOT_NAMES: Final = frozenset(
    (
        *(
            "at",
            "in",
            "near",
            "position",
            "pos",
            "mmsi",
            "imo",
            "lat",
            "grid",
            "eta",
            "etd",
            "utc",
            "sog",
            "cog",
            "nm",
            "km",
            "ais",
            "vhf",
        ),
        *(
            "kn",
            "kts",
            "mayday",
            "pan",
            "sar",
            "gps",
            "urgent",
            "flash",
            "callsign",
            "gmt",
            "port",
            "starboard",
            "course",
            "monday",
        ),
        *(
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
            "sunday",
            "lundi",
            "mardi",
            "mercredi",
            "jeudi",
            "vendredi",
            "samedi",
        ),
        *(
            "dimanche",
            "bft",
            "pob",
            "nato",
            "mob",
            "uk",
            "icao",
            "hex",
            "dtg",
            "i",
            "ii",
            "spotrep",
            "sitrep",
            "salute",
            "vts",
            "ch",
        ),
        *(
            "speed",
            "heading",
            "bearing",
            "range",
            "type",
            "name",
            "size",
            "time",
            "activity",
            "remarks",
            "end",
            "over",
            "out",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Named:
    """An identity over ``start`` to ``end`` of the plain text."""

    start: int
    end: int
    identity: Identity


def numbers_of_ships(text: Folded) -> tuple[Named, ...]:
    """Every MMSI and ICAO address in the text, in order."""
    found: dict[int, Named] = {}
    for match in _MMSI_WORD.finditer(text.low):
        digits = match["number"].replace(" ", "")
        found[match.start("number")] = Named(match.start(), match.end(), Identity(kind="mmsi", value=digits))
    for match in _MMSI_BARE.finditer(text.low):
        before = text.low[max(0, match.start() - _LOOK_BEHIND) : match.start()]
        if match.start() not in found and not _TELEPHONE.search(before):
            found[match.start()] = Named(match.start(), match.end(), Identity(kind="mmsi", value=match["number"]))
    for match in _ICAO.finditer(text.low):
        found[match.start("number")] = Named(match.start(), match.end(), Identity(kind="icao", value=match["number"]))
    return tuple(found[start] for start in sorted(found))


def is_shouting(text: Folded) -> bool:
    """Whether the report is written in capitals, so that capitals mark no names."""
    letters = sum(char.isalpha() for char in text.plain)
    return letters > 0 and sum(char.isupper() for char in text.plain) / letters > _SHOUTING


@dataclass(frozen=True, slots=True)
class Names:
    """Finds names at a token; ``is_place`` says whether a token begins a place of the gazetteer."""

    text: Folded
    layout: Layout
    shouting: bool
    is_place: Callable[[int], bool]

    def after_prefix(self, index: int) -> tuple[str, int, str] | None:
        """(category, token after the name, name) where a ship's prefix and a name stand at ``index``."""
        items = self.layout.items
        stop = index + 1
        prefix = items[index].text
        if index + 2 < len(items) and items[index + 1].text == "/" and len(prefix) == 1:
            prefix, stop = prefix + items[index + 2].text, index + 3
        plain = self.text.plain[items[index].start : items[index].end]
        if prefix not in PREFIXES or not plain.isupper() or stop >= len(items):
            return None
        quoted = self.quoted(stop)
        if quoted is not None:
            return PREFIXES[prefix], quoted[0], quoted[1]
        end = self._run(stop, self._initial)
        return (PREFIXES[prefix], end, self._name(stop, end)) if end > stop else None

    def after_vessel(self, index: int) -> tuple[int, str] | None:
        """(token after the name, name) where a name stands right after a vessel."""
        items = self.layout.items
        if index >= len(items):
            return None
        called = self.layout.lexicon(index).has("called", items, index)
        quoted = self.quoted(index + called)
        if quoted is not None or self.shouting:
            return quoted
        begin = index + called
        if called and begin < len(items) and items[begin].text == ":":
            begin += 1
        initials = bool(called) or self.layout.languages[self.layout.sentence[index]] in {"en", "fr"}
        end = self._run(begin, self._initial if initials else self._capitals)
        return (end, self._name(begin, end)) if end > begin else None

    def before_vessel(self, index: int) -> str | None:
        """The quoted name in *the "Aurora", a ferry*, where the ferry stands at ``index``."""
        items = self.layout.items
        article = self.layout.lexicon(index).ends("indefinite", items, index)
        close = index - article - 1
        if not article or close < 3 or items[close].text != "," or items[close - 1].text not in {'"', "'"}:
            return None
        for start in range(close - 2, max(close - _MOST_WORDS - 4, -1), -1):
            if items[start].text == items[close - 1].text:
                quoted = self.quoted(start)
                return quoted[1] if quoted is not None and quoted[0] == close else None
        return None

    def quoted(self, index: int) -> tuple[int, str] | None:
        """(token after the closing quote, name) of a short quotation at ``index``."""
        items = self.layout.items
        if index >= len(items) or items[index].text not in {'"', "'"}:
            return None
        for stop in range(index + 2, min(index + _MOST_WORDS + 3, len(items))):
            if items[stop].text == items[index].text:
                inner = items[index + 1 : stop]
                named = all(token.kind in {"word", "number"} for token in inner)
                return (stop + 1, self._name(index + 1, stop)) if named else None
            if items[stop].kind == "line":
                return None
        return None

    def _run(self, start: int, fits: Callable[[int], bool]) -> int:
        """The token after a run of words that fit, and of numbers after the first of them."""
        items = self.layout.items
        stop = start
        while stop < min(len(items), start + _MOST_WORDS) and not self.is_place(stop):
            number = stop > start and items[stop].kind == "number" and len(items[stop].text) <= 4
            adjacent = stop == start or items[stop].start - items[stop - 1].end <= 1
            if not adjacent or not (number or fits(stop)):
                break
            stop += 1
        while stop > start and items[stop - 1].kind == "number" and stop - 1 == start:
            stop -= 1
        return stop

    def _initial(self, index: int) -> bool:
        token = self.layout.items[index]
        return token.kind == "word" and self.text.plain[token.start].isupper() and not self._is_common(index)

    def _capitals(self, index: int) -> bool:
        token = self.layout.items[index]
        plain = self.text.plain[token.start : token.end]
        return token.kind == "word" and len(plain) > 1 and plain.isupper() and not self._is_common(index)

    def _is_common(self, index: int) -> bool:
        """Whether the word is one of the language's own, so that its capital says nothing."""
        word = self.layout.items[index].text
        own = self.layout.lexicon(index)
        if word in _NOT_NAMES or own.units_m.knows(word) or own.compass.knows(word):
            return True
        strict = (
            self.shouting or self.text.plain[self.layout.items[index].start : self.layout.items[index].end].isupper()
        )
        if not strict and not own.kinds.knows(word):
            return word in own.function and not word.isalpha()
        return any(word in lexicons()[language].function for language in LANGUAGES) or own.kinds.knows(word)

    def _name(self, start: int, stop: int) -> str:
        items = self.layout.items
        return " ".join(self.text.plain[items[start].start : items[stop - 1].end].upper().split())
