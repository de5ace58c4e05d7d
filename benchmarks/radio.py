"""What is told, and what a radio of two kilobits a second makes of it: bytes, and how old what a reader has is.

    python -m benchmarks radio

Two sources: the Solent AIS recording (shared data; 91 vessels, 84 minutes) and the demo's harbour (its things, told by
perfect position reports once a second). Each goes along the path; recorded time is the clock, so the figures do not
depend on the machine. *Every look* is the floor: each observation told, as before there were thresholds.

Bytes are payloads and envelopes; for the radio everything on the wire as docs/radio.md counts it. *Staleness* is asked
once a second for each living entity: how long ago the newest state that a reader has of it was produced by the unit,
beyond the newest state that the unit told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from appliance.domain import Geodetic, Identity, Plot, Receipt
from appliance.feeds import FeedSpec, open_feed
from appliance.fusion import FusionSettings
from appliance.pipeline.bodies import EntityBody
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.radio import ENVELOPE_BYTES, FRAME_COST_BYTES, Radio, RadioSettings
from appliance.pipeline.radio_state import RadioState
from appliance.pipeline.results import Result
from appliance.pipeline.significance import Significance
from appliance.pipeline.telling import TellingSettings
from appliance.pipeline.times import time_ns
from benchmarks.tables import Table, shared_data
from hil.scene.harbour import harbour
from hil.scene.world import Ground, motion

NS = 1_000_000_000
GRANT_BYTES = 6340
SOLENT_S = 1800
CHANGE = Significance(deviation_sigmas=0.5, deviation_m=1.0, move_m=25.0, existence_step=0.1, refresh_ns=30 * NS)
THIN = replace(CHANGE, deviation_m=10.0, move_m=100.0)
_entities = msgspec.json.Decoder(EntityBody)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Observations in order of time, and how often an entity may be told."""

    name: str
    origin: Geodetic
    plots: Sequence[Plot]
    entity_interval_ns: int


@dataclass
class Heard:
    """What one channel cost, and how old its reader's states were."""

    frames: int = 0
    size: int = 0
    entity_minutes: float = 0.0
    stale_s: list[float] = field(default_factory=list)


def main() -> None:
    """Both sources, three ways each."""
    table = Table(("source", "told", "messages", "bytes", "bytes/entity-minute", "bit/s", "stale p50 s", "p95 s"))
    for source in (solent(), demo()):
        span_s = (source.plots[-1].observed_ns - source.plots[0].observed_ns) / 1e9
        ways = (
            ("every look", Significance(), None),
            ("on change", CHANGE, None),
            ("radio 2 kbit/s", THIN, RadioSettings(bits_per_s=2000.0, key_interval_s=60.0)),
        )
        for name, change, radio in ways:
            heard = run(source, change, radio)
            stale = [f"{np.percentile(heard.stale_s, p):.1f}" for p in (50, 95)]
            each = heard.size / heard.entity_minutes
            rate = heard.size * 8 / span_s
            table.row(source.name, name, str(heard.frames), str(heard.size), f"{each:.0f}", f"{rate:.0f}", *stale)
    print(table)
    print("\nradio: bytes with envelope, MQTT, TLS, TCP and IP, the grant and its 27 s of silence included")


def run(source: Source, change: Significance, settings: RadioSettings | None) -> Heard:
    """One source along the path and through one channel."""
    path = OnePath(_plan(source, change))
    start_ns = source.plots[0].observed_ns
    radio = Radio("bench", settings, now_ns=start_ns) if settings is not None else None
    if radio is not None:
        radio.spend(GRANT_BYTES)
    heard, state = Heard(size=GRANT_BYTES if radio is not None else 0), RadioState("bench")
    told: dict[str, int] = {}
    has: dict[str, int] = {}
    looked_ns = start_ns
    for results, now_ns in _steps(path, source.plots):
        while now_ns - looked_ns >= NS:
            looked_ns += NS
            _look(heard, told, has)
        for entity in _told(results):
            _note(told, entity)
        if radio is None:
            for result in results:
                heard.frames, heard.size = heard.frames + 1, heard.size + len(result.payload) + ENVELOPE_BYTES - 4
            has = dict(told) if results else has
            continue
        for frame in radio.pack(results, now_ns):
            heard.frames, heard.size = heard.frames + 1, heard.size + len(frame.payload) + FRAME_COST_BYTES
            for entity in state.read(frame.payload, 1).entities:
                _note(has, entity)
    return heard


def _steps(path: OnePath, plots: Iterable[Plot]) -> Iterator[tuple[tuple[Result, ...], int]]:
    """Observations, and ticks of a second between them."""
    at_ns = 0
    for plot in plots:
        at_ns = at_ns or plot.observed_ns
        while plot.observed_ns - at_ns > NS:
            at_ns += NS
            yield path.tick(at_ns), at_ns
        at_ns = max(at_ns, plot.observed_ns)
        yield path.step(plot, at_ns), at_ns


def _told(results: Iterable[Result]) -> Iterator[EntityBody]:
    return (_entities.decode(result.payload) for result in results if result.priority == "entity")


def _note(states: dict[str, int], entity: EntityBody) -> None:
    if entity.status == "deleted":
        states.pop(entity.entity_id, None)
    else:
        states[entity.entity_id] = time_ns(entity.produced)


def _look(heard: Heard, told: dict[str, int], has: dict[str, int]) -> None:
    """One second: how far a reader's state of each entity is behind what the unit has told."""
    heard.entity_minutes += len(told) / 60.0
    heard.stale_s += [max(at_ns - has[name], 0) / NS for name, at_ns in told.items() if name in has]


def _plan(source: Source, change: Significance) -> PathPlan:
    return PathPlan(
        unit="bench",
        origin=source.origin,
        fusion=FusionSettings(unit="bench", origin=source.origin),
        telling=TellingSettings(
            picture_interval_ns=10 * NS, entity_interval_ns=source.entity_interval_ns, change=change
        ),
        receipt=Receipt(
            config_digest="0" * 96, bundles={}, engines={}, clock="replayed", position_integrity="surveyed"
        ),
    )


def solent() -> Source:
    """The AIS recording."""
    path = shared_data() / "feeds" / "ais" / "SolentAIS_20160112_130211.csv"
    feed = open_feed(FeedSpec(name="ais", kind="ais", uri=f"file:{path}", pace="fast", start_ns=None, capacity=4096))
    feed.start()
    plots: list[Plot] = []
    while not feed.ended:
        item = feed.take(0.2)
        if isinstance(item, Plot):
            plots.append(item)
    feed.stop()
    plots.sort(key=lambda plot: plot.observed_ns)
    plots = [plot for plot in plots if plot.observed_ns - plots[0].observed_ns < SOLENT_S * NS]
    return Source(
        name="Solent AIS",
        origin=Geodetic(latitude_deg=50.8, longitude_deg=-1.2),
        plots=plots,
        entity_interval_ns=2 * NS,
    )


def demo() -> Source:
    """Five minutes of the harbour, each thing reported once a second with five metres of noise."""
    scene = harbour(1, 1_900_000_000 * NS)
    ground, rng = Ground(scene.origin), np.random.default_rng(1)
    plots = []
    for second in range(300):
        for number, thing in enumerate(scene.things):
            moved = motion(thing.loop, float(second))
            noise = rng.normal(0.0, 5.0, 2)
            place = ground.to_geodetic(moved.east_m + noise[0], moved.north_m + noise[1])
            at_ns = scene.time_ns(second + number / 20)
            plots.append(
                Plot(
                    sensor_id="reports",
                    observation_id=f"reports:{second}:{number}",
                    observed_ns=at_ns,
                    kind="position",
                    values=(place.latitude_deg, place.longitude_deg),
                    covariance=((25.0, 0.0), (0.0, 25.0)),
                    identities=(Identity(kind="mmsi", value=f"{200_000_000 + number}"),),
                    cooperative=True,
                )
            )
    return Source(name="demo harbour", origin=scene.origin, plots=plots, entity_interval_ns=NS // 5)


if __name__ == "__main__":
    main()
