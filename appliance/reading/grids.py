"""Grid references in running text: MGRS and UTM. What they mean is `geodesy`'s business; this finds them.

Rules: MGRS is read with its zone and square (``31U DQ 48251 11943``, ``31UDQ4811``), with two to ten digits, half
for each axis; in lower case only where zone, band and square stand together, since ``12 men 34`` is no grid
reference. An odd or uneven number of digits, a square that does not exist, and bare figures after ``grid`` are
places that are refused. UTM is zone, band letter or hemisphere, easting, northing, in metres.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.domain import Geodetic
from appliance.errors import BadRecord
from appliance.geodesy import parse_mgrs, parse_utm
from appliance.reading.places import Place, round_about, square
from appliance.reading.text import BLOCK, Folded

_EDGE: Final = r"(?<![\w\ufffd])(?<![\d\ufffd][.,])"
_MGRS: Final = re.compile(
    _EDGE + r"(?P<zone>\d{1,2})(?:\s?(?P<head>[C-HJ-NP-X]\s?[A-HJ-NP-Z]{2})|(?P<low>[c-hj-np-x][a-hj-np-z]{2}))"
    r"\s?(?P<first>\d{1,11})(?:\s(?P<second>\d{1,6})(?![\w\ufffd]))?(?![\w\ufffd])"
)
_UTM: Final = re.compile(
    _EDGE + r"(?:utm\s?:?\s?)?(?:zone\s?:?\s?)?(?P<zone>\d{1,2})\s?"
    r"(?P<band>north|south|nord|sud|süd|[c-hj-np-x])\s{0,2}[:,]?\s?"
    r"(?:e\s?=?\s?)?(?P<east>\d{5,7}(?:\.\d{1,3})?)\s?(?:me?\b|e\b)?[ ,/]{1,3}"
    r"(?:n\s?=?\s?)?(?P<north>\d{4,8}(?:\.\d{1,3})?)(?:\s?(?:mn?|n)\b)?(?![\w\ufffd]|[.,]\d)"
)
_FIGURES: Final = re.compile(
    r"\b(?:grid(?:\s(?:ref(?:erence)?|square))?|mgrs|coordonnées|koordinaten)\s?:?\s?"
    r"(?P<figures>\d{4,10}|\d{3,5}\s\d{3,5})(?![\w\ufffd])"
)
_HALF_METRE: Final = 0.5
_HALVES: Final = {"nord": "north", "sud": "south", "süd": "south", "north": "north", "south": "south"}
_MAX_DIGITS: Final = 10


def grids(text: Folded) -> tuple[Place, ...]:
    """Every grid reference in the text, in order of kind; refused ones without a position."""
    found = [_mgrs(match) for match in _MGRS.finditer(text.plain)]
    found += [_utm(match) for match in _UTM.finditer(text.low)]
    found += [
        Place(start=match.start("figures"), end=match.end(), position=None, covariance_m2=None)
        for match in _FIGURES.finditer(text.low)
    ]
    return tuple(found)


def _mgrs(match: re.Match[str]) -> Place:
    first, second = match["first"], match["second"]
    end = match.end()
    if second is not None and len(first) != len(second):
        if len(first) % 2 == 0 and len(first) >= 4:
            second, end = None, match.end("first")
        else:
            return Place(start=match.start(), end=end, position=None, covariance_m2=None)
    digits = first + (second or "")
    head = (match["head"] or match["low"]).upper()
    if BLOCK in match.group() or len(digits) < 2 or len(digits) > _MAX_DIGITS:
        return Place(start=match.start(), end=end, position=None, covariance_m2=None)
    try:
        centre, half_side_m = parse_mgrs(f"{match['zone']}{head}{digits}")
    except BadRecord:
        return Place(start=match.start(), end=end, position=None, covariance_m2=None)
    return Place(start=match.start(), end=end, position=centre, covariance_m2=square(half_side_m))


def _utm(match: re.Match[str]) -> Place:
    band = _HALVES.get(match["band"], match["band"])
    centre: Geodetic | None
    try:
        centre = parse_utm(int(match["zone"]), band, float(match["east"]), float(match["north"]))
    except BadRecord:
        centre = None
    spread = None if centre is None else round_about(_HALF_METRE)
    return Place(start=match.start(), end=match.end(), position=centre, covariance_m2=spread)
