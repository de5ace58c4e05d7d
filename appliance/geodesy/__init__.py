"""WGS84 and the local metres around a unit: frames, bearings, MGRS and UTM.

Not here: geoid heights, other datums, projections for maps. Every position is WGS84; every height is above the
ellipsoid. A position or reference that cannot be true is a `BadRecord`; nothing else is raised for outside input.
"""

from __future__ import annotations

from appliance.geodesy.frame import LocalFrame, bearing_range, offset, wrap_bearing, wrap_longitude
from appliance.geodesy.grid import format_mgrs, parse_mgrs, parse_utm

__all__ = [
    "LocalFrame",
    "bearing_range",
    "format_mgrs",
    "offset",
    "parse_mgrs",
    "parse_utm",
    "wrap_bearing",
    "wrap_longitude",
]
