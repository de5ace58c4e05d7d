"""A thing in the sky has a bearing and no range; the first look says so with a range as wide as the camera can see.

A bearing alone cannot begin an entity. What is honest is a prior: somewhere between here and the camera's limit,
uniform, told once per tracklet. Said at every frame it would count as a measurement, and the range would seem to
become known.
"""

from __future__ import annotations

import dataclasses
import math

from appliance.domain import Plot
from appliance.tracking.optics import CameraModel


def introduced(plot: Plot, camera: CameraModel) -> Plot:
    """A ``bearing`` plot as ``range_bearing``, its range uniform over 0 to R = ``max_range_m`` (R/2, R²/12)."""
    ((bearing_variance,),) = plot.covariance
    range_variance = camera.max_range_m**2 / 12.0
    shared = None if plot.shared_covariance is None else ((0.0, 0.0), (0.0, plot.shared_covariance[0][0]))
    return dataclasses.replace(
        plot,
        kind="range_bearing",
        values=(camera.max_range_m / 2.0, plot.values[0]),
        covariance=((range_variance, 0.0), (0.0, bearing_variance)),
        shared_covariance=shared,
    )


def flies(plot: Plot) -> bool:
    """Whether the plot is most probably of something that flies."""
    return math.fsum(p for name, p in plot.categories.items() if name.startswith("aircraft")) > 0.5
