"""Counts, in digits and in words of the four languages, with what a vague word leaves open.

Rules: a count is a whole number of things from 0 to 99,999; digits with a unit, a leading zero or a decimal mark
are measurements, not counts. Of a range the lower end counts. A vague word has a stated count and a factor by which
it lowers the claim's confidence: the count is the least that a careful reader would rely on, and the factor says
that it is loose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.reading.clauses import Layout
from appliance.reading.lexicon import LANGUAGES, Lexicon, lexicons
from appliance.reading.text import Token

MOST: Final = 99_999
_APPROXIMATE: Final = 0.9
_AT_MOST: Final = 0.7
_RANGE: Final = 0.8
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{3}){1,2}")
_RANGE_WORDS: Final = frozenset(("or", "to", "ou", "à", "oder", "bis", "respektiv"))
_PARTITIVE: Final = frozenset(("x", "of", "the", "de", "d'", "der", "von", "vun", "den", "fois", "mal", "mol"))
_MEASURES: Final = frozenset(
    (
        *(
            "%",
            "°",
            "'",
            '"',
            "€",
            "$",
            ":",
            "knots",
            "knot",
            "kn",
            "kts",
            "kt",
            "tons",
            "tonnes",
            "ton",
            "tonne",
            "t",
            "kg",
        ),
        *(
            "years",
            "year",
            "jahre",
            "jährige",
            "joer",
            "ans",
            "an's",
            "degrees",
            "grad",
            "degrés",
            "knoten",
            "nœuds",
            "noeuds",
            "knuet",
        ),
        *(
            "mph",
            "kmh",
            "foot",
            "feet",
            "ft",
            "cm",
            "mm",
            "hp",
            "ps",
            "ch",
            "mhz",
            "khz",
            "am",
            "pm",
            "th",
            "st",
            "nd",
            "rd",
        ),
        *("tonnen", "percent", "prozent", "l", "liter", "litres", "zoll", "inch"),
    )
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """How many, over the tokens ``start`` to ``stop``; ``factor`` lowers a claim's confidence where it is vague."""

    start: int
    stop: int
    count: int
    factor: float


def quantities(layout: Layout) -> Mapping[int, Quantity]:
    """Every count in the text, by the token after its last."""
    found: dict[int, Quantity] = {}
    index = 0
    while index < len(layout.items):
        quantity = _at(layout, index)
        if quantity is not None:
            found[quantity.stop] = quantity
            index = max(quantity.stop, index + 1)
        else:
            index += 1
    return found


def number_at(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[int, int] | None:
    """(value, number of tokens) of a cardinal at ``index``, in digits or in one language's words."""
    if index >= len(items):
        return None
    if items[index].kind == "number":
        return _digits(items, index)
    if items[index].kind != "word":
        return None
    return _words(items, index, lexicon)


def _at(layout: Layout, index: int) -> Quantity | None:
    items, lexicon = layout.items, layout.lexicon(index)
    start, factor = index, 1.0
    for name, lowers in (("at_most", _AT_MOST), ("approximate", _APPROXIMATE)):
        length = lexicon.has(name, items, index)
        if length and index + length < len(items):
            index, factor = index + length, lowers
            break
    exact = _exact(layout, index)
    vague = lexicon.quantities.at(items, index) if index < len(items) else None
    if vague is not None and (exact is None or index + vague[0] >= exact[1]):
        count, lowers = vague[1]
        return Quantity(start, _over_partitives(items, index + vague[0]), count, factor * lowers)
    if exact is None:
        return None
    count, stop, ranged = exact
    if stop < len(items) and (
        items[stop].text in _MEASURES or lexicon.units_m.at(items, stop) or items[stop].text == "<place>"
    ):
        return None
    return Quantity(start, _over_partitives(items, stop), count, factor * ranged)


def _exact(layout: Layout, index: int) -> tuple[int, int, float] | None:
    """(count, token after the last, factor) of a number, a number of dozens, or a range."""
    items = layout.items
    first = _any_number(layout, index)
    if first is None:
        return None
    count, stop = first
    lexicon = layout.lexicon(index)
    if stop < len(items):
        dozen = lexicon.multipliers.at(items, stop)
        if dozen is not None:
            return count * dozen[1], stop + dozen[0], 1.0
    second = _range_end(layout, stop)
    if second is not None and second[0] > count:
        return count, second[1], _RANGE
    if stop < len(items) and items[stop].glued:
        return None
    return count, stop, 1.0


def _range_end(layout: Layout, stop: int) -> tuple[int, int] | None:
    items = layout.items
    if stop >= len(items):
        return None
    if items[stop].glued and items[stop].kind == "number":
        return _any_number(layout, stop)
    if items[stop].text in _RANGE_WORDS and stop + 1 < len(items):
        return _any_number(layout, stop + 1)
    return None


def _any_number(layout: Layout, index: int) -> tuple[int, int] | None:
    """(value, token after the last), in the sentence's language first; one is a number only in that language."""
    items = layout.items
    own = layout.lexicon(index) if index < len(items) else None
    if own is None or (items[index].kind == "number" and _is_name_part(items, index)):
        return None
    found = number_at(items, index, own)
    if found is not None:
        return found[0], index + found[1]
    if items[index].text in own.function:
        return None
    for language in LANGUAGES:
        other = number_at(items, index, lexicons()[language])
        if other is not None and other[0] > 1:
            return other[0], index + other[1]
    return None


def _is_name_part(items: tuple[Token, ...], index: int) -> bool:
    """``F-16`` and ``B2``: digits that hang on letters."""
    before = items[index - 1] if index else None
    return (
        before is not None
        and before.kind == "word"
        and (items[index].glued or (before.end == items[index].start and before.text != "x"))
    )


def _digits(items: tuple[Token, ...], index: int) -> tuple[int, int] | None:
    text = items[index].text
    if _GROUPED.fullmatch(text):
        value = int(text.replace(".", "").replace(",", ""))
    elif text.isascii() and text.isdecimal() and len(text) <= 5 and (text == "0" or text[0] != "0"):
        value = int(text)
    else:
        return None
    if index + 1 < len(items) and len(text) <= 3 and value:
        after = items[index + 1]
        if (
            after.kind == "number"
            and len(after.text) == 3
            and after.text.isdecimal()
            and after.start == items[index].end + 1
        ):
            return (value * 1000 + int(after.text), 2) if value * 1000 <= MOST else None
    return (value, 1) if value <= MOST else None


def _words(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[int, int] | None:
    compound = _compound(items[index].text, lexicon)
    if compound is not None:
        return compound, 1
    small = lexicon.numbers.at(items, index)
    value, at = (small[1], index + small[0]) if small else (None, index)
    total, used = 0, False
    for names, size in ((lexicon.thousand, 1000), (lexicon.hundred, 100)):
        if at < len(items) and items[at].text in names:
            total += max(value if value is not None else 1, 1) * size
            used, at = True, at + 1
            value, at = _rest(items, at, lexicon)
    if not used:
        return None if value is None else (value, at - index)
    total += value or 0
    return (total, at - index) if total <= MOST else None


def _rest(items: tuple[Token, ...], at: int, lexicon: Lexicon) -> tuple[int | None, int]:
    """What follows a hundred: ``and five``; nothing is consumed where no number follows."""
    begin = at + (lexicon.has("number_joiner", items, at) if at < len(items) else 0)
    small = lexicon.numbers.at(items, begin) if begin < len(items) else None
    if small is None or (begin > at and small[1] == 1 and lexicon.words.language != "en"):
        return None, at
    return small[1], begin + small[0]


def _compound(word: str, lexicon: Lexicon) -> int | None:
    """``zweihundertfünf`` and ``zweehonnertfënnef``: one word, cut at its hundred."""
    for hundred in lexicon.hundred:
        head, found, tail = word.partition(hundred)
        if not found or not (head or tail) or lexicon.words.language not in {"de", "lb"}:
            continue
        for link in ("", "und", "an", "a"):
            rest = lexicon.number_words.get(tail.removeprefix(link)) if tail else 0
            many = lexicon.number_words.get(head) if head else 1
            if rest is not None and many is not None:
                return many * 100 + rest
    return None


def _over_partitives(items: tuple[Token, ...], stop: int) -> int:
    """``two of the boats``, ``3 x boats``: past what stands between a number and its noun."""
    for _ in range(2):
        if stop < len(items) and items[stop].text in _PARTITIVE:
            stop += 1
    return stop
