"""The plain plot feed: CSV or JSON lines, for sensors that speak no standard and for recordings made by hand.

What it is not: a standard. Columns (CSV, in any order, named by a header line) and keys (JSON) are the same::

    time                 ISO 8601, or seconds since 1970; may be left out on a live feed
    kind                 position | range_bearing | bearing
    latitude_deg, longitude_deg                      position
    range_m, bearing_deg                             range_bearing; bearing alone for bearing (clockwise from north)
    position_sigma_m, range_sigma_m, bearing_sigma_deg   one sigma; else the mission's, else the defaults below
    velocity_east_mps, velocity_north_mps, velocity_sigma_mps
    altitude_m
    category             one of appliance.domain.CATEGORIES; category_probability says how sure (the rest is unknown)
    identity_kind, identity      mmsi | icao | tracklet | name, and its value
    cooperative          true where the thing itself says where it is
    id                   the observation's own id; else feed name and line number

Rules: an unknown column or key is refused, not skipped: a misspelt sigma would otherwise go unseen. A line that begins
with ``{`` is JSON, one that names the column ``kind`` is a header, any other is a row of the last header.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec

from appliance.domain import CATEGORIES, MMSI_PATTERN, UNKNOWN, Geodetic, Identity, Plot
from appliance.errors import BadRecord
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec
from appliance.feeds.times import from_iso, from_seconds

SIGMA_POSITION_M: Final = 20.0
SIGMA_RANGE_M: Final = 20.0
SIGMA_BEARING_RAD: Final = math.radians(1.0)
SIGMA_VELOCITY_MPS: Final = 1.0
"""Of a small marine radar; who knows better says so in the row or in the mission."""

Sigma = Annotated[float, msgspec.Meta(gt=0.0, le=1e7)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Speed = Annotated[float, msgspec.Meta(ge=-3000.0, le=3000.0)]


class PlotRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row as written; see the top of this file."""

    kind: Literal["position", "range_bearing", "bearing"]
    time: str | float | None = None
    latitude_deg: Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)] | None = None
    longitude_deg: Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)] | None = None
    range_m: Annotated[float, msgspec.Meta(ge=0.0, le=1e7)] | None = None
    bearing_deg: Annotated[float, msgspec.Meta(ge=-360.0, le=360.0)] | None = None
    position_sigma_m: Sigma | None = None
    range_sigma_m: Sigma | None = None
    bearing_sigma_deg: Annotated[float, msgspec.Meta(gt=0.0, le=180.0)] | None = None
    velocity_east_mps: Speed | None = None
    velocity_north_mps: Speed | None = None
    velocity_sigma_mps: Sigma | None = None
    altitude_m: Annotated[float, msgspec.Meta(ge=-12_000.0, le=100_000.0)] | None = None
    category: Short | None = None
    category_probability: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    identity_kind: Literal["mmsi", "icao", "tracklet", "name"] | None = None
    identity: Short | None = None
    cooperative: bool = False
    id: Short | None = None


COLUMNS: Final = PlotRow.__struct_fields__


class PlotParser:
    """Lines of one plot feed in, plots out."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._header: list[str] | None = None

    def parse(self, line: bytes, number: int, received_ns: int | None, tap: Tap) -> Iterator[tuple[int, Plot]]:  # noqa: ARG002 - the shape of streams.Parse
        """See ``streams.Parse``."""
        row = self._row(line)
        if row is not None:
            plot = self._plot(row, number, received_ns)
            yield plot.observed_ns, plot

    def _row(self, line: bytes) -> PlotRow | None:
        if line.lstrip().startswith(b"{"):
            try:
                return msgspec.json.decode(line, type=PlotRow)
            except (msgspec.DecodeError, RecursionError) as e:
                raise BadRecord("row", str(e)) from e
        fields = _fields(line)
        if "kind" in fields:
            unknown = sorted(set(fields) - set(COLUMNS))
            self._header = None if unknown or len(set(fields)) != len(fields) else fields
            if self._header is None:
                raise BadRecord("header", f"expected distinct columns of {', '.join(COLUMNS)}; found {unknown}")
            return None
        if self._header is None:
            raise BadRecord("no header", "a row of CSV before any usable header")
        return _row_of(self._header, fields)

    def _plot(self, row: PlotRow, number: int, received_ns: int | None) -> Plot:
        values, covariance, origin = self._measurement(row)
        velocity = _velocity(row)
        sigma_mps = row.velocity_sigma_mps or self._spec.sigma.velocity_mps or SIGMA_VELOCITY_MPS
        return Plot(
            sensor_id=self._spec.name,
            observation_id=f"{self._spec.name}:{row.id if row.id is not None else number}",
            observed_ns=_time(row, received_ns),
            kind=row.kind,
            values=values,
            covariance=covariance,
            origin=origin,
            identities=_identities(row),
            categories=_categories(row),
            velocity_mps=velocity,
            velocity_variance_m2ps2=None if velocity is None else sigma_mps**2,
            altitude_m=row.altitude_m,
            cooperative=row.cooperative,
        )

    def _measurement(self, row: PlotRow) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...], Geodetic | None]:
        """(values, covariance, origin) by kind."""
        sigma = self._spec.sigma
        if row.kind == "position":
            place = (_given(row, "latitude_deg"), _given(row, "longitude_deg"))
            variance = (row.position_sigma_m or sigma.position_m or SIGMA_POSITION_M) ** 2
            return place, ((variance, 0.0), (0.0, variance)), None
        if self._spec.origin is None:
            raise BadRecord("no origin", "a bearing without the place of its sensor in the mission")
        bearing = math.radians(_given(row, "bearing_deg")) % (2 * math.pi)
        row_sigma = None if row.bearing_sigma_deg is None else math.radians(row.bearing_sigma_deg)
        bearing_variance = (row_sigma or sigma.bearing_rad or SIGMA_BEARING_RAD) ** 2
        if row.kind == "bearing":
            return (bearing,), ((bearing_variance,),), self._spec.origin
        range_variance = (row.range_sigma_m or sigma.range_m or SIGMA_RANGE_M) ** 2
        covariance = ((range_variance, 0.0), (0.0, bearing_variance))
        return (_given(row, "range_m"), bearing), covariance, self._spec.origin


def _fields(line: bytes) -> list[str]:
    try:
        text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        return [field.strip() for field in next(csv.reader([text], strict=True), [])]
    except (UnicodeDecodeError, csv.Error) as e:
        raise BadRecord("columns", "expected one row of CSV in UTF-8") from e


def _row_of(header: list[str], fields: list[str]) -> PlotRow:
    if len(fields) != len(header):
        raise BadRecord("columns", f"expected {len(header)} fields; found {len(fields)}")
    given: dict[str, Any] = {name: text for name, text in zip(header, fields, strict=True) if text}
    try:
        return msgspec.convert(given, PlotRow, strict=False)
    except msgspec.ValidationError as e:
        raise BadRecord("row", str(e)) from e


def _given(row: PlotRow, name: str) -> float:
    value: float | None = getattr(row, name)
    if value is None or not math.isfinite(value):
        raise BadRecord("row", f"expected {name} in a {row.kind} row")
    return value


def _time(row: PlotRow, received_ns: int | None) -> int:
    if row.time is None:
        if received_ns is None:
            raise BadRecord("time", "expected a time in every row of a file")
        return received_ns
    if isinstance(row.time, str):
        try:
            seconds = float(row.time)
        except ValueError:
            return from_iso(row.time)
        return from_seconds(seconds)
    return from_seconds(row.time)


def _velocity(row: PlotRow) -> tuple[float, float] | None:
    if row.velocity_east_mps is None or row.velocity_north_mps is None:
        return None
    return row.velocity_east_mps, row.velocity_north_mps


def _categories(row: PlotRow) -> dict[str, float]:
    if row.category is None:
        return {}
    if row.category not in CATEGORIES:
        raise BadRecord("category", f"expected one of {', '.join(CATEGORIES)}; found {row.category!r}")
    if row.category_probability == 1.0 or row.category == UNKNOWN:
        return {row.category: 1.0}
    return {row.category: row.category_probability, UNKNOWN: 1.0 - row.category_probability}


def _identities(row: PlotRow) -> tuple[Identity, ...]:
    if row.identity is None and row.identity_kind is None:
        return ()
    if row.identity is None or row.identity_kind is None:
        raise BadRecord("row", "expected identity and identity_kind together")
    if row.identity_kind == "mmsi" and not MMSI_PATTERN.fullmatch(row.identity):
        raise BadRecord("mmsi", f"expected an MMSI of nine digits; found {row.identity!r}")
    return (Identity(kind=row.identity_kind, value=row.identity),)
