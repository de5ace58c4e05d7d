"""Things that a text names: the category words, with the noun phrase round them.

Rules: the longest phrase wins, the sentence's own language first; a word that means something else in another of
the four is read only where the sentence is in its language. The last part of a German or Luxembourgish compound
decides. Of two nouns side by side the head counts: the last in English (*passenger ferry*), the first in French
(*navire à passagers*). A span goes from the determiner or count to the noun and the name after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from appliance.domain import Identity, is_a
from appliance.reading.clauses import Layout
from appliance.reading.identities import Names
from appliance.reading.lexicon import LANGUAGES, Kind, Lexicon, lexicons
from appliance.reading.numbers import Quantity, number_at
from appliance.reading.words.model import Language

_MOST_ADJECTIVES: Final = 4
_SHORTEST_MODIFIER: Final = 3
_DOUBTFUL: Final = 0.7
"""*Smoke* points to a fire."""
_PLURAL: Final = (2, 0.6)
"""A bare plural: two is the least that it can mean."""
_CREWS: Final = frozenset(("crew", "équipage", "equipage", "besatzung", "mannschaft"))
_OF: Final = frozenset(("of", "de", "von", "vun", "with", "mit", "mat"))
_FRENCH_LINKS: Final = frozenset(("de", "d'", "à", "a", "en"))


@dataclass(frozen=True, slots=True)
class Mention:
    """One thing named. ``start`` to ``stop`` are the noun's tokens, ``begin`` the first of its noun phrase."""

    begin: int
    start: int
    stop: int
    category: str
    count: int
    factor: float
    definite: bool = False
    counted: bool = False
    """Whether the count was said, by a number or an article, rather than taken from the noun's form."""
    plural: bool = False
    singular: bool = False
    """Whether the noun is a singular that has a plural form of its own."""
    language: Language = "en"
    identities: tuple[Identity, ...] = ()


def mentions(layout: Layout, counts: Mapping[int, Quantity], names: Names) -> tuple[Mention, ...]:
    """Every thing that the text names, in order."""
    found: list[Mention] = []
    index = 0
    while index < len(layout.items):
        mention, index = _at(layout, index, names)
        if mention is None:
            continue
        if found and _is_modifier(layout, found[-1], mention):
            found.pop()
        elif found and _is_complement(layout, found[-1], mention):
            found[-1] = replace(found[-1], stop=mention.stop)
            continue
        found.append(mention)
    taken: list[Mention] = []
    for mention in found:
        taken.append(_phrase(layout, counts, mention, taken[-1].stop if taken else 0))
    return tuple(taken)


def _at(layout: Layout, index: int, names: Names) -> tuple[Mention | None, int]:
    """(the mention at ``index`` or none, where to look next)."""
    crew = _crew(layout, index)
    if crew is not None:
        return crew, crew.stop
    prefixed = names.after_prefix(index)
    if prefixed is not None:
        category, stop, name = prefixed
        identity = Identity(kind="name", value=name)
        return Mention(index, index, stop, category, 1, 1.0, counted=True, identities=(identity,)), stop
    found = kind_at(layout, index)
    if found is None:
        return None, index + 1
    length, kind, language = found
    stop = index + length
    if kind.category is None or _hangs_on_number(layout, index):
        return None, stop
    count, factor = _PLURAL if kind.plural else (1, 1.0)
    factor *= _DOUBTFUL if kind.doubtful else 1.0
    mention = Mention(
        index,
        index,
        stop,
        kind.category,
        count,
        factor,
        plural=kind.plural,
        singular=kind.singular,
        language=language,
    )
    mention = _with_name(mention, names) if is_a(kind.category, "vessel") else mention
    return mention, mention.stop


def _with_name(mention: Mention, names: Names) -> Mention:
    """A vessel with the name after it, or the quoted one before it."""
    after = names.after_vessel(mention.stop)
    if after is not None:
        return replace(mention, stop=after[0], identities=(Identity(kind="name", value=after[1]),))
    before = names.before_vessel(mention.start)
    return mention if before is None else replace(mention, identities=(Identity(kind="name", value=before),))


def _crew(layout: Layout, index: int) -> Mention | None:
    """*Crew of twelve*: so many people. A crew without a number is not a thing of its own."""
    items = layout.items
    if items[index].text not in _CREWS or index + 2 >= len(items) or items[index + 1].text not in _OF:
        return None
    number = number_at(items, index + 2, layout.lexicon(index))
    if number is None or number[0] < 1:
        return None
    stop = index + 2 + number[1]
    following = kind_at(layout, stop) if stop < len(items) else None
    followed = following is not None and following[1].category is not None
    return None if followed else Mention(index, index, stop, "person", number[0], 1.0, counted=True)


def kind_at(layout: Layout, index: int) -> tuple[int, Kind, Language] | None:
    """(number of tokens, kind, language) of the category phrase at ``index``: the longest, the sentence's own first."""
    if layout.items[index].kind == "mark":
        return None
    own = layout.lexicon(index)
    best = own.kinds.at(layout.items, index) or _compound(layout, index, own)
    spoken = own.words.language
    for language in LANGUAGES:
        other = lexicons()[language].kinds.at(layout.items, index)
        if other is None or other[1].only_here or other[1].doubtful or other[1].category is None:
            continue
        if best is None or (other[0] > best[0] and best[1].category is not None):
            best, spoken = other, language
    return None if best is None else (*best, spoken)


def _compound(layout: Layout, index: int, lexicon: Lexicon) -> tuple[int, Kind] | None:
    word = layout.items[index].text
    for head, kind in lexicon.heads:
        if word.endswith(head) and len(word) >= len(head) + _SHORTEST_MODIFIER:
            return 1, kind
    return None


def _hangs_on_number(layout: Layout, index: int) -> bool:
    """``10-man raft``: the number and the noun are an adjective."""
    return layout.items[index].glued and index > 0 and layout.items[index - 1].kind == "number"


def _is_modifier(layout: Layout, first: Mention, second: Mention) -> bool:
    if first.stop != second.start or first.plural or first.identities or second.category == "fire":
        return False
    language = layout.languages[layout.sentence[second.start]]
    return layout.sentence[first.start] == layout.sentence[second.start] and (
        language == "en" or layout.items[second.start].glued
    )


def _is_complement(layout: Layout, first: Mention, second: Mention) -> bool:
    language = layout.languages[layout.sentence[second.start]]
    between = layout.items[first.stop : second.start]
    return (
        language == "fr"
        and layout.sentence[first.start] == layout.sentence[second.start]
        and (not between or (len(between) == 1 and between[0].text in _FRENCH_LINKS))
        and not first.identities
        and second.category != "fire"
    )


def _phrase(layout: Layout, counts: Mapping[int, Quantity], mention: Mention, floor: int) -> Mention:
    """The mention with its determiner, count and the span from there."""
    if mention.counted:
        return mention
    items = layout.items
    index = mention.start
    for _ in range(_MOST_ADJECTIVES + 1):
        quantity = counts.get(index)
        if quantity is not None and quantity.start >= floor:
            return _counted(layout, mention, quantity) if _agrees(mention, quantity) else mention
        if index <= floor:
            break
        if _has(layout, mention, "indefinite", index):
            return replace(mention, begin=index - 1, counted=True, count=1 if not mention.plural else mention.count)
        if _has(layout, mention, "definite", index):
            contracted = _has(layout, mention, "blockers", index)
            return replace(mention, begin=mention.begin if contracted else index - 1, definite=True)
        measure = _measure_before(layout, index, floor)
        if not measure and (items[index - 1].kind != "word" or _has(layout, mention, "blockers", index)):
            break
        index -= max(measure, 1)
    return _counted_after(layout, mention, counts)


def _agrees(mention: Mention, quantity: Quantity) -> bool:
    """Whether a count may be a noun's: *12 abandoning ship* are not twelve ships, but *2 boat* are two boats."""
    marked = mention.singular and mention.language in {"en", "fr"}
    return quantity.count <= 1 or not marked or quantity.stop == mention.start


def _has(layout: Layout, mention: Mention, name: str, stop: int) -> bool:
    """Whether a word of the list ends before ``stop``, in the sentence's language or the noun's own."""
    own, spoken = layout.lexicon(stop - 1), lexicons()[mention.language]
    return bool(own.ends(name, layout.items, stop) or (spoken is not own and spoken.ends(name, layout.items, stop)))


def _measure_before(layout: Layout, stop: int, floor: int) -> int:
    """How many tokens of a measure end before ``stop`` and stand as an adjective: ``30-metre``, ``12 m``."""
    items = layout.items
    unit = layout.lexicon(stop - 1).units_m.ending(items, stop)
    length = unit[0] if unit else 1
    begin = stop - length - 1
    if begin < floor or items[begin].kind != "number":
        return 0
    return length + 1 if unit or items[stop - 1].glued else 0


def _counted(layout: Layout, mention: Mention, quantity: Quantity) -> Mention:
    lexicon = layout.lexicon(quantity.start)
    definite = quantity.start > 0 and bool(lexicon.ends("definite", layout.items, quantity.start))
    factor = quantity.factor * (mention.factor if not mention.plural else 1.0)
    return replace(
        mention, begin=quantity.start - definite, count=quantity.count, factor=factor, counted=True, definite=definite
    )


def _counted_after(layout: Layout, mention: Mention, counts: Mapping[int, Quantity]) -> Mention:
    """``boats: 3``, ``boats (3)``, ``boats x 3``: a count after its noun."""
    items = layout.items
    index = mention.stop
    if index + 1 >= len(items) or items[index].text not in {":", "(", "x", "="}:
        return mention
    quantity = next(
        (counts[stop] for stop in range(index + 2, index + 5) if stop in counts and counts[stop].start == index + 1),
        None,
    )
    if quantity is None or (items[index].text == "(" and items[min(quantity.stop, len(items) - 1)].text != ")"):
        return mention
    after = quantity.stop + (1 if items[index].text == "(" else 0)
    following = items[after] if after < len(items) else None
    if following is not None and following.kind == "word" and layout.segment[after] == layout.segment[index + 1]:
        return mention
    return replace(mention, stop=after, count=quantity.count, factor=quantity.factor, counted=True)
