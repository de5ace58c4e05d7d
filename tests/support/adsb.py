"""ADS-B as a transponder sends it (RTCA DO-260B, appendix A), written from the standard and apart from what decodes it.

Angles in degrees, altitudes in feet, speeds in knots: the message's own units.
"""

from __future__ import annotations

import math

COUNTER_HZ = 12_000_000
_GENERATOR = 0x1FFF409
_LETTERS = "?ABCDEFGHIJKLMNOPQRSTUVWXYZ????? ???????????????0123456789??????"


def squitter(message: int, icao: int, first: int = 17 << 3 | 5) -> bytes:
    """Fourteen bytes: format, address, 56 bits of message, parity (CRC-24, annex 10 volume IV)."""
    body = bytes([first]) + icao.to_bytes(3, "big") + message.to_bytes(7, "big")
    register = 0
    for byte in body:
        register ^= byte << 16
        for _ in range(8):
            register <<= 1
            if register & 0x1000000:
                register ^= _GENERATOR
    return body + register.to_bytes(3, "big")


def identification(callsign: str, kind: int = 4, category: int = 3) -> int:
    text = 0
    for letter in callsign.ljust(8):
        text = text << 6 | _LETTERS.index(letter)
    return kind << 51 | category << 48 | text


def airborne(latitude: float, longitude: float, altitude: int, odd: int, kind: int = 11) -> int:
    steps = (altitude + 1000) // 25
    height = (steps & 0x7F0) << 1 | 0x10 | steps & 0xF
    return kind << 51 | height << 36 | odd << 34 | _cpr(latitude, longitude, odd, 360.0)


def surface(latitude: float, longitude: float, odd: int, kind: int = 7) -> int:
    """At rest, without a track."""
    return kind << 51 | 1 << 44 | odd << 34 | _cpr(latitude, longitude, odd, 90.0)


def velocity(east: int, north: int, geometric_over_pressure: int | None = None) -> int:
    message = 19 << 51 | 1 << 48 | 2 << 43
    message |= (east < 0) << 42 | (abs(east) + 1) << 32 | (north < 0) << 31 | (abs(north) + 1) << 21 | 1 << 10
    if geometric_over_pressure is not None:
        message |= (geometric_over_pressure < 0) << 7 | (abs(geometric_over_pressure) // 25 + 1)
    return message


def airspeed(heading: float, knots: int) -> int:
    return 19 << 51 | 3 << 48 | 1 << 42 | round(heading / 360.0 * 1024) % 1024 << 32 | 1 << 31 | (knots + 1) << 21


def operational_status(nacp: int) -> int:
    return 31 << 51 | 2 << 13 | nacp << 8


def beast(frame: bytes, counter: int = 0, kind: str = "3") -> bytes:
    body = counter.to_bytes(6, "big") + b"\x40" + frame
    return b"\x1a" + kind.encode() + body.replace(b"\x1a", b"\x1a\x1a")


def avr(frame: bytes) -> bytes:
    return b"*" + frame.hex().upper().encode() + b";\n"


def _cpr(latitude: float, longitude: float, odd: int, span: float) -> int:
    """Compact position reporting (A.1.7.3, A.1.7.4): 17 bits each of latitude and longitude within a cell."""
    d_lat = span / (60 - odd)
    yz = math.floor(2**17 * (latitude % d_lat) / d_lat + 0.5)
    r_lat = d_lat * (yz / 2**17 + math.floor(latitude / d_lat))
    d_lon = span / max(_zones(r_lat) - odd, 1)
    xz = math.floor(2**17 * (longitude % d_lon) / d_lon + 0.5)
    return (yz & 0x1FFFF) << 17 | (xz & 0x1FFFF)


def _zones(latitude: float) -> int:
    """NL: longitude zones at a latitude (A.1.7.2 d)."""
    if abs(latitude) >= 87.0:
        return 1 if abs(latitude) > 87.0 else 2
    if latitude == 0.0:
        return 59
    a = 1.0 - math.cos(math.pi / 30.0)
    return math.floor(2.0 * math.pi / math.acos(1.0 - a / math.cos(math.radians(latitude)) ** 2))
