"""The daemon: builds what the mission asks for, runs the path, ends in order.

    feeds ─ lanes ─ intake ─ path ─ publisher ─ outbox ─ link ─ broker

Read ``run`` aloud. One thread a feed, one a camera, one a lane, one for the link; the path itself is this thread. A
feed or a broker that goes away is told in the status and retried; the rest goes on. Ending is in order: feeds, path,
close, and then the link has a while to be acknowledged; what is not acknowledged waits for the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.bus import Link, Outbox
from appliance.config import LoadedMission
from appliance.daemon.channel import channel
from appliance.daemon.engines import (
    Engine,
    EngineStatus,
    NoCompiler,
    NoEngine,
    asks_for_engines,
    load_engines,
    standing_in,
)
from appliance.daemon.epochs import Epochs, Limits
from appliance.daemon.health import status_body
from appliance.daemon.plan import bus_settings, feed_specs, path_plan
from appliance.daemon.recipients import Roster
from appliance.daemon.streams import CameraStream, PlainStream
from appliance.domain import Observation
from appliance.errors import ApplianceError, UsageError
from appliance.feeds import Feed, open_feed
from appliance.host.clock import now_ns, steady_ns
from appliance.host.files import read_at_most
from appliance.host.memory import for_good, give_back
from appliance.host.notify import notify
from appliance.host.token import open_token
from appliance.pipeline.intake import DataClock, live_order, replay_order
from appliance.pipeline.path import OnePath
from appliance.pipeline.results import Result, status_result
from appliance.pipeline.warm import warm
from appliance.sealing import PrivateIdentity
from appliance.sealing.identity import MAX_IDENTITY_BYTES
from appliance.slots import Slots

if TYPE_CHECKING:
    from appliance.daemon.compiling import Compiler, FindWorks, Works
    from appliance.recorder import NoRecording, Recorder

log: Final = logging.getLogger("appliance")

_IDLE_S: Final = 0.05
#: After this many answered frames a new release counts as healthy and is confirmed.
HEALTHY_FRAMES: Final = 30
#: How often the service manager hears that the path is at work, however seldom recipients hear it.
_ALIVE_NS: Final = 1_000_000_000
#: How often free memory is given back to the kernel: it takes a millisecond.
_GIVE_BACK_NS: Final = 60_000_000_000
#: How long the end waits for the broker's acknowledgements before it leaves them to the next start.
DRAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did."""

    unit: str
    epoch: int
    sealed: int
    acknowledged: int
    left_in_outbox: int
    failed: tuple[str, ...]
    """Feeds and models that did not do their work to the end, where nobody asked the run to stop."""
    counts: Mapping[str, int]
    status: Mapping[str, Any]


class Daemon:
    """One run of one mission."""

    def __init__(self, loaded: LoadedMission, *, until_end: bool = False, find_works: FindWorks | None = None) -> None:
        """``find_works`` says what compiles engines on this machine; tests without a GPU give another."""
        self._loaded = loaded
        self._find_works = find_works
        self._mission = loaded.mission
        self._until_end = until_end
        self._replays = any(feed.pace == "fast" for feed in self._mission.feeds)
        self._of_files = all(feed.uri.startswith("file:") for feed in self._mission.feeds)
        self._stopping = threading.Event()
        self._status_due_ns = self._alive_due_ns = self._give_back_due_ns = 0
        self._arrived_ns = 0
        self._unconfirmed: list[Engine] = []
        self._roster = Roster(loaded, loaded.resolve(loaded.mission.unit.state) / "recipients")
        self._recorder: Recorder | None = None
        self._unrecorded: NoRecording | None = None

    def stop(self) -> None:
        """Ask the run to end in order; safe from a signal handler or another thread."""
        self._stopping.set()

    def look_again(self) -> None:
        """Read the recipients again, though no file of theirs may seem changed; safe from a signal handler."""
        self._roster.look_again()

    def run(self) -> Summary:
        """Run until stopped, or until the feeds have ended. Raises ApplianceError where it cannot start."""
        with ExitStack() as house:
            with for_good():
                self._build(house)
            log.info("unit %s is up: epoch %d, bus %s", self._mission.unit.id, self._epochs.number, self._url)
            notify("READY=1")
            try:
                self._work()
            finally:
                notify("STOPPING=1")
            self._finish()
            return self._summary()

    # -- build ---------------------------------------------------------------------------------------------------

    def _build(self, house: ExitStack) -> None:
        state = self._loaded.resolve(self._mission.unit.state)
        self._slots = Slots(state)
        works = self._find_compiler(state)
        no_compiler = works if isinstance(works, NoCompiler) else None
        loaded = load_engines(self._mission.models, self._slots, now_ns(), no_compiler)
        self._engines = {name: engine for name, engine in loaded.items() if isinstance(engine, Engine)}
        self._missing = {name: engine for name, engine in loaded.items() if isinstance(engine, NoEngine)}
        self._unconfirmed = [engine for engine in self._engines.values() if not engine.active.confirmed]
        for engine in self._engines.values():
            house.callback(engine.lane.close)
        self._require_work()
        self._build_compiler(house, works)
        plan = path_plan(self._loaded, tuple(self._engines.values()), replayed=self._of_files)
        warm(plan)
        self._path = OnePath(plan)
        self._build_bus(house, state / "outbox.sqlite")
        self._recorder = self._build_recorder(house, msgspec.json.encode(plan, enc_hook=dict))
        self._build_feeds(house)

    def _find_compiler(self, state: Path) -> Works | NoCompiler | None:
        """What compiles engines on this machine, or why nothing does; None where no model asks for one."""
        if not asks_for_engines(self._mission.models):
            return None
        from appliance.daemon.compiling import try_works  # noqa: PLC0415 - no other mission waits for it to be loaded

        return try_works(state, self._slots, self._find_works)

    def _build_compiler(self, house: ExitStack, works: Works | NoCompiler | None) -> None:
        """Engines are compiled while ONNX Runtime serves. A replay is a function of its data: it waits for them."""
        self._compiler: Compiler | None = None
        if works is None or isinstance(works, NoCompiler):
            return
        from appliance.daemon.compiling import compiler_for  # noqa: PLC0415 - see `_find_compiler`

        self._compiler = compiler_for(self._mission.models, self._engines, works)
        self._compiler.start()
        house.callback(self._compiler.stop)
        if self._replays:
            self._compiler.wait(self._stopping)

    def _engine_states(self) -> tuple[EngineStatus, ...]:
        compiled = () if self._compiler is None else self._compiler.status()
        return (*compiled, *standing_in(self._engines.values()))

    def _require_work(self) -> None:
        """A daemon without one feed that it could serve says why and ends, instead of idling as if all were well."""
        if all(feed.model in self._missing for feed in self._mission.feeds):
            raise next(iter(self._missing.values())).why

    def _build_bus(self, house: ExitStack, outbox_path: Path) -> None:
        settings = bus_settings(self._loaded)
        bus = self._mission.bus
        self._outbox = Outbox(
            outbox_path,
            resend_s=bus.resend_window_s,
            max_bytes=bus.outbox_max_bytes,
            detail_bytes=bus.outbox_detail_bytes,
            max_age_s=bus.outbox_max_age_s,
        )
        house.callback(self._outbox.close)
        self._url = settings.url
        if settings.embedded_port is not None:
            from appliance.bus.embedded import EmbeddedBroker  # noqa: PLC0415 - a field unit never loads a broker

            broker = EmbeddedBroker(port=settings.embedded_port)
            broker.start()
            house.callback(broker.stop)
            self._url = broker.url
        self._link = Link(self._outbox, self._url, unit=self._mission.unit.id, tls=settings.tls)
        self._link.start()
        house.callback(self._link.stop)
        self._audit = self._slots.audit()
        self._epochs = Epochs(
            device=self._identity(),
            outbox=self._outbox,
            roster=self._roster,
            audit=self._audit,
            limits=Limits(age_ns=round(self._mission.bus.epoch_max_s * 1e9)),
            now_ns=now_ns,
            steady_ns=steady_ns,
        )
        self._publisher = self._epochs.begin(self._loaded.digest)
        self._channel = channel(self._mission.unit.id, self._mission.bus, now_ns=0)

    def _identity(self) -> PrivateIdentity:
        path = self._loaded.resolve(self._mission.unit.identity)
        try:
            content = read_at_most(path, MAX_IDENTITY_BYTES)
        except OSError as e:
            raise UsageError(f"{path}: expected the unit's identity, readable by the daemon; {e.strerror}") from e
        return PrivateIdentity.from_json(content, open_token=open_token)

    def _build_recorder(self, house: ExitStack, plan: bytes) -> Recorder | None:
        if self._mission.record is None:
            return None
        from appliance.recorder import NoRecording, Recorder, make_room  # noqa: PLC0415 - a start waits for what it loads

        path = (
            self._loaded.resolve(self._mission.record.path) / f"{self._mission.unit.id}-{self._epochs.number:06d}.mcap"
        )
        half = self._mission.record.max_bytes // 2  # half of the room for this run, half for those before
        try:
            make_room(path.parent, self._mission.unit.id, keep_bytes=half)
            recorder = Recorder(path, plan=plan, max_bytes=half)
        except OSError as e:  # costs the recording, never the run; the status says so
            self._unrecorded = NoRecording(failure=f"{path}: {e.strerror}")
            log.error("no recording: %s", self._unrecorded.failure)  # noqa: TRY400 - the reason is the message
            return None
        house.callback(recorder.close)
        return recorder

    def _build_feeds(self, house: ExitStack) -> None:
        self._feeds: list[Feed] = []
        self._streams: list[CameraStream | PlainStream] = []
        for spec, table in zip(feed_specs(self._loaded), self._mission.feeds, strict=True):
            if table.model in self._missing:
                continue
            feed = open_feed(spec)
            lane = self._engines[table.model].lane if table.model is not None else None
            stream = PlainStream(feed) if lane is None else CameraStream(feed, lane)
            self._streams.append(stream)
            self._feeds.append(feed)
            feed.start()  # a camera's decoder, a process, comes up while the next feed's library is loaded
            house.callback(feed.stop)
            stream.start()
            house.callback(stream.stop)

    # -- work ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        for observation, arrived_ns in self._arrivals():
            self._arrived_ns = arrived_ns
            if self._recorder is not None:
                self._recorder.arrival(observation, arrived_ns)
            results = self._path.tick(arrived_ns) if observation is None else self._path.step(observation, arrived_ns)
            self._tell(results, arrived_ns)
            self._tell_status()

    def _arrivals(self) -> Iterator[tuple[Observation | None, int]]:
        if self._replays:
            yield from replay_order(self._streams, self._stopping.is_set)
            return
        clock = DataClock(now_ns) if self._of_files else _wall_clock
        yield from live_order(self._streams, self._stopping.is_set, clock, idle_s=_IDLE_S, done=self._is_done)

    def _is_done(self) -> bool:
        """Whether every feed that can end has ended, where that ends the run; a live feed and an inbox never do."""
        if not self._until_end:
            return False
        files = {feed.name for feed in self._mission.feeds if feed.uri.startswith("file:")}
        ending = [stream for stream in self._streams if stream.name in files]
        return bool(ending) and all(stream.ended for stream in ending)

    def _tell(self, results: tuple[Result, ...], at_ns: int) -> None:
        self._publisher.publish(self._channel.pass_on(results, at_ns, epoch=self._epochs.number))
        if self._recorder is not None:
            for result in results:
                self._recorder.told(result.topic, result.payload, at_ns)

    def _tell_status(self) -> None:
        steady = steady_ns()
        if steady >= self._alive_due_ns:
            self._alive_due_ns = steady + _ALIVE_NS
            notify("WATCHDOG=1")
            self._epochs.turn(self._publisher)
        if steady >= self._give_back_due_ns:
            self._give_back_due_ns = steady + _GIVE_BACK_NS
            give_back()
        if steady < self._status_due_ns:
            return
        self._status_due_ns = steady + round(self._mission.picture.status_interval_s * 1e9)
        at_ns = now_ns()
        self._confirm_healthy(at_ns)
        body = self._status()
        self._publish_status(body, at_ns)

    def _publish_status(self, body: dict[str, Any], at_ns: int) -> None:
        if self._mission.bus.profile == "full":
            self._publisher.publish((status_result(body, unit=self._mission.unit.id, produced_ns=at_ns),))

    def _confirm_healthy(self, at_ns: int) -> None:
        for engine in list(self._unconfirmed):
            if engine.lane.status().answered >= HEALTHY_FRAMES:
                self._unconfirmed.remove(engine)
                self._confirm(engine, at_ns)

    def _confirm(self, engine: Engine, at_ns: int) -> None:
        try:
            if self._is_in_service(engine):
                self._slots.confirm(engine.active.product, at_ns)
            else:
                log.info("model %s: another release was put in service meanwhile, and has yet to run", engine.name)
        except (ApplianceError, OSError) as e:
            # A full disk or a damaged trust state ends no service; the release is confirmed by the next healthy start.
            log.error("model %s: healthy, but that cannot be put on record: %s", engine.name, e)  # noqa: TRY400

    def _is_in_service(self, engine: Engine) -> bool:
        running = (engine.active.product, engine.active.slot, engine.active.release_digest)
        return running in {(v.product, v.slot, v.release_digest) for v in self._slots.list() if v.active}

    def _status(self) -> dict[str, Any]:
        return status_body(
            feeds=[feed.status() for feed in self._feeds],
            lanes=[engine.lane.status() for engine in self._engines.values()],
            engines=self._engine_states(),
            missing=tuple(self._missing.values()),
            link=self._link.status(),
            outbox=self._outbox.status(),
            recorder=self._recorder or self._unrecorded,
            recipients=self._epochs.trouble,
            counts=self._path.counts + self._publisher.counts + self._channel.counts,
        )

    # -- end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._last_status = self._status()  # before the feeds are stopped: a stopped feed no longer says what ailed it
        for feed in self._feeds:
            feed.stop()
        end_ns = self._arrived_ns if self._of_files else now_ns()
        self._confirm_healthy(now_ns())
        if self._recorder is not None:
            self._recorder.end(end_ns)
        self._tell(self._path.finish(end_ns), end_ns)
        self._publish_status(self._last_status, now_ns())
        self._publisher.close(self._last_checkpoint())
        if not self._outbox.wait_acknowledged(DRAIN_S):
            log.warning("the broker has not acknowledged everything; the rest waits in the outbox for the next start")

    def _last_checkpoint(self) -> bytes:
        try:
            self._audit.append("daemon.end", now_ns(), epoch=self._epochs.number, sealed=self._publisher.sealed)
            return self._audit.checkpoint()
        except (ApplianceError, OSError) as e:
            # Recipients are owed the close all the same; without a checkpoint it says that there was none.
            log.error("the audit log cannot be written: %s", e)  # noqa: TRY400 - the reason is the message
            return b""

    def _failed(self) -> tuple[str, ...]:
        if self._stopping.is_set():
            return ()
        return (
            *(f"feed {feed['name']}" for feed in self._last_status["feeds"] if feed["state"] == "failed"),
            *(f"model {lane['name']}" for lane in self._last_status["lanes"] if lane["state"] == "failed"),
            *(f"model {name}" for name in self._missing),
        )

    def _summary(self) -> Summary:
        outbox = self._outbox.status()
        return Summary(
            unit=self._mission.unit.id,
            epoch=self._epochs.number,
            sealed=self._publisher.sealed,
            acknowledged=outbox.acknowledged,
            left_in_outbox=outbox.waiting,
            failed=self._failed(),
            counts=dict(self._path.counts + self._publisher.counts + self._channel.counts),
            status=self._last_status,
        )


def _wall_clock(_: Observation | None) -> int:
    return now_ns()
