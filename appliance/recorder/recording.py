"""Writes and reads recordings: MCAP (mcap.dev, version 0x89MCAP0), JSON messages, zstd chunks.

What this is: observations as the path took them, each with the moment of its arrival, then what was told, and the plan
that the path was built from. What it is not: it holds no pixels and no keys, and it decides nothing. A recording is
plain text inside: it stays on the appliance, and only a mission that asks for it makes one.

A recording cut off by a power failure is read up to its last whole chunk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader

from appliance.domain import DetectedFrame, Estimate, Fix, Observation, Plot, Report
from appliance.errors import BadRecord, Stop
from appliance.recorder.chunks import ChunkWriter

_KINDS: Final[Mapping[str, type[DetectedFrame] | type[Plot] | type[Fix] | type[Report] | type[Estimate]]] = {
    kind.__name__: kind for kind in (DetectedFrame, Plot, Fix, Report, Estimate)
}
_TICK: Final = "tick"
_END: Final = "end"
_RESULT: Final = "result"
_PLAN: Final = "plan"
_CHUNK_BYTES: Final = 64 * 1024
_MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
#: What people wrote and where things are, in plain: for the appliance's own user alone.
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One observation, or None for a tick, and when it arrived; ``last`` where the feeds ended."""

    observation: Observation | None
    now_ns: int
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRecording:
    """A recording that was asked for and could not be begun, and why; the run goes on without it."""

    failure: str
    full: bool = False


class Recorder:
    """Appends to one recording. At ``max_bytes`` it stops and says so in ``full``; the run goes on.

    It stops between one observation and the next, so that a full recording still holds all that was told of each.
    """

    def __init__(self, path: Path, *, plan: bytes, max_bytes: int) -> None:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        self.path = path
        self.full = False
        self.failure = ""
        self._max_bytes = max_bytes
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, _FILE_MODE), "wb")
        self._writer = ChunkWriter(self._file, library="edge-appliance", chunk_bytes=_CHUNK_BYTES)
        self._writer.metadata(_PLAN, {"plan": plan.decode()})
        self._file.flush()
        schema = self._writer.schema("edge/json", "jsonschema", b'{"type":"object"}')
        self._channels = {
            topic: self._writer.channel(topic, "json", schema) for topic in (*_KINDS, _TICK, _END, _RESULT)
        }

    def arrival(self, observation: Observation | None, now_ns: int) -> None:
        """Record one observation, or a tick."""
        self.full = self.full or (not self._file.closed and self._file.tell() >= self._max_bytes)
        topic = _TICK if observation is None else type(observation).__name__
        self._add(topic, b"{}" if observation is None else msgspec.json.encode(observation), now_ns)

    def end(self, now_ns: int) -> None:
        """Record that the feeds ended."""
        self._add(_END, b"{}", now_ns)

    def told(self, topic: str, payload: bytes, now_ns: int) -> None:
        """Record one result as it was told, before it was sealed."""
        self._add(_RESULT, msgspec.json.encode({"topic": topic, "payload": msgspec.Raw(payload)}), now_ns)

    def close(self) -> None:
        """Finish the file; a recording that is not closed can still be read."""
        try:
            with self._file:
                self._writer.finish()
        except OSError as e:
            self.failure = str(e)

    def _add(self, topic: str, data: bytes, now_ns: int) -> None:
        if self.full or self.failure:
            return
        try:
            self._writer.message(self._channels[topic], now_ns, data)
        except OSError as e:  # a full or failing disk ends the recording, never the run
            self.failure = str(e)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def make_room(folder: Path, unit: str, *, keep_bytes: int) -> None:
    """Remove the oldest recordings of ``unit`` until what is left takes at most ``keep_bytes``. Raises OSError."""
    recordings = sorted(folder.glob(f"{unit}-*.mcap"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    taken = sum(path.stat().st_size for path in recordings)
    for path in recordings:
        if taken <= keep_bytes:
            return
        taken -= path.stat().st_size
        path.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording on disk: the plan, then arrivals and results in the order in which they were written."""

    path: Path
    plan: bytes

    def arrivals(self) -> Iterator[Arrival]:
        """What the path took, in order."""
        for topic, data, time_ns in _messages(self.path):
            if topic in {_TICK, _END}:
                yield Arrival(observation=None, now_ns=time_ns, last=topic == _END)
            elif topic in _KINDS:
                yield Arrival(observation=_decoded(topic, data), now_ns=time_ns)

    def is_whole(self) -> bool:
        """Whether it goes on to the end of the run; one that is full or was cut off does not."""
        return any(topic == _END for topic, _, _ in _messages(self.path))

    def told(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of every result, in order."""
        for topic, data, _ in _messages(self.path):
            if topic == _RESULT:
                body = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
                yield msgspec.json.decode(body["topic"], type=str), bytes(body["payload"])


def open_recording(path: Path) -> Recording:
    """Open a recording for reading. Raises Stop where it is not one."""
    try:
        with path.open("rb") as file:
            for metadata in NonSeekingReader(file, record_size_limit=_MAX_RECORD_BYTES).iter_metadata():
                if metadata.name == _PLAN:
                    return Recording(path=path, plan=metadata.metadata["plan"].encode())
    except OSError as e:
        raise Stop(f"{path}: expected a recording; {e.strerror}") from e
    except (McapError, struct.error, ValueError, KeyError) as e:
        raise Stop(f"{path}: expected an MCAP recording of this product; {e}") from e
    raise Stop(f"{path}: expected a recording that holds its plan; found an MCAP file without one")


def _decoded(topic: str, data: bytes) -> Observation:
    try:
        observation: Observation = msgspec.json.decode(data, type=_KINDS[topic])
    except msgspec.DecodeError as e:
        raise BadRecord("recording", f"expected a recorded {topic}; {e}") from e
    return observation


def _messages(path: Path) -> Iterator[tuple[str, bytes, int]]:
    with path.open("rb") as file:
        reader: Any = NonSeekingReader(file, validate_crcs=True, record_size_limit=_MAX_RECORD_BYTES)
        try:
            for _, channel, message in reader.iter_messages(log_time_order=False):
                yield channel.topic, message.data, message.log_time
        except (McapError, struct.error):
            return  # cut off: what stands before is whole, because chunks carry a CRC
