"""Radar plots as ASTERIX category 048 datagrams (EUROCONTROL-SPEC-0149-4, edition 1.31), encoded by libasterix.

One datagram holds one data block with a record for each plot: data source (I048/010), time of day (I048/140), target
report descriptor of a primary return (I048/020) and measured position (I048/040). Nothing is decoded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asterix.generated import Cat_048_1_31 as Cat048

RANGE_STEP_M = 1852.0 / 256.0
"""I048/040 RHO: 1/256 nautical mile."""
BEARING_STEP_RAD = 2.0 * math.pi / 65536.0
"""I048/040 THETA: 360/2^16 degrees."""
TIME_STEP_S = 1.0 / 128.0
"""I048/140: 1/128 second since midnight UTC."""
MAX_RECORDS = 100
"""13 bytes each: well inside one Ethernet frame."""

_DAY_NS = 86_400 * 1_000_000_000
_PRIMARY_RETURN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarPlot:
    """One return: when, how far, in which direction. ``of`` names the thing that it came from, None for clutter."""

    observed_ns: int
    range_m: float
    bearing_rad: float
    of: str | None = None


def datagram(plots: Sequence[RadarPlot], sac: int = 200, sic: int = 1) -> bytes:
    """One data block with up to ``MAX_RECORDS`` plots. Raises ``ValueError`` for none or too many."""
    if not 1 <= len(plots) <= MAX_RECORDS:
        raise ValueError(f"expected 1 to {MAX_RECORDS} plots; found {len(plots)}")
    block = Cat048.create([_record(plot, sac, sic) for plot in plots])
    return bytes(block.unparse().to_bytes())


def _record(plot: RadarPlot, sac: int, sic: int) -> Cat048.cv_record:
    time_of_day = round((plot.observed_ns % _DAY_NS) / 1e9 / TIME_STEP_S) % round(86_400 / TIME_STEP_S)
    return Cat048.cv_record.create(
        {
            "010": (("SAC", sac), ("SIC", sic)),
            "140": time_of_day,
            "020": ((("TYP", _PRIMARY_RETURN), ("SIM", 0), ("RDP", 0), ("SPI", 0), ("RAB", 0), None),),
            "040": (
                ("RHO", round(plot.range_m / RANGE_STEP_M)),
                ("THETA", round(plot.bearing_rad % (2.0 * math.pi) / BEARING_STEP_RAD) % 65536),
            ),
        }
    )
