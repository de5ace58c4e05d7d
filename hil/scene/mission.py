"""The mission of the harbour's mast, as text: who runs it and where its feeds come from is given, the rest is fixed.

The demo's mission and the rig's are this one, so that both put the same questions to the appliance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.scene import radar
from hil.scene.harbour import LENS, MAST_HEIGHT_M, ORIGIN, place
from hil.scene.world import Ground

PRODUCT = "demo/harbour"
CAMERA, RADAR, AIS, GNSS, REPORTS = "mast-camera", "mast-radar", "ais-receiver", "own-gnss", "reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the mission of one run says: the unit, its bus, where the feeds come from. Paths as the unit sees them.

    ``bus`` are further lines of ``[bus]``; ``more`` is TOML that stands after the feeds (``[record]``).
    """

    unit: str
    identity: str
    recipients: tuple[str, ...]
    bus: tuple[tuple[str, str | float], ...]
    camera_uri: str
    radar_uri: str
    ais_uri: str
    gnss_uri: str
    demo: bool = False
    more: str = ""


def mission_text(plan: Plan) -> str:
    """The mission file."""
    given = {
        "says": "A mast in a harbour that does not exist.",
        "unit": plan.unit,
        "identity": plan.identity,
        "demo": "true" if plan.demo else "false",
        "recipients": ", ".join(f'"{name}"' for name in plan.recipients),
        "bus": "\n".join(f'{key} = "{v}"' if isinstance(v, str) else f"{key} = {v}" for key, v in plan.bus),
        "camera_uri": plan.camera_uri,
        "radar_uri": plan.radar_uri,
        "ais_uri": plan.ais_uri,
        "gnss_uri": plan.gnss_uri,
        "more": plan.more,
    }
    return _MISSION.format(**given, **_fixed())


def _fixed() -> dict[str, object]:
    """What the mission says in every run: the sensors and how well they measure."""
    return {
        "lat": ORIGIN.latitude_deg,
        "lon": ORIGIN.longitude_deg,
        "product": PRODUCT,
        "camera": CAMERA,
        "height": MAST_HEIGHT_M,
        "heading": math.degrees(LENS.heading_rad),
        "pitch": math.degrees(LENS.pitch_rad),
        "width_px": LENS.width_px,
        "height_px": LENS.height_px,
        "focal": LENS.focal_px,
        "centre_x": LENS.width_px / 2.0,
        "centre_y": LENS.height_px / 2.0,
        "radar": RADAR,
        "radar_range_m": radar.RANGE_SIGMA_M * 1.5,
        "radar_bearing_deg": math.degrees(radar.BEARING_SIGMA_RAD) * 1.2,
        "clutter": radar.CLUTTER_PER_TURN,
        "radar_max_m": radar.MAX_RANGE_M,
        "scan_s": radar.TURN_S * 0.96,
        "ais": AIS,
        "gnss": GNSS,
        "reports": REPORTS,
        "places": _places(),
    }


def _places() -> str:
    """Names that people use in their reports, for the mission's gazetteer."""
    ground = Ground(ORIGIN)
    lines = []
    for name, at in (("breakwater", (0.0, 520.0)), ("entrance", (184.0, 540.0))):
        here = ground.to_geodetic(*place(*at))
        lines.append(
            f'"{name}" = {{ latitude_deg = {here.latitude_deg:.6f}, longitude_deg = {here.longitude_deg:.6f} }}'
        )
    return "\n".join(lines)


_MISSION = """\
# {says}
schema = "edge-mission/1"

[unit]
id = "{unit}"
origin = {{ latitude_deg = {lat}, longitude_deg = {lon} }}
identity = "{identity}"
state = "state"
demo = {demo}

[bus]
{bus}
recipients = [{recipients}]

[picture]
interval_s = 1.0
entity_interval_s = 0.2
status_interval_s = 1.0

[[models]]
name = "harbour"
bundle = "{product}"

[[feeds]]
name = "{camera}"
kind = "video"
uri = "{camera_uri}"
model = "harbour"

[feeds.pose]
latitude_deg = {lat}
longitude_deg = {lon}
altitude_m = {height}
heading_deg = {heading:.6f}
pitch_deg = {pitch:.6f}
sigma_heading_deg = 0.1
sigma_pitch_deg = 0.06
sigma_position_m = 0.5

[feeds.lens]
width_px = {width_px}
height_px = {height_px}
fx_px = {focal}
fy_px = {focal}
cx_px = {centre_x}
cy_px = {centre_y}
terrain_sigma_m = 0.2
max_range_m = 700

[[feeds]]
name = "{radar}"
kind = "radar"
uri = "{radar_uri}"
site = {{ latitude_deg = {lat}, longitude_deg = {lon} }}

[feeds.sensing]
range_m = {radar_range_m}
bearing_deg = {radar_bearing_deg:.4f}
detection_probability = 0.9
false_plots_per_scan = {clutter}
max_range_m = {radar_max_m}
scan_s = {scan_s}

[[feeds]]
name = "{ais}"
kind = "ais"
uri = "{ais_uri}"

[[feeds]]
name = "{gnss}"
kind = "gnss"
uri = "{gnss_uri}"

[[feeds]]
name = "{reports}"
kind = "reports"
uri = "dir:inbox"

{more}
[places]
{places}
"""
