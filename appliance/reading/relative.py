"""Places told by others: *2 km north of Ryde*, *bearing 045 range 3 nm*, *off Portsmouth*.

Rules:
- A distance and a compass point from a coordinate, a name of the gazetteer, or the author give a place. A compass
  point without a distance, or a magnetic or relative bearing, gives none.
- *Near*, *at* and *off* a name give the name's position with the stated uncertainty; a distance without a direction
  gives it with that distance. A destination is not where a thing is.
- Bearings are true. The author stands where the report says, or else where the caller says.
- A distance is uncertain by its rounding and by a tenth; *about* doubles that. A compass point is uncertain by half
  the gap to the next, a bearing in degrees by three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from appliance.domain import Geodetic
from appliance.reading.clauses import Layout
from appliance.reading.lexicon import Lexicon, Phrases, lexicons, split_phrase
from appliance.reading.numbers import number_at
from appliance.reading.places import Covariance, Place, away, round_about
from appliance.reading.text import Token

AT_NAME_SIGMA_M: Final = 300.0
NEAR_SIGMA_M: Final = 1000.0
OFF_SIGMA_M: Final = 2000.0
HERE_SIGMA_M: Final = 25.0
"""Of the author's own place: a receiver, and where the author stood rather than the set."""
RANGE_SHARE: Final = 0.1
ABOUT_FACTOR: Final = 2.0
BEARING_SIGMA_RAD: Final = math.radians(3.0)
_EIGHT_WINDS_SIGMA_RAD: Final = math.radians(22.5) / math.sqrt(3)
_SIXTEEN_WINDS_SIGMA_RAD: Final = math.radians(11.25) / math.sqrt(3)
_FARTHEST_M: Final = 200_000.0
"""Nobody tells a place by a distance longer than this; the flat reckoning ends here, too."""
_NOT_TRUE: Final = frozenset(
    ("magnetic", "mag", "magnétique", "missweisend", "mw", "relative", "rel", "magnetesch", "relativ")
)
_DEGREES: Final = frozenset(
    (
        "°",
        "degrees",
        "degree",
        "deg",
        "degrés",
        "degre",
        "grad",
        "true",
        "t",
        "vrai",
        ",",
        "rw",
        "rechtweisend",
        "at",
        "à",
        "and",
        "et",
        "und",
        "an",
        ":",
        "in",
        "mat",
        "mit",
        "/",
    )
)
_FILLERS: Final = 4
_REACH: Final = 7


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance over the tokens ``start`` to ``stop``."""

    start: int
    stop: int
    metres: float
    sigma_m: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place that others are told by, over the tokens ``start`` to ``stop``."""

    start: int
    stop: int
    position: Geodetic
    covariance_m2: Covariance
    named: bool


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """Names of places, cut into words; built once for a report."""

    names: Phrases[Geodetic]

    @classmethod
    def of(cls, names: Mapping[str, Geodetic]) -> Gazetteer:
        """Ready for looking up; names are compared without regard to case."""
        return cls(Phrases((split_phrase(name), position) for name, position in names.items()))


def relative_places(
    layout: Layout, coordinates: Mapping[int, Place], gazetteer: Gazetteer, here: Geodetic | None
) -> tuple[Place, ...]:
    """Every place of the text, coordinates included, once those told by others are reckoned.

    ``coordinates`` are by the plain offset of their mark in ``layout``.
    """
    found: list[Place] = []
    index = 0
    while index < len(layout.items):
        place, stop = _bearing(layout, index, coordinates, gazetteer, here)
        if place is None:
            place, stop = _anchored(layout, index, coordinates, gazetteer, here)
        if place is None:
            place, stop = _compass_from_here(layout, index, here)
        if place is not None:
            while found and found[-1].end > place.start:
                found.pop()
            found.append(place)
        index = max(stop, index + 1)
    return tuple(found)


def _anchor(
    layout: Layout, index: int, coordinates: Mapping[int, Place], gazetteer: Gazetteer, here: Geodetic | None
) -> Anchor | None:
    items = layout.items
    if index >= len(items):
        return None
    place = coordinates.get(items[index].start) if items[index].text == "<place>" else None
    if place is not None and place.position is not None and place.covariance_m2 is not None:
        return Anchor(index, index + 1, place.position, place.covariance_m2, named=False)
    name = gazetteer.names.at(items, index)
    if name is not None:
        return Anchor(index, index + name[0], name[1], round_about(AT_NAME_SIGMA_M), named=True)
    length = layout.lexicon(index).has("here", items, index)
    if length and here is not None and index and layout.lexicon(index).ends("of", items, index):
        return Anchor(index, index + length, here, round_about(HERE_SIGMA_M), named=False)
    return None


def _anchored(
    layout: Layout, index: int, coordinates: Mapping[int, Place], gazetteer: Gazetteer, here: Geodetic | None
) -> tuple[Place | None, int]:
    """The place that an anchor at ``index`` and the words before it tell, and the token after."""
    items = layout.items
    anchor = _anchor(layout, index, coordinates, gazetteer, here)
    if anchor is None:
        refused = coordinates.get(items[index].start) if items[index].text == "<place>" else None
        return refused, index + 1
    lexicon = layout.lexicon(index)
    of = lexicon.ends("of", items, index)
    told = _told_by(layout, anchor, index - of, lexicon) if of else None
    if told is not None:
        return told, anchor.stop
    return _prefixed(layout, anchor, lexicon), anchor.stop


def _told_by(layout: Layout, anchor: Anchor, stop: int, lexicon: Lexicon) -> Place | None:
    """A distance, a compass point or both before ``stop``, from the anchor after it."""
    items = layout.items
    point = lexicon.compass.ending(items, stop)
    before = stop - point[0] if point else stop
    before -= lexicon.ends("to_the", items, before) if point else 0
    distance = _distance_before(layout, before, lexicon)
    end = items[anchor.stop - 1].end
    if point is None:
        if distance is None:
            return None
        spread = round_about(distance.metres)
        return Place(start=items[distance.start].start, end=end, position=anchor.position, covariance_m2=spread)
    if distance is None:
        return Place(start=items[before].start, end=end, position=None, covariance_m2=None)
    position, spread = _away(anchor, distance, point[1])
    return Place(start=items[distance.start].start, end=end, position=position, covariance_m2=spread)


def _away(anchor: Anchor, distance: Distance, compass_deg: float) -> tuple[Geodetic, Covariance]:
    winds = _EIGHT_WINDS_SIGMA_RAD if compass_deg % 45 == 0 else _SIXTEEN_WINDS_SIGMA_RAD
    return away(
        anchor.position,
        anchor.covariance_m2,
        bearing_rad=math.radians(compass_deg),
        range_m=distance.metres,
        bearing_sigma_rad=winds,
        range_sigma_m=distance.sigma_m,
    )


def _prefixed(layout: Layout, anchor: Anchor, lexicon: Lexicon) -> Place | None:
    """The anchor itself, by the preposition before it; None for a name that merely occurs."""
    items = layout.items
    kind = _preposition(items, anchor.start, lexicon)
    if not kind:
        kind = "at" if not anchor.named or _stands_alone(layout, anchor) else ""
    start, end = items[anchor.start].start, items[anchor.stop - 1].end
    if kind == "towards":
        return Place(start=start, end=end, position=None, covariance_m2=None, role="towards")
    if not kind:
        return None
    place = Place(start=start, end=end, position=anchor.position, covariance_m2=anchor.covariance_m2)
    wider = {"near": NEAR_SIGMA_M, "off": OFF_SIGMA_M}.get(kind)
    return place if wider is None else replace(place, covariance_m2=round_about(wider))


def _preposition(items: tuple[Token, ...], stop: int, lexicon: Lexicon) -> str:
    """Which kind of preposition ends before ``stop``: the longest, in the sentence's language or else in any."""
    for spoken in (lexicon, *lexicons().values()):
        lengths = {name: spoken.ends(name, items, stop) for name in ("near", "off", "towards", "at")}
        kind = max(lengths, key=lambda name: lengths[name])
        if lengths[kind]:
            return kind
    return ""


def _stands_alone(layout: Layout, anchor: Anchor) -> bool:
    items = layout.items
    before = anchor.start == 0 or items[anchor.start - 1].kind in {"mark", "line"}
    after = anchor.stop >= len(items) or items[anchor.stop].kind in {"mark", "line"}
    return before and after


def _bearing(
    layout: Layout, index: int, coordinates: Mapping[int, Place], gazetteer: Gazetteer, here: Geodetic | None
) -> tuple[Place | None, int]:
    """*Bearing 045 range 3 nm*, in either order, with *from* a place or from here."""
    items, lexicon = layout.items, layout.lexicon(index)
    length = lexicon.has("bearing", items, index)
    degrees = _degrees(items, index + length) if length else None
    if degrees is None:
        return None, index
    stop = index + length + 1
    begin = index
    true = not any(token.text in _NOT_TRUE for token in items[max(0, index - 1) : stop + 2])
    distance, stop = _distance_after(layout, stop, lexicon)
    if distance is None:
        distance = _distance_before(layout, _before_comma(items, index), lexicon)
        begin = distance.start if distance else begin
    of = lexicon.has("of", items, stop) if stop < len(items) else 0
    anchor = _anchor(layout, stop + of, coordinates, gazetteer, here) if of else None
    if anchor is not None:
        stop = anchor.stop
        if distance is None:
            distance, stop = _distance_after(layout, stop, lexicon)
    elif here is not None:
        anchor = Anchor(begin, begin, here, round_about(HERE_SIGMA_M), named=False)
    start, end = items[begin].start, items[stop - 1].end
    if distance is None or anchor is None or not true:
        return Place(
            start=start, end=end, position=None, covariance_m2=None, role="at" if distance else "towards"
        ), stop
    position, spread = away(
        anchor.position,
        anchor.covariance_m2,
        bearing_rad=math.radians(degrees),
        range_m=distance.metres,
        bearing_sigma_rad=BEARING_SIGMA_RAD,
        range_sigma_m=distance.sigma_m,
    )
    return Place(start=start, end=end, position=position, covariance_m2=spread), stop


def _before_comma(items: tuple[Token, ...], index: int) -> int:
    return index - 1 if index and items[index - 1].text == "," else index


def _degrees(items: tuple[Token, ...], index: int) -> float | None:
    text = items[index].text if index < len(items) else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= 3):
        return None
    return float(text) if int(text) <= 360 else None


def _distance_after(layout: Layout, index: int, lexicon: Lexicon) -> tuple[Distance | None, int]:
    """(the distance that follows, the token after it), past *degrees*, *range* and the like."""
    items = layout.items
    at = index
    for _ in range(_FILLERS):
        if at < len(items) and (items[at].text in _DEGREES or lexicon.has("distance", items, at)):
            at += max(1, lexicon.has("distance", items, at))
    distance = _distance(layout, at, lexicon)
    if distance is None and lexicon.has("distance", items, index):
        return None, index
    return distance, distance.stop if distance else _past_degree_mark(items, index)


def _past_degree_mark(items: tuple[Token, ...], index: int) -> int:
    return (
        index + 1 if index < len(items) and items[index].text in {"°", "degrees", "degrés", "grad", "true"} else index
    )


def _distance(layout: Layout, index: int, lexicon: Lexicon) -> Distance | None:
    """A number and a unit of length at ``index``."""
    items = layout.items
    at = index
    about = lexicon.has("approximate", items, at) if at < len(items) else 0
    at += about
    number = _measure(items, at, lexicon)
    if number is None or number[2] >= len(items):
        return None
    value, step, stop = number
    unit = lexicon.units_m.at(items, stop)
    if unit is None or value <= 0:
        return None
    metres = value * unit[1]
    if metres > _FARTHEST_M:
        return None
    sigma = math.hypot(step * unit[1] / 2 / math.sqrt(3), RANGE_SHARE * metres) * (ABOUT_FACTOR if about else 1.0)
    return Distance(index, stop + unit[0], metres, sigma)


def _distance_before(layout: Layout, stop: int, lexicon: Lexicon) -> Distance | None:
    """A distance whose last token is the one before ``stop``; the longest reading."""
    for start in range(max(0, stop - _REACH), stop):
        distance = _distance(layout, start, lexicon)
        if distance is not None and distance.stop == stop:
            return distance
    return None


def _measure(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[float, float, int] | None:
    """(value, step, token after) of a number with or without decimals, in digits or words; also *half a*."""
    if index >= len(items):
        return None
    half = lexicon.has("half", items, index)
    if half:
        return 0.5, 0.5, index + half + lexicon.has("indefinite", items, index + half)
    text = items[index].text
    whole, mark, fraction = text.replace(",", ".").partition(".")
    if (
        items[index].kind == "number"
        and mark
        and whole.isdecimal()
        and fraction.isdecimal()
        and len(text) <= 8
        and text.isascii()
    ):
        return float(f"{whole}.{fraction}"), 10.0 ** -len(fraction), index + 1
    number = number_at(items, index, lexicon)
    if number is None and lexicon.has("indefinite", items, index):
        number = (1, 1)
    if number is None:
        return None
    value, length = number
    step = 1.0  # a round number is rounded more coarsely: ten is anything from eight to twelve
    while value and value % (step * 10) == 0:
        step *= 10
    return float(value), step if step == 1.0 else step / 2, index + length


def _compass_from_here(layout: Layout, index: int, here: Geodetic | None) -> tuple[Place | None, int]:
    """*3 nm to the north-east*, with nothing after it: from the author."""
    items, lexicon = layout.items, layout.lexicon(index)
    distance = _distance(layout, index, lexicon)
    if distance is None:
        return None, index
    to_the = lexicon.has("to_the", items, distance.stop) if distance.stop < len(items) else 0
    at = distance.stop + to_the
    point = lexicon.compass.at(items, at) if to_the and at < len(items) else None
    if point is None or (at + point[0] < len(items) and lexicon.has("of", items, at + point[0])):
        return None, index
    start, stop = items[index].start, at + point[0]
    end = items[stop - 1].end
    if here is None:
        return Place(start=start, end=end, position=None, covariance_m2=None), stop
    anchor = Anchor(index, index, here, round_about(HERE_SIGMA_M), named=False)
    position, spread = _away(anchor, distance, point[1])
    return Place(start=start, end=end, position=position, covariance_m2=spread), stop
