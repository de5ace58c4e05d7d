"""What the unit's own receiver says: GGA and RMC sentences (NMEA 0183) of a mast that does not move, once a second."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from hil.scene.world import Ground, Scene

POSITION_SIGMA_M = 1.2
SATELLITES = 11
HDOP = 0.9


def sentences(scene: Scene, duration_s: float) -> Iterator[tuple[float, tuple[str, str]]]:
    """(time_s, (GGA, RMC)) once a second."""
    for second in range(int(duration_s) + 1):
        yield float(second), sentence_pair(scene, second)


def sentence_pair(scene: Scene, second: int, off_m: tuple[float, float] = (0.0, 0.0)) -> tuple[str, str]:
    """(GGA, RMC) of one second; the fix wanders by the receiver's noise, and lies ``off_m`` (east, north) where it is
    deceived.
    """
    dice = random.Random(f"gnss {scene.seed} {second}")
    east_m, north_m = dice.gauss(0.0, POSITION_SIGMA_M), dice.gauss(0.0, POSITION_SIGMA_M)
    place = _ground(scene.origin).to_geodetic(east_m + off_m[0], north_m + off_m[1])
    moment = datetime.fromtimestamp(scene.time_ns(float(second)) / 1e9, tz=UTC)
    clock = moment.strftime("%H%M%S.") + f"{moment.microsecond // 10_000:02d}"
    latitude = _minutes(place.latitude_deg, "N", "S", 2)
    longitude = _minutes(place.longitude_deg, "E", "W", 3)
    gga = f"GPGGA,{clock},{latitude},{longitude},1,{SATELLITES:02d},{HDOP},0.0,M,0.0,M,,"
    rmc = f"GPRMC,{clock},A,{latitude},{longitude},0.0,,{moment:%d%m%y},,,A"
    return _framed(gga), _framed(rmc)


_ground = functools.lru_cache(maxsize=4)(Ground)


def _minutes(degrees: float, positive: str, negative: str, digits: int) -> str:
    """Degrees and minutes as NMEA 0183 writes them: ddmm.mmmmm,N."""
    hundred_thousandths = round(abs(degrees) * 60.0 * 100_000.0)
    whole, rest = divmod(hundred_thousandths, 60 * 100_000)
    minutes, part = divmod(rest, 100_000)
    return f"{whole:0{digits}d}{minutes:02d}.{part:05d},{positive if degrees >= 0.0 else negative}"


def _framed(body: str) -> str:
    total = 0
    for character in body:
        total ^= ord(character)
    return f"${body}*{total:02X}"
