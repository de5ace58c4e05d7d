"""A small harbour radar beside the mast: what it would plot, turn by turn, with misses, noise and clutter.

It turns once in ``TURN_S`` and tells its plots sector by sector, so that the times on the wire are those of the beam.
It is blanked over the quay. A turn is a function of the scene and its number alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from hil.scene.asterix import RadarPlot
from hil.scene.variety import inside
from hil.scene.world import Scene, Thing, motion

TURN_S = 1.25
SECTORS = 8
RANGE_SIGMA_M = 5.0
BEARING_SIGMA_RAD = math.radians(0.45)
MIN_RANGE_M, MAX_RANGE_M = 60.0, 3000.0
CLUTTER_PER_TURN = 1.5
CLUTTER_RANGE_M = (150.0, 1800.0)
SPREAD_OF_LENGTH = 0.12
"""The strongest part of a hull wanders along it: one sigma as a part of its length."""


def turns(scene: Scene, duration_s: float) -> Iterator[list[RadarPlot]]:
    """The plots of each sector that saw anything, in the order of the beam."""
    for number in range(int(duration_s / TURN_S)):
        plots = turn(scene, number)
        for sector in range(SECTORS):
            seen = [plot for plot in plots if int(plot.bearing_rad / (2.0 * math.pi) * SECTORS) == sector]
            if seen:
                yield seen


def turn(scene: Scene, number: int) -> list[RadarPlot]:
    """One turn of the antenna from north to north, in the order of the beam."""
    dice = random.Random(f"radar {scene.seed} {number}")
    plots = [plot for thing in scene.things if (plot := _seen(scene, thing, number, dice)) is not None]
    plots += [_clutter(scene, number, dice) for _ in range(_poisson(dice, CLUTTER_PER_TURN))]
    clear = [plot for plot in plots if not _blanked(scene, plot)]
    return sorted(clear, key=lambda plot: plot.observed_ns)


def _seen(scene: Scene, thing: Thing, number: int, dice: random.Random) -> RadarPlot | None:
    """A thing's return in one turn, or None: missed, out of range or no radar target at all."""
    missed = dice.random() >= thing.radar_section
    along_m = dice.gauss(0.0, SPREAD_OF_LENGTH * thing.length_m)
    noise_m, noise_rad = dice.gauss(0.0, RANGE_SIGMA_M), dice.gauss(0.0, BEARING_SIGMA_RAD)
    if missed or thing.radar_section == 0.0:
        return None
    time_s = number * TURN_S
    for _ in range(2):
        # The beam meets the thing when it points at it: two rounds settle it, for no thing moves 1° in a turn.
        now = motion(thing.loop, time_s)
        bearing = math.atan2(now.east_m, now.north_m) % (2.0 * math.pi)
        time_s = (number + bearing / (2.0 * math.pi)) * TURN_S
    east = now.east_m + along_m * math.sin(now.heading_rad)
    north = now.north_m + along_m * math.cos(now.heading_rad)
    range_m = math.hypot(east, north) + noise_m
    if not MIN_RANGE_M <= range_m <= MAX_RANGE_M:
        return None
    bearing = (math.atan2(east, north) + noise_rad) % (2.0 * math.pi)
    return RadarPlot(observed_ns=scene.time_ns(time_s), range_m=range_m, bearing_rad=bearing, of=thing.name)


def _clutter(scene: Scene, number: int, dice: random.Random) -> RadarPlot:
    """A return from waves: anywhere, evenly over the area."""
    bearing = dice.uniform(0.0, 2.0 * math.pi)
    low, high = CLUTTER_RANGE_M
    range_m = math.sqrt(dice.uniform(low * low, high * high))
    return RadarPlot(
        observed_ns=scene.time_ns((number + bearing / (2.0 * math.pi)) * TURN_S), range_m=range_m, bearing_rad=bearing
    )


def _blanked(scene: Scene, plot: RadarPlot) -> bool:
    ground = (plot.range_m * math.sin(plot.bearing_rad), plot.range_m * math.cos(plot.bearing_rad))
    return inside(scene.quay, ground)


def _poisson(dice: random.Random, mean: float) -> int:
    """Knuth's product of uniforms (The Art of Computer Programming 2, 3.4.1)."""
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count
