"""How the appliance is, as one body for the status topic: counters and states, no content of any result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.bus import LinkStatus, OutboxStatus
from appliance.daemon.engines import EngineStatus, NoEngine
from appliance.feeds import FeedStatus
from appliance.inference.lane import LaneStatus

if TYPE_CHECKING:
    from appliance.recorder import NoRecording, Recorder


def status_body(
    *,
    feeds: Sequence[FeedStatus],
    lanes: Sequence[LaneStatus],
    missing: Sequence[NoEngine],
    engines: Sequence[EngineStatus] = (),
    link: LinkStatus,
    outbox: OutboxStatus,
    recorder: Recorder | NoRecording | None,
    counts: Mapping[str, int],
    recipients: str | None = None,
) -> dict[str, Any]:
    """The status as JSON-ready values. ``sick`` names each part that does not do its work, with its reason."""
    return {
        "feeds": [_plain(feed) for feed in feeds],
        "lanes": [_plain(lane) for lane in lanes],
        "engines": [_plain(engine) for engine in engines],
        "link": _plain(link),
        "outbox": _plain(outbox),
        "recording": None if recorder is None else {"full": recorder.full, "failure": recorder.failure},
        "counts": dict(sorted(counts.items())),
        "sick": [
            *_sick_feeds(feeds),
            *_sick_lanes(lanes),
            *(f"model {engine.name}: {engine.why}" for engine in missing),
            *_sick_engines(engines),
            *_sick_link(link),
            *_sick_outbox(outbox),
            *_sick_recorder(recorder),
            *([recipients] if recipients else []),
        ],
    }


def _plain(status: object) -> Any:
    return msgspec.to_builtins(status, enc_hook=_built_in)


def _built_in(value: object) -> Any:
    return dict(value) if isinstance(value, Mapping) else value.name if isinstance(value, Path) else str(value)


def _sick_feeds(feeds: Sequence[FeedStatus]) -> list[str]:
    sick = {"backing-off", "failed"}
    return [f"feed {feed.name}: {feed.state}: {feed.last_error}" for feed in feeds if feed.state in sick]


def _sick_lanes(lanes: Sequence[LaneStatus]) -> list[str]:
    return [f"model {lane.name}: {lane.last_error}" for lane in lanes if lane.state in {"failing", "failed"}]


def _sick_engines(engines: Sequence[EngineStatus]) -> list[str]:
    missing = [engine for engine in engines if engine.state == "unavailable"]
    return [f"model {engine.model}: no engine: {engine.says}; {engine.serves} serves" for engine in missing]


def _sick_link(link: LinkStatus) -> list[str]:
    return [] if link.state == "connected" else [f"bus: {link.state}: {link.last_error}"]


def _sick_outbox(outbox: OutboxStatus) -> list[str]:
    return [] if outbox.state == "good" else [f"outbox: {outbox.trouble}"]


def _sick_recorder(recorder: Recorder | NoRecording | None) -> list[str]:
    if recorder is None or not (recorder.full or recorder.failure):
        return []
    return [f"recording: {recorder.failure or 'full'}"]
