"""Tracks in the picture of one camera, and where on the ground they are.

Not here: detections (inference makes them), entities over several sensors (fusion makes them).
"""

from __future__ import annotations

from appliance.tracking.tracker import ImageTracker, TrackerSettings, warm

__all__ = ["ImageTracker", "TrackerSettings", "warm"]
