"""Local east, north, up metres around one origin, and geodesic bearings.

A `LocalFrame` is a flat, right-handed frame that touches the ellipsoid at its origin. It is exact (no map projection),
so a point on the ground far away has a negative ``up``: about d²/12,742 km, 0.08 m at 1 km and 785 m at 100 km.

Not here: map projections (``grid.py``), geoid undulation, moving frames.

Rules: degrees outside, metres inside; scalars in give floats out, arrays in give float64 arrays of the broadcast shape;
a latitude beyond ±90°, a longitude beyond ±360° or a number that is not finite is a `BadRecord`.

Sources: WGS84; EPSG method 9836 (geocentric/topocentric, IOGP 373-7-2 §4.1.2) by PROJ; Karney 2013 for geodesics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
from pyproj import Geod, Transformer

from appliance.domain import Geodetic
from appliance.errors import BadRecord

Metres = npt.NDArray[np.float64]
Degrees = npt.NDArray[np.float64]

#: Beyond half the meridian "that far in that direction" has no single meaning any more.
MAX_OFFSET_M: Final = 20_000_000.0

_GEOD: Final = Geod(ellps="WGS84")
_MAX_LONGITUDE_DEG: Final = 360.0
"""Feeds count longitude to 180 or to 360; more than one turn is a fault of the sender."""


def _topocentric(origin: Geodetic) -> Transformer:
    return Transformer.from_pipeline(
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=cart +ellps=WGS84 "
        f"+step +proj=topocentric +ellps=WGS84 +lat_0={origin.latitude_deg!r} +lon_0={origin.longitude_deg!r} "
        f"+h_0={origin.altitude_m!r}"
    )


@dataclass(frozen=True, slots=True)
class LocalFrame:
    """East, north, up metres around ``origin``; good to a millimetre within 100 km. Safe to share between threads.

    At a pole the origin's longitude decides which way is north. Raises `BadRecord` for an origin off the Earth.
    """

    origin: Geodetic
    _transform: Transformer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        origin = Geodetic(
            latitude_deg=float(self.origin.latitude_deg),
            longitude_deg=float(self.origin.longitude_deg),
            altitude_m=float(self.origin.altitude_m),
        )
        _check_position(origin)
        object.__setattr__(self, "_transform", _topocentric(origin))

    @overload
    def to_enu(self, lat: float, lon: float, alt: float = 0.0) -> tuple[float, float, float]: ...
    @overload
    def to_enu(
        self, lat: npt.ArrayLike, lon: npt.ArrayLike, alt: npt.ArrayLike = 0.0
    ) -> tuple[Metres, Metres, Metres]: ...
    def to_enu(self, lat: Any, lon: Any, alt: Any = 0.0) -> Any:
        """Degrees and metres above the ellipsoid → (east, north, up) in metres. Raises `BadRecord`."""
        if _all_scalars(lat, lon, alt):
            _check_numbers(lat, lon, alt)
            return self._transform.transform(lon, lat, alt)
        lats, lons, alts = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (lat, lon, alt)))
        _check_arrays(lats, lons, alts)
        return _three(self._transform.transform(lons, lats, alts), lats.shape)

    @overload
    def to_geodetic(self, e: float, n: float, u: float = 0.0) -> tuple[float, float, float]: ...
    @overload
    def to_geodetic(
        self, e: npt.ArrayLike, n: npt.ArrayLike, u: npt.ArrayLike = 0.0
    ) -> tuple[Degrees, Degrees, Metres]: ...
    def to_geodetic(self, e: Any, n: Any, u: Any = 0.0) -> Any:
        """Metres → (latitude_deg, longitude_deg in [-180, 180), altitude_m).

        Raises `ValueError` for metres that are not finite: they come from our own arithmetic, never from outside.
        """
        if _all_scalars(e, n, u):
            if not (math.isfinite(e) and math.isfinite(n) and math.isfinite(u)):
                raise ValueError(f"local metres must be finite; found {e}, {n}, {u}")
            lon, lat, alt = self._transform.transform(e, n, u, direction="INVERSE")
            return lat, wrap_longitude(lon), alt
        es, ns, us = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (e, n, u)))
        if not (np.isfinite(es).all() and np.isfinite(ns).all() and np.isfinite(us).all()):
            raise ValueError("local metres must be finite")
        lons, lats, alts = _three(self._transform.transform(es, ns, us, direction="INVERSE"), es.shape)
        return lats, (lons + 180.0) % 360.0 - 180.0, alts

    def position(self, e: float, n: float, u: float = 0.0) -> Geodetic:
        """The `Geodetic` of one local point."""
        lat, lon, alt = self.to_geodetic(float(e), float(n), float(u))
        return Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=alt)

    def local(self, position: Geodetic) -> tuple[float, float, float]:
        """(east, north, up) metres of one `Geodetic`. Raises `BadRecord`."""
        return self.to_enu(float(position.latitude_deg), float(position.longitude_deg), float(position.altitude_m))


def offset(start: Geodetic, bearing_rad: float, range_m: float) -> Geodetic:
    """The point ``range_m`` along the ellipsoid from ``start``, setting out on ``bearing_rad`` (clockwise from north).

    The height is that of ``start``. Raises `BadRecord` for a position off the Earth, a bearing that is not finite, or a
    range outside 0 … `MAX_OFFSET_M`.
    """
    _check_position(start)
    if not math.isfinite(bearing_rad):
        raise BadRecord("bearing", f"expected a finite bearing in radians; found {bearing_rad}")
    if not 0.0 <= range_m <= MAX_OFFSET_M:
        raise BadRecord("range", f"expected a range from 0 to {MAX_OFFSET_M:.0f} m; found {range_m}")
    lon, lat, _ = _GEOD.fwd(start.longitude_deg, start.latitude_deg, math.degrees(bearing_rad), range_m)
    return Geodetic(latitude_deg=lat, longitude_deg=wrap_longitude(lon), altitude_m=start.altitude_m)


def bearing_range(start: Geodetic, end: Geodetic) -> tuple[float, float]:
    """(bearing_rad in [0, 2π), range_m) of the geodesic from ``start`` to ``end``; heights play no part.

    Two equal places have range 0 and a bearing without meaning. Raises `BadRecord`.
    """
    _check_position(start)
    _check_position(end)
    azimuth_deg, _, range_m = _GEOD.inv(start.longitude_deg, start.latitude_deg, end.longitude_deg, end.latitude_deg)
    return wrap_bearing(math.radians(azimuth_deg)), range_m


def wrap_bearing(bearing_rad: float) -> float:
    """The same direction in [0, 2π)."""
    wrapped = math.fmod(bearing_rad, math.tau)
    wrapped = wrapped + math.tau if wrapped < 0.0 else wrapped
    return 0.0 if wrapped >= math.tau else wrapped  # a tiny negative angle rounds up to a full turn


def wrap_longitude(longitude_deg: float) -> float:
    """The same meridian in [-180, 180)."""
    return (longitude_deg + 180.0) % 360.0 - 180.0


def _all_scalars(*values: Any) -> bool:
    return all(isinstance(value, float | int) for value in values)


def _three(values: tuple[object, ...], shape: tuple[int, ...]) -> tuple[Metres, Metres, Metres]:
    x, y, z = (np.asarray(value, dtype=np.float64).reshape(shape) for value in values)
    return x, y, z


def _check_position(position: Geodetic) -> None:
    _check_numbers(position.latitude_deg, position.longitude_deg, position.altitude_m)


def _check_numbers(lat: float, lon: float, alt: float) -> None:
    # Comparisons with NaN are false, so each one refuses it.
    if not (abs(lat) <= 90.0 and abs(lon) <= _MAX_LONGITUDE_DEG and math.isfinite(alt)):
        raise BadRecord(
            "position", f"expected latitude ±90°, longitude ±360°, finite height; found {lat}, {lon}, {alt}"
        )


def _check_arrays(lat: Degrees, lon: Degrees, alt: Metres) -> None:
    good = (np.abs(lat) <= 90.0) & (np.abs(lon) <= _MAX_LONGITUDE_DEG) & np.isfinite(alt)
    if not good.all():
        raise BadRecord("position", f"expected positions on the Earth; {int((~good).sum())} of {good.size} are not")
