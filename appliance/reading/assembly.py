"""Which place, time, grade and number belongs to which thing named.

Rules, first that fits:
- *Place*: the one in the clause; of several, the one that follows the thing (or precedes it, where the clause
  begins with a place); the only one in the sentence; that of the nearest sentence before that gives a place and
  names nothing (a heading); else of the sentence right after, if that names nothing. A place that was refused
  stands: no other is put in its stead.
- *Time*: the nearest in the sentence; the only one of the report; the last before. Else when the report was
  received.
- *Number of a ship*: to the vessel before it in the sentence, or after it, or the only one of the report; else it
  is a thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from appliance.domain import Identity, is_a
from appliance.reading.clauses import Layout
from appliance.reading.identities import Named
from appliance.reading.mentions import Mention
from appliance.reading.places import Place
from appliance.reading.times import When, day_before

_COPULAS: Final = frozenset(
    (
        *("is", "was", "be", "seems", "appears", "to", "probably", "est", "était", "semble", "être", "probablement"),
        *(
            "ist",
            "war",
            "wohl",
            "vermutlich",
            "ass",
            "wahrscheinlich",
            "wahrscheinlech",
            "vläicht",
            "possibly",
            "likely",
        ),
    )
)
_LONGEST_COPULA: Final = 3
_KIND_OF: Final = {"mmsi": "vessel", "icao": "aircraft"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Marked(Generic[T]):
    """Something read before the words, at its mark's token."""

    index: int
    value: T


def marked(layout: Layout, kind: str, values: Sequence[T], starts: Sequence[int]) -> tuple[Marked[T], ...]:
    """Each value with the token of its mark; ``starts`` are the values' plain offsets."""
    by_start = dict(zip(starts, values, strict=True))
    return tuple(
        Marked(index, by_start[token.start])
        for index, token in enumerate(layout.items)
        if token.text == f"<{kind}>" and token.start in by_start
    )


def merge_appositions(layout: Layout, found: Sequence[Mention]) -> tuple[Mention, ...]:
    """*MV Aurora, a container ship,* and *the vessel is a ferry* name one thing, and the narrower word counts."""
    taken: list[Mention] = []
    for mention in found:
        before = taken[-1] if taken else None
        if before is None or not _is_apposition(layout, before, mention):
            taken.append(mention)
            continue
        narrower = mention.category if is_a(mention.category, before.category) else before.category
        identities = (*before.identities, *mention.identities)
        taken[-1] = replace(before, stop=mention.stop, category=narrower, identities=identities)
    return tuple(taken)


def _is_apposition(layout: Layout, before: Mention, mention: Mention) -> bool:
    between = [token.text for token in layout.items[before.stop : mention.begin]]
    says_is = 0 < len(between) <= _LONGEST_COPULA and all(word in _COPULAS for word in between)
    if not (says_is or between in ([","], ["("])) or before.count != 1 or mention.count != 1 or before.plural:
        return False
    if layout.sentence[before.start] != layout.sentence[mention.start]:
        return False
    narrower, wider = is_a(mention.category, before.category), is_a(before.category, mention.category)
    named = bool(before.identities) != bool(mention.identities)
    single = mention.begin < mention.start or bool(mention.identities)
    deeper = narrower and mention.category != before.category
    same_family = is_a(mention.category, "vessel") and is_a(before.category, "vessel")
    return single and (deeper or ((named or says_is) and (narrower or wider or same_family)))


def give_numbers(layout: Layout, found: Sequence[Mention], numbers: Sequence[Marked[Named]]) -> tuple[Mention, ...]:
    """The mentions with the MMSIs and ICAO addresses that belong to them; a number of nobody is a mention itself."""
    taken = list(found)
    for number in numbers:
        identity = number.value.identity
        host = _host(layout, taken, number.index, identity)
        if host is None:
            category = _KIND_OF[identity.kind]
            taken.append(
                Mention(
                    number.index, number.index, number.index + 1, category, 1, 1.0, counted=True, identities=(identity,)
                )
            )
            taken.sort(key=lambda mention: mention.start)
        else:
            taken[host] = replace(taken[host], identities=(*taken[host].identities, identity))
    return tuple(taken)


def _host(layout: Layout, found: Sequence[Mention], index: int, identity: Identity) -> int | None:
    """The mention that a number belongs to: before it in the sentence, after it, or the only one there is."""
    able = [i for i, mention in enumerate(found) if _may_have(mention, identity)]
    here = [i for i in able if layout.sentence[found[i].start] == layout.sentence[index]]
    before = [i for i in here if found[i].start < index]
    if before:
        return before[-1]
    if here:
        return here[0]
    alone = not any(layout.sentence[mention.start] == layout.sentence[index] for mention in found)
    return able[0] if alone and len(able) == 1 else None


def _may_have(mention: Mention, identity: Identity) -> bool:
    held = sum(other.kind == identity.kind for other in mention.identities)
    return is_a(mention.category, _KIND_OF[identity.kind]) and (held == 0 or held < mention.count)


def place_of(
    layout: Layout, mention: Mention, found: Sequence[Mention], places: Sequence[Marked[Place]]
) -> Place | None:
    """The place of a mention, or None where the report gives none for it."""
    at = [place for place in places if place.value.role == "at"]
    clause = layout.clause[mention.start]
    own = [place for place in at if layout.clause[place.index] == clause]
    if own:
        return own[0].value if len(own) == 1 else _of_several(layout, mention, found, own)
    sentence = layout.sentence[mention.start]
    near = [place for place in at if layout.sentence[place.index] == sentence]
    if near:
        return near[0].value if len(near) == 1 else None
    return _heading(layout, mention, found, at)


def _of_several(
    layout: Layout, mention: Mention, found: Sequence[Mention], own: Sequence[Marked[Place]]
) -> Place | None:
    clause = layout.clause[mention.start]
    starts = [other.start for other in found if layout.clause[other.start] == clause]
    if own[0].index < starts[0]:
        before = [place for place in own if place.index < mention.start]
        return before[-1].value if before else None
    after = [place for place in own if place.index > mention.start]
    until = min((start for start in starts if after and start > after[0].index), default=len(layout.items))
    only = [place for place in after if place.index < until]
    return only[0].value if len(only) == 1 else None


def _heading(layout: Layout, mention: Mention, found: Sequence[Mention], at: Sequence[Marked[Place]]) -> Place | None:
    speaking = {layout.sentence[other.start] for other in found}
    sentence = layout.sentence[mention.start]
    before = [place for place in at if layout.sentence[place.index] < sentence]
    if before:
        last = [place for place in before if layout.sentence[place.index] == layout.sentence[before[-1].index]]
        heads = layout.sentence[before[-1].index] not in speaking
        return last[0].value if heads and len(last) == 1 else None
    after = [place for place in at if layout.sentence[place.index] not in speaking]
    alone = len(at) == 1 and len(after) == 1
    following = [
        place for place in after if sentence < layout.sentence[place.index] <= _next_spoken(sentence, speaking)
    ]
    return after[0].value if alone else following[0].value if len(following) == 1 else None


def _next_spoken(sentence: int, speaking: set[int]) -> int:
    return min((other for other in speaking if other > sentence), default=sentence + 2)


def time_of(layout: Layout, mention: Mention, times: Sequence[Marked[When]], received_ns: int) -> int:
    """When a mention's thing was observed."""
    sentence = layout.sentence[mention.start]
    said = [(time, _said(layout, time, received_ns)) for time in times]
    usable = [(time, moment) for time, moment in said if moment is not None]
    own = [entry for entry in usable if layout.sentence[entry[0].index] == sentence]
    exact = [entry for entry in own if not entry[0].value.vague] or own
    if exact:
        return min(exact, key=lambda entry: abs(entry[0].index - mention.start))[1]
    if len(usable) == 1:
        return usable[0][1]
    before = [moment for time, moment in usable if layout.sentence[time.index] < sentence]
    return before[-1] if before else received_ns


def _said(layout: Layout, time: Marked[When], received_ns: int) -> int | None:
    """The moment of a time as its sentence says it: not of a plan, and of the day before where it says *yesterday*."""
    start, stop = layout.extent(time.index, layout.sentence)
    lexicon = layout.lexicon(time.index)
    if lexicon.ends("not_yet", layout.items, time.index):
        return None
    if time.value.of_day_s is not None and _says_yesterday(layout, start, stop):
        return day_before(time.value, received_ns)
    return time.value.observed_ns


def _says_yesterday(layout: Layout, start: int, stop: int) -> bool:
    return any(layout.items[i].text == "<yesterday>" for i in range(start, stop))
