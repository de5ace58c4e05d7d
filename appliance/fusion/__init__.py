"""Fusion: plots, camera tracks and people's claims in; entities with evidence, and disputes, out.

Not here: reading text, following things in one camera's picture, telling anybody. Values in, values out; no clock.
"""

from __future__ import annotations

from appliance.fusion.core import warm
from appliance.fusion.settings import MOORINGS, FusionSettings, Motion, SensorModel, birth_ratio
from appliance.fusion.timeline import Fusion

__all__ = ["MOORINGS", "Fusion", "FusionSettings", "Motion", "SensorModel", "birth_ratio", "warm"]
