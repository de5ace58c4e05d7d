"""MGRS and UTM references as people write them, to WGS84 and back.

An MGRS reference names a *square*, not a point: `parse_mgrs` gives the centre of that square and half its side, which
the caller must use as uncertainty. (NGA's own library gives the south-west corner: up to 70 km from the centre.)

Not here: finding references in running text (that is reading), other grids, other datums.

Rules: what does not name a place on the Earth is a `BadRecord` and never a guess; a square that its zone's edges cut
away wholly does not exist; a UTM point far outside its zone is taken for a slip of the pen.

Sources: NGA.STND.0037 (universal grids, zones, lettering of squares); EPSG 326xx/327xx through PROJ; GEOTRANS through
``mgrs`` for writing and for the polar squares. GEOTRANS is not asked for squares between the poles: it warns by Python
warnings about squares that a zone cuts, and names some that are cut away wholly.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Final, Literal

import mgrs
from pyproj import Transformer

from appliance.domain import Geodetic
from appliance.errors import BadRecord
from appliance.geodesy.frame import wrap_longitude

MAX_TEXT: Final = 40
"""Characters of a reference with its blanks; the longest written one has 21."""
_SQUARE_M: Final = 100_000.0
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"
_REFERENCE: Final = re.compile(
    r"(?P<zone>0?[1-9]|[1-5][0-9]|60)?(?P<band>[A-HJ-NP-Z])(?P<square>[A-HJ-NP-Z]{2})(?P<digits>[0-9]{0,10})"
)
_COLUMNS: Final = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
#: Northing of each band's lowest edge, rounded down to whole squares of 100 km.
_BAND_SQUARES: Final = dict(
    zip(_BANDS, (11, 20, 28, 37, 46, 55, 64, 73, 82, 91, 0, 8, 17, 26, 35, 44, 53, 62, 70, 79), strict=True)
)
_POLAR: Final = "ABYZ"
#: Zones whose width is not 6°: Norway and Svalbard (NGA.STND.0037 §5).
_ODD_ZONES: Final = {
    (31, "V"): (0.0, 3.0),
    (32, "V"): (3.0, 12.0),
    (31, "X"): (0.0, 9.0),
    (33, "X"): (9.0, 21.0),
    (35, "X"): (21.0, 33.0),
    (37, "X"): (33.0, 42.0),
}
_NO_ZONES: Final = {(32, "X"), (34, "X"), (36, "X")}
_SKEW: Final = 0.06
"""Edges of zones run up to 3.5° askew to the grid, so a zone may take a sliver between two corners of a square."""
_EDGE_M: Final = 2.0
"""A one-metre square may stand half in its zone."""
_DEGREE_M: Final = 111_000.0
_UTM_OVERLAP_DEG: Final = 1.0
"""Surveys run on in the neighbour's zone for some kilometres; more is taken for a wrong zone number."""
_BAND_OVERLAP_DEG: Final = 0.5
"""Likewise for the letter of the latitude band."""


def parse_mgrs(text: str) -> tuple[Geodetic, float]:
    """(centre of the square, half of its side in metres), for 100 km to 1 m squares: ``31U DQ 48251 11943``.

    At an edge of a zone the square is cut and the centre of the whole square may lie outside; the half side still
    covers it. Raises `BadRecord` (reason ``mgrs``).
    """
    zone, band, square, digits = _split(text)
    point = _polar_centre(band + square + digits) if band in _POLAR else _centre(int(zone), band, square, digits)
    if point is None:
        raise BadRecord("mgrs", f"expected a square that exists inside its zone and band; found {text!r}")
    place = Geodetic(latitude_deg=point[0], longitude_deg=wrap_longitude(point[1]))
    return place, _side_m(digits) / 2


def format_mgrs(position: Geodetic, digits: Literal[0, 1, 2, 3, 4, 5] = 5) -> str:
    """The MGRS square that holds ``position``: 5 digits name one of 1 m, 0 digits one of 100 km.

    Raises `BadRecord` for a position off the Earth.
    """
    lat, lon = position.latitude_deg, position.longitude_deg
    if not (abs(lat) <= 90.0 and abs(lon) <= 360.0):
        raise BadRecord("position", f"expected a position on the Earth; found {lat}, {lon}")
    reference: str = mgrs.MGRS().toMGRS(lat, wrap_longitude(lon), MGRSPrecision=digits)
    return reference


def parse_utm(zone: int, band_or_hemisphere: str, easting: float, northing: float) -> Geodetic:
    """A UTM point. ``band_or_hemisphere`` is a band letter C…X, or ``north``/``south``.

    A bare N or S is read as a band where the northing fits that band, and as a hemisphere elsewhere; a southern point
    between 50° and 58° S must therefore say ``south`` or its band. Raises `BadRecord` (reason ``utm``).
    """
    fault = f"UTM {zone} {band_or_hemisphere} {easting} {northing}"
    if not 1 <= zone <= 60:
        raise BadRecord("utm", f"expected a zone from 1 to 60; found {fault}")
    if not (100_000.0 <= easting < 900_000.0 and 0.0 <= northing < 10_000_000.0):
        raise BadRecord("utm", f"expected 100–900 km easting and 0–10,000 km northing; found {fault}")
    letter = band_or_hemisphere.strip().upper()
    place = _utm_in_band(zone, letter, easting, northing) or _utm_in_half(zone, letter, easting, northing)
    if place is None:
        raise BadRecord("utm", f"expected a point in its zone and band; found {fault}")
    return place


def _split(text: str) -> tuple[str, str, str, str]:
    compact = "".join(text[: MAX_TEXT + 1].split()).upper()
    match = _REFERENCE.fullmatch(compact)
    if len(text) > MAX_TEXT or match is None or len(match["digits"]) % 2:
        raise BadRecord("mgrs", f"expected an MGRS reference such as 31UDQ4825111943; found {text[:MAX_TEXT]!r}")
    zone, band, square, digits = match.group("zone", "band", "square", "digits")
    if (zone is None) != (band in _POLAR):
        raise BadRecord("mgrs", f"expected a zone number with bands C to X, and none at the poles; found {text!r}")
    return zone or "", band, square, digits


def _side_m(digits: str) -> float:
    return _SQUARE_M / 10.0 ** (len(digits) // 2)


def _polar_centre(reference: str) -> tuple[float, float] | None:
    try:
        lat, lon = mgrs.MGRS().toLatLon(reference)
    except Exception as e:  # boundary: the library's error class is private to its extension module
        raise BadRecord("mgrs", f"expected a polar square that exists; found {reference!r}") from e
    return float(lat), float(lon)


def _centre(zone: int, band: str, square: str, digits: str) -> tuple[float, float] | None:
    """The centre of a square between the poles, or None where no part of it lies in its zone and band."""
    bounds, corner = _bounds(zone, band), _square_corner(zone, band, square)
    if bounds is None or corner is None:
        return None
    half, side = len(digits) // 2, _side_m(digits)
    east = corner[0] + side * int(digits[:half] or 0)
    north = corner[1] + side * int(digits[half:] or 0)
    south = band < "N"
    samples = ((east + side * i, north + side * j) for i, j in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)))
    points = [_unproject(zone, south, *sample) for sample in samples]
    slack = (_EDGE_M + _SKEW * side) / _DEGREE_M
    inside = (p is not None and _inside(p, bounds, slack / math.cos(math.radians(p[0])), slack) for p in points)
    return points[0] if any(inside) else None


def _square_corner(zone: int, band: str, square: str) -> tuple[float, float] | None:
    """(easting, northing) of the south-west corner of a 100 km square (NGA.STND.0037 §6: AA scheme, WGS84)."""
    column = _COLUMNS[(zone - 1) % 3].find(square[0])
    row = _ROWS.find(square[1])
    if column < 0 or row < 0:
        return None
    row = (row - (5 if zone % 2 == 0 else 0)) % len(_ROWS)  # even zones begin their rows at F
    # Row letters come again every 2,000 km; a band is less than 1,500 km high, so one repetition at most touches it.
    lowest = _BAND_SQUARES[band]
    row = lowest + (row - lowest) % len(_ROWS)
    return (column + 1) * _SQUARE_M, row * _SQUARE_M


def _bounds(zone: int, band: str) -> tuple[float, float, float, float] | None:
    """(west, east, south, north) of a grid zone in degrees; None where there is no such zone."""
    if (zone, band) in _NO_ZONES:
        return None
    south = -80.0 + 8.0 * _BANDS.index(band)
    north = 84.0 if band == "X" else south + 8.0
    west, east = _ODD_ZONES.get((zone, band), (6.0 * zone - 186.0, 6.0 * zone - 180.0))
    return west, east, south, north


def _inside(
    point: tuple[float, float],
    bounds: tuple[float, float, float, float],
    lon_slack: float,
    lat_slack: float,
) -> bool:
    west, east, south, north = bounds
    lat, lon = point
    from_middle = abs(wrap_longitude(lon - (west + east) / 2.0))
    return from_middle <= (east - west) / 2.0 + lon_slack and south - lat_slack <= lat <= north + lat_slack


@lru_cache(maxsize=120)
def _utm(zone: int, south: bool) -> Transformer:
    return Transformer.from_crs(f"EPSG:{32700 + zone if south else 32600 + zone}", "EPSG:4326", always_xy=True)


def _unproject(zone: int, south: bool, easting: float, northing: float) -> tuple[float, float] | None:
    lon, lat = _utm(zone, south).transform(easting, northing)
    return (lat, lon) if math.isfinite(lat) and math.isfinite(lon) else None


def _utm_in_band(zone: int, band: str, easting: float, northing: float) -> Geodetic | None:
    if len(band) != 1 or band not in _BANDS:
        return None
    point, bounds = _unproject(zone, band < "N", easting, northing), _bounds(zone, band)
    if point is None or bounds is None or not _inside(point, bounds, _UTM_OVERLAP_DEG, _BAND_OVERLAP_DEG):
        return None
    return Geodetic(latitude_deg=point[0], longitude_deg=wrap_longitude(point[1]))


def _utm_in_half(zone: int, half: str, easting: float, northing: float) -> Geodetic | None:
    if half not in {"N", "S", "NORTH", "SOUTH"}:
        return None
    point = _unproject(zone, half.startswith("S"), easting, northing)
    if point is None or not -80.0 <= point[0] <= 84.0:
        return None
    row = _BANDS[min(int((point[0] + 80.0) // 8.0), len(_BANDS) - 1)]
    return _utm_in_band(zone, row, easting, northing)
