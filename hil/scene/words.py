"""What people in the scene write: short reports in English, French, German and Luxembourgish, true unless they say so.

Places are computed from the truth at the moment of writing and written as people write them: MGRS, UTM, degrees with
decimals, degrees with minutes and seconds. ``about`` names the things that a report is about, for whoever checks
whether it was joined to the right ones; a report about nothing true has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import mgrs

from appliance.domain import Geodetic
from hil.scene.harbour import AURELIA, DINGHY, FAR_SHIP, FISHER, place
from hil.scene.world import Ground, Scene, motion, utm


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One report: when it is sent, by whom, graded how (Admiralty system), in which language, about what."""

    time_s: float
    report_id: str
    author: str
    grade: str
    language: str
    text: str
    about: tuple[str, ...] = ()


def spoken(scene: Scene, duration_s: float) -> tuple[Spoken, ...]:
    """The reports of the demo's harbour, spread over the first four fifths of the time."""
    return tuple(
        Spoken(
            time_s=part * duration_s, report_id=f"r{number}", author=author, grade=grade, language=language,
            text=_TEXTS[key](_Places(scene, part * duration_s)), about=about,
        )
        for number, (part, key, language, author, grade, about) in enumerate(_SCRIPT, start=1)
    )  # fmt: skip


_SCRIPT: tuple[tuple[float, str, str, str, str, tuple[str, ...]], ...] = (
    (0.20, "trucks", "en", "gate-2", "B2", ("first truck", "second truck")),
    (0.30, "far", "de", "ausguck", "B2", (FAR_SHIP,)),
    (0.40, "fisher", "lb", "hafemeeschter", "B3", (FISHER,)),
    (0.50, "aurelia", "en", "pilot-station", "A1", ("Aurelia",)),
    (0.58, "nobody", "fr", "capitainerie", "A2", ()),
    (0.66, "dinghy", "fr", "capitainerie", "B2", (DINGHY,)),
    (0.74, "rumour", "en", "bystander", "E5", ()),
)


class _Places:
    """Where things are at one moment, in the ways of writing."""

    def __init__(self, scene: Scene, time_s: float) -> None:
        self._scene, self._time_s = scene, time_s
        self._ground = Ground(scene.origin)

    def of(self, *names: str) -> Geodetic:
        """The middle of the named things."""
        moved = [motion(self._scene.thing(name).loop, self._time_s) for name in names]
        east, north = sum(m.east_m for m in moved) / len(moved), sum(m.north_m for m in moved) / len(moved)
        return self._ground.to_geodetic(east, north)

    def at(self, right_m: float, ahead_m: float) -> Geodetic:
        return self._ground.to_geodetic(*place(right_m, ahead_m))


def _trucks(places: _Places) -> str:
    return f"Two trucks parked on the quay at {as_mgrs(places.of('first truck', 'second truck'))}, engines off."


def _far(places: _Places) -> str:
    return f"Ein großes Schiff vor der Einfahrt bei {as_decimal(places.of(FAR_SHIP))}, ohne AIS."


def _fisher(places: _Places) -> str:
    return f"E klengt Boot ouni AIS am Hafen bei {as_dms(places.of(FISHER))}, fiert lues."


def _aurelia(_: _Places) -> str:
    return f"Cargo ship {AURELIA.name}, MMSI {AURELIA.mmsi}, is under way inside the breakwater, all well."


def _nobody(places: _Places) -> str:
    return f"Aucune personne sur la digue à {as_utm(places.at(0.0, 520.0))}."


def _dinghy(places: _Places) -> str:
    return f"Un petit bateau rapide sans feux près du quai à {as_utm(places.of(DINGHY))}."


def _rumour(places: _Places) -> str:
    return f"Someone at the bar says there is a helicopter near {as_decimal(places.at(-900.0, 700.0))}, only hearsay."


_TEXTS = {
    "trucks": _trucks,
    "far": _far,
    "fisher": _fisher,
    "aurelia": _aurelia,
    "nobody": _nobody,
    "dinghy": _dinghy,
    "rumour": _rumour,
}


def as_mgrs(place: Geodetic) -> str:
    """Ten-metre square, spaced as people write it: 31U CR 1234 5678."""
    square = str(mgrs.MGRS().toMGRS(place.latitude_deg, place.longitude_deg, MGRSPrecision=4))
    return f"{square[:-10]} {square[-10:-8]} {square[-8:-4]} {square[-4:]}"


def as_utm(place: Geodetic) -> str:
    zone, band, easting, northing = utm(place)
    return f"{zone}{band} {easting:.0f} {northing:.0f}"


def as_decimal(place: Geodetic) -> str:
    north, east = place.latitude_deg >= 0.0, place.longitude_deg >= 0.0
    return (
        f"{abs(place.latitude_deg):.5f} {'N' if north else 'S'} {abs(place.longitude_deg):.5f} {'E' if east else 'W'}"
    )


def as_dms(place: Geodetic) -> str:
    return f"{_dms(place.latitude_deg, 'N', 'S')} {_dms(place.longitude_deg, 'E', 'W')}"


def _dms(degrees: float, positive: str, negative: str) -> str:
    tenths = round(abs(degrees) * 36_000.0)
    whole, rest = divmod(tenths, 36_000)
    minutes, seconds = divmod(rest, 600)
    return f"{whole}°{minutes:02d}'{seconds / 10.0:04.1f}\"{positive if degrees >= 0.0 else negative}"
