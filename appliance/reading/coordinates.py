"""Coordinates in running text: degrees in their many spellings. Grid references stand in `grids`.

Understood: ``49.61, 6.13`` · ``49,61° N 6,13° E`` · ``N49.61 E006.13`` · ``lat 49.61 lon 6.13`` · ``50°46'23"N
1°5'36"W`` · ``50°46.38'N 001°05.6'W`` · ``50-46.38N 001-05.6W`` · ``504638N 0010536W`` · ``5046.38N 00105.60W``.

Rules:
- Two angles that stand together make a place; one alone makes none. Without letters or labels latitude comes first.
- Bare pairs need two decimals each and one kind of decimal mark: fewer is a list of measurements, mixed is a slip.
- What is out of range, has sixty minutes, two latitudes, a sign *and* a letter, or a comma that could be either, is
  a place that is refused. It is never clipped, swapped or completed.
- The letter O is *Ouest* in French and *Ost* in German: it is read only where the caller knows which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from appliance.domain import Geodetic
from appliance.reading.places import Place, cell
from appliance.reading.text import BLOCK, Folded

Axis = Literal["lat", "lon"]
OMeans = Literal["E", "W"] | None

_MARK: Final = r"\s?(?:°|deg(?:rees?)?\b|grad\b|degr[ée]s?\b)\s?"
_MINUTE: Final = r"\s?(?:'(?!')|min(?:utes?|uten|utten)?\b)"
_SECOND: Final = r"\s?(?:\"|''|sec(?:ond(?:e?s)?)?\b|sek(?:unden)?\b)"
_BODY: Final = rf"""(?:
    (?P<d>\d{{1,3}}){_MARK}(?P<m>\d{{1,2}}(?:[.,]\d{{1,6}})?)(?:{_MINUTE}(?:\s?(?P<s>\d{{1,2}}(?:[.,]\d{{1,4}})?){_SECOND})?)?(?![\d.,]*\d)
  | (?P<dd>\d{{1,3}}(?:[.,]\d{{1,8}})?){_MARK}(?!\d)
  | (?P<sd>\d{{1,3}})[ -](?P<sm>\d{{1,2}}(?:[.,]\d{{1,6}})?){_MINUTE}?
      (?:[ -](?P<ss>\d{{1,2}}(?:[.,]\d{{1,4}})?)(?:{_SECOND})?)?
  | (?P<c>\d{{4,7}}(?:[.,]\d{{1,6}})?)
  | (?P<p>\d{{1,3}}(?:[.,]\d{{1,8}})?)
)(?![\d\ufffd])"""
_LETTER: Final = r"[nsewo](?![^\W\d_])"
_WORD: Final = (
    r"(?:de\s)?(?:latitude\s|longitude\s)?(?:north|nord|n(?:ö|oe)rdlich(?:er|e)?|n[ëe]rdlech(?:er)?|south|sud|süd(?:lich(?:er|e)?|lech(?:er)?)?"
    r"|east|est|ost|(?:ö|oe)stlich(?:er|e)?|ëstlech(?:er)?|west(?:lich(?:er|e)?|lech(?:er)?)?|ouest)\b(?:\s(?:breite|länge|breet|längt))?"
)
_LABEL: Final = (
    r"(?:\b(?P<label>lat(?:itude)?|lon(?:g(?:itude)?)?|lng|breite(?:ngrad)?|länge(?:ngrad)?|breet(?:egrad)?|längt(?:egrad)?)"
    r"\b\s?[.:=]{0,2}\s{0,2})?"
)
_SIGN: Final = r"(?P<sign>[+-])?"
_FORMS: Final = tuple(
    re.compile(form, re.VERBOSE)
    for form in (
        rf"{_LABEL}(?P<hemi>[nsewo])\s?{_BODY}",
        rf"{_LABEL}{_SIGN}{_BODY}\s?(?P<hemi>{_LETTER}|{_WORD})",
        rf"{_LABEL}{_SIGN}{_BODY}",
    )
)
_START: Final = re.compile(r"(?<![\w\ufffd])(?<![\d\ufffd][.,])(?:lat|lon|lng|breit|läng|breet|[nsewo]\s?\d|[+-]?\d)")
_GAP: Final = re.compile(r"(?:\s{0,3}(?:[,;/|&]|(?:and|et|und|an|by)\b)?\s{0,3})")
_AFTER: Final = re.compile(r"[^\W_]|[°'\"\ufffd]|[.,]\d")
_UNIT_AFTER: Final = re.compile(
    r"\s?(?:%|€|\$|(?:m|km|kn|kt|kts|knots|nm|sm|min|mn|h|s|kg|t|ft|metres|meters|meter|mètres|milles|miles|seemeilen|"
    r"séimeilen|knoten|nœuds|noeuds|hours|euros?)\b)|\s?(?:,|and\b|et\b|und\b)\s?\d{1,3}[.,]\d{2,}"
)
_SIDE: Final = {"n": ("lat", 1), "s": ("lat", -1), "e": ("lon", 1), "w": ("lon", -1)}
_LIST_BEFORE: Final = re.compile(r"\d[.,]\d{1,8}\s?(?:,|;|and|et|und|an)\s?$")
_LOOK_BEHIND: Final = 16
_LEAST_DECIMALS: Final = 2
"""Of a bare pair."""


@dataclass(frozen=True, slots=True)
class Angle:
    """One angle as written. ``degrees`` is None where it cannot be (sixty minutes, a sign and a letter)."""

    end: int
    degrees: float | None
    step_deg: float
    axis: Axis | None
    bare: bool
    decimals: int
    mark: str


def coordinates(text: Folded, o_means: OMeans) -> tuple[Place, ...]:
    """Every pair of angles in the text, in order; refused ones without a position."""
    found: list[Place] = []
    at = 0
    while match := _START.search(text.low, at):
        place = _pair(text.low, match.start(), o_means)
        if place is not None:
            found.append(place)
        at = place.end if place is not None else match.end()
    return tuple(found)


def _pair(low: str, start: int, o_means: OMeans) -> Place | None:
    for form in _FORMS:
        first = _angle(form, low, start, o_means)
        if first is None:
            continue
        gap = _GAP.match(low, first.end)
        between = gap.group() if gap else ""
        begin = first.end + len(between)
        for second_form in _FORMS:
            second = _angle(second_form, low, begin, o_means)
            if second is not None and _belong(low, start, first, between, second):
                return _place(start, first, second, glued=between == "," and "," in first.mark)
    return None


def _belong(low: str, start: int, first: Angle, between: str, second: Angle) -> bool:
    """Whether two angles stand together as a pair; what they say is judged afterwards."""
    if _AFTER.match(low, second.end):
        return False
    if not first.bare and not second.bare:
        return True
    least = min(angle.decimals for angle in (first, second) if angle.bare)
    if _LIST_BEFORE.search(low[max(0, start - _LOOK_BEHIND) : start]):
        return False
    return bool(between) and least >= _LEAST_DECIMALS and not _UNIT_AFTER.match(low, second.end)


def _angle(form: re.Pattern[str], low: str, start: int, o_means: OMeans) -> Angle | None:
    match = form.match(low, start)
    if match is None or BLOCK in match.group():
        return None
    groups = match.groupdict()
    side, label, sign = groups.get("hemi"), groups["label"], groups.get("sign")
    whole, spaced, compact = groups["p"], groups["sd"], groups["c"]
    if (spaced or compact) and not side:
        return None
    if whole and side and whole.isdecimal() and not re.search(r"[nsewo]0*\d|\d[nsewo]|\d\s\w{3,}", match.group()):
        return None
    axis, factor, known = _side(side, label, o_means)
    read = _compact(compact, axis) if compact else _sum(groups)
    bad = read is None or not known or (bool(side) and sign is not None)
    degrees, step = read or (0.0, 1.0)
    degrees = degrees * factor * (-1 if sign == "-" else 1)
    text = whole or groups["dd"] or groups["sm"] or groups["m"] or ""
    decimals = _LEAST_DECIMALS if groups["d"] else _number(text)[1] if text else 0
    bare = not side and not label
    return Angle(match.end(), None if bad else degrees, step, axis, bare, decimals, re.sub(r"\d", "", text))


def _side(side: str | None, label: str | None, o_means: OMeans) -> tuple[Axis | None, int, bool]:
    """(axis, sign, whether it is understood) of a hemisphere letter or word and a label."""
    by_label: Axis | None = None
    if label:
        by_label = "lat" if label.startswith(("lat", "b")) else "lon"
    if not side:
        return by_label, 1, True
    letter = _letter(side)
    if letter == "o":
        if o_means is None:
            return "lon", 1, False
        letter = o_means.lower()
    axis, factor = _SIDE[letter]
    return ("lat" if axis == "lat" else "lon"), factor, by_label in {None, axis}


def _letter(side: str) -> str:
    word = side.removeprefix("de ").removeprefix("latitude ").removeprefix("longitude ")
    if word.startswith(("ouest", "w")):
        return "w"
    if len(word) == 1:
        return word
    return "e" if word.startswith(("est", "east", "ost", "ö", "oe", "ë")) else word[0]


def _number(text: str) -> tuple[float, int]:
    """(value, decimals) of digits with a decimal point or comma."""
    whole, _, fraction = text.replace(",", ".").partition(".")
    return float(f"{whole}.{fraction or 0}"), len(fraction)


def _sum(groups: dict[str, str | None]) -> tuple[float, float] | None:
    """(degrees, step) of degrees, minutes and seconds; None where sixty or more stand for minutes or seconds."""
    if plain := groups["p"] or groups["dd"]:
        value, decimals = _number(plain)
        return value, 10.0**-decimals
    degrees, minutes, seconds = (
        (groups["d"] or groups["sd"] or "0"),
        (groups["m"] or groups["sm"] or "0"),
        groups["s"] or groups["ss"],
    )
    minute, decimals = _number(minutes)
    if seconds is None:
        return None if minute >= 60 else (int(degrees) + minute / 60, 10.0**-decimals / 60)
    second, second_decimals = _number(seconds)
    if minute >= 60 or second >= 60 or decimals:
        return None
    return int(degrees) + minute / 60 + second / 3600, 10.0**-second_decimals / 3600


def _compact(text: str, axis: Axis | None) -> tuple[float, float] | None:
    """``504638`` as 50° 46' 38"; a latitude has two digits of degrees, a longitude three."""
    digits, _, fraction = text.replace(",", ".").partition(".")
    head = 2 if axis == "lat" else 3
    rest = len(digits) - head
    if rest not in {2, 4}:
        return None
    parts = [digits[:head], digits[head : head + 2], digits[head + 2 :]]
    parts = [part for part in parts if part]
    parts[-1] += f".{fraction}" if fraction else ""
    names = ("d", "m", "s")
    groups: dict[str, str | None] = dict.fromkeys(("p", "dd", "sd", "sm", "ss", "d", "m", "s"))
    return _sum(groups | dict(zip(names, parts, strict=False)))


def _place(start: int, first: Angle, second: Angle, *, glued: bool) -> Place:
    refused = Place(start=start, end=second.end, position=None, covariance_m2=None)
    axes = (first.axis, second.axis)
    if first.degrees is None or second.degrees is None or glued or first.bare != second.bare:
        return refused
    if (axes[0] is not None and axes[0] == axes[1]) or (first.bare and first.mark != second.mark):
        return refused
    swapped = axes[0] == "lon" or (axes[0] is None and axes[1] == "lat")
    lat, lon = (second, first) if swapped else (first, second)
    if lat.degrees is None or lon.degrees is None or abs(lat.degrees) > 90 or abs(lon.degrees) > 180:
        return refused
    position = Geodetic(latitude_deg=lat.degrees, longitude_deg=lon.degrees)
    spread = cell(lat.degrees, lat.step_deg, lon.step_deg)
    return Place(start=start, end=second.end, position=position, covariance_m2=spread)
