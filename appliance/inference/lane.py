"""A lane: one thread that feeds one detector with the frames of several cameras.

Each camera has a bounded queue in and a bounded queue out. A live camera's oldest frame is dropped, and counted, when a
queue is full; a replayed camera's is not: ``submit`` waits, and the lane takes no further frame of that camera until
there is room for its answer. Cameras are served in turn; what waits is batched up to what the model allows.

    submit ─ waiting[camera] ─┐                            ┌─ ready[camera] ─ take
                              ├─ one thread: Detector ─────┤
    submit ─ waiting[camera] ─┘                            └─ ready[camera] ─ take

``replace`` puts another detector in between two batches, so that no frame is lost to a change of engine. The one
before it is kept: should the new one not answer, the lane goes back to it at once, and says so.

Rules: answers of one camera come in the order of its frames. A frame that is no picture is counted and has no answer.
An engine that does not answer is tried again with back-off, its batch kept; after ``MAX_FAILURES`` in a row the lane
is ``failed``, says why, and takes nothing more. No frame is held longer than it takes to answer it: frames are views
into a ring that the feed wants back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from appliance.domain import DetectedFrame, Frame
from appliance.errors import BadRecord, EngineUnavailable
from appliance.inference.detector import Detector
from appliance.inference.prepare import require_picture

LaneState = Literal["running", "failing", "failed", "closed"]

MAX_FAILURES: Final = 6
LIVE_ANSWERS: Final = 10
"""Of a live camera, not yet taken: a second of frames at ten a second. Whoever takes them may pause, for a disk that
syncs or for the garbage collector, and an answer holds no picture that anybody waits for."""
FIRST_PAUSE_S: Final = 0.05
"""Doubled at each failure: 0.05 + 0.1 + … + 0.8 s, so a failed engine is known within two seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """How a lane is. ``busy_ns`` is the time spent in the detector on ``answered`` frames, in ``batches``.

    ``dropped_oldest`` counts what live cameras lost to full queues, ``let_go`` the frames that had no answer yet when
    the lane ended, ``bad`` the frames that were no pictures, by reason.
    """

    name: str
    provider: str
    state: LaneState
    answered: int
    batches: int
    busy_ns: int
    dropped_oldest: int
    let_go: int
    bad: Mapping[str, int]
    unusable_boxes: int
    failures: int
    last_error: str | None
    waiting: int
    reverted: str | None = None
    """Why the lane went back from a detector to the one before it; None where it did not."""


@dataclass(slots=True, kw_only=True)
class _Camera:
    live: bool
    waiting: deque[Frame] = field(default_factory=deque)
    ready: deque[DetectedFrame] = field(default_factory=deque)
    running: int = 0


class Lane:
    """See above. ``submit`` and ``take`` are for any thread; the detector is called from the lane's own alone."""

    def __init__(self, name: str, detector: Detector, *, capacity: int = 4) -> None:
        """``capacity`` bounds each camera's frames waiting, and a replayed one's answers not yet taken."""
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1; found {capacity}")
        self._name = name
        self._detector = detector
        self._capacity = capacity
        self._cameras: dict[str, _Camera] = {}
        self._changed = threading.Condition()
        self._state: LaneState = "running"
        self._turn = 0
        self._answered = self._batches = self._busy_ns = self._dropped = self._let_go = self._failures = 0
        self._bad: Counter[str] = Counter()
        self._last_error: str | None = None
        self._before: Detector | None = None
        self._reverted: str | None = None
        self._unusable_before = 0
        self._thread = threading.Thread(target=self._work, name=f"lane-{name}", daemon=True)
        self._thread.start()

    def add_camera(self, sensor_id: str, *, live: bool) -> None:
        """Say what kind of camera this is, before its first frame; one never named is not live: it loses nothing."""
        with self._changed:
            self._cameras.setdefault(sensor_id, _Camera(live=live)).live = live

    def replace(self, detector: Detector) -> None:
        """Use another detector of the same model from the next batch on; the present one is what it may go back to."""
        with self._changed:
            self._before, self._reverted = self._detector, None
            self._unusable_before += self._detector.unusable
            self._detector = detector

    def submit(self, frame: Frame, timeout_s: float = 0.0) -> bool:
        """Queue a frame. False: a replayed camera's queue stayed full for ``timeout_s``, or the lane is closed.

        Raises ``EngineUnavailable`` once the lane has failed.
        """
        with self._changed:
            camera = self._cameras.setdefault(frame.sensor_id, _Camera(live=False))
            if not camera.live:
                self._changed.wait_for(lambda: self._ended or len(camera.waiting) < self._capacity, timeout_s)
            if self._state == "failed":
                raise EngineUnavailable(f"lane {self._name}: {self._last_error}")
            if self._state == "closed" or (not camera.live and len(camera.waiting) >= self._capacity):
                return False
            camera.waiting.append(frame)
            self._drop_oldest(camera.waiting, self._capacity)
            self._changed.notify_all()
            return True

    def take(self, sensor_id: str, timeout_s: float = 0.0) -> DetectedFrame | None:
        """The camera's next answer, or None where none came within ``timeout_s``. Answers outlive ``close``."""
        with self._changed:
            camera = self._cameras.get(sensor_id)
            if camera is None:
                return None
            if not camera.ready:
                self._changed.wait_for(lambda: self._ended or bool(camera.ready), timeout_s)
            if not camera.ready:
                return None
            self._changed.notify_all()
            return camera.ready.popleft()

    def outstanding(self, sensor_id: str) -> int:
        """Frames of this camera that were accepted and whose answers were not taken yet; zero means drained."""
        with self._changed:
            camera = self._cameras.get(sensor_id)
            return 0 if camera is None else len(camera.waiting) + camera.running + len(camera.ready)

    def status(self) -> LaneStatus:
        """How the lane is, now."""
        with self._changed:
            return LaneStatus(
                name=self._name,
                provider=self._detector.provider,
                state=self._state,
                answered=self._answered,
                batches=self._batches,
                busy_ns=self._busy_ns,
                dropped_oldest=self._dropped,
                let_go=self._let_go,
                bad=MappingProxyType(dict(self._bad)),
                unusable_boxes=self._unusable_before + self._detector.unusable,
                failures=self._failures,
                last_error=self._last_error,
                waiting=sum(len(camera.waiting) for camera in self._cameras.values()),
                reverted=self._reverted,
            )

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop after the batch that is running; frames that wait are let go. A failed lane stays ``failed``."""
        with self._changed:
            if self._state != "failed":
                self._state = "closed"
            self._changed.notify_all()
        self._thread.join(timeout_s)

    @property
    def _ended(self) -> bool:
        return self._state in {"failed", "closed"}

    def _drop_oldest(self, queue: deque[Frame] | deque[DetectedFrame], most: int) -> None:
        while len(queue) > most:
            queue.popleft()
            self._dropped += 1

    def _work(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 - boundary: a thread that dies of a mistake must say so, not vanish
            with self._changed:
                self._fail(f"{type(error).__name__}: {error}")
        finally:
            with self._changed:
                for camera in self._cameras.values():
                    self._let_go += len(camera.waiting) + camera.running
                    camera.waiting.clear()
                    camera.running = 0
                self._changed.notify_all()

    def _step(self) -> bool:
        """Answer one batch; False when the lane has ended. The batch is let go on return."""
        batch = self._next_batch()
        if not batch:
            return False
        answers = self._answer(self._without_bad(batch))
        if answers is None:
            return False
        self._deliver(batch, answers)
        return True

    def _next_batch(self) -> list[Frame]:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or any(map(self._has_work, self._cameras.values())))
            return [] if self._ended else self._pick()

    def _has_work(self, camera: _Camera) -> bool:
        room = camera.live or len(camera.ready) + camera.running < self._capacity
        return room and bool(camera.waiting)

    def _pick(self) -> list[Frame]:
        """One frame of each camera in turn, round and round; the next batch starts one camera further on."""
        cameras = list(self._cameras.values())
        self._turn = (self._turn + 1) % len(cameras)
        order = cameras[self._turn :] + cameras[: self._turn]
        batch: list[Frame] = []
        while len(batch) < self._detector.max_batch and any(map(self._has_work, order)):
            for camera in filter(self._has_work, order):
                if len(batch) < self._detector.max_batch:
                    camera.running += 1
                    batch.append(camera.waiting.popleft())
        self._changed.notify_all()
        return batch

    def _answer(self, frames: list[Frame]) -> list[DetectedFrame] | None:
        """The answers to ``frames``, or None where the lane ended first; an engine that fails is tried again."""
        for failures in range(1, MAX_FAILURES + 1):
            started = time.perf_counter_ns()
            detector = self._detector
            try:
                answers = detector.detect(frames)
            except EngineUnavailable as error:
                if not self._revert(detector, str(error)) and not self._pause(str(error), failures):
                    return None
            else:
                with self._changed:
                    self._busy_ns += time.perf_counter_ns() - started
                return answers
        return None

    def _without_bad(self, batch: list[Frame]) -> list[Frame]:
        """One frame that is no picture must not cost the others of its batch their answers."""
        good = []
        for frame in batch:
            try:
                require_picture(frame.pixels)
            except BadRecord as error:
                with self._changed:
                    self._bad[error.reason] += 1
                    self._last_error = str(error)
            else:
                good.append(frame)
        return good

    def _revert(self, failed: Detector, message: str) -> bool:
        """Go back to the detector before the one that failed, where there is one."""
        with self._changed:
            self._failures += 1
            self._last_error = message
            if self._ended:
                return False
            if self._detector is not failed:
                return True  # it was replaced while it failed
            if self._before is None:
                return False
            self._unusable_before += failed.unusable - self._before.unusable
            self._detector, self._before = self._before, None
            self._reverted = f"{failed.provider}: {message}"
            return True

    def _pause(self, message: str, failures: int) -> bool:
        """Say that the engine failed and wait a little; False when it has failed too often, or the lane is closed."""
        with self._changed:
            if self._ended:
                return False
            if failures == MAX_FAILURES:
                self._fail(message)
                return False
            self._state = "failing"
            return not self._changed.wait_for(lambda: self._ended, FIRST_PAUSE_S * 2 ** (failures - 1))

    def _fail(self, message: str) -> None:
        self._state = "failed"
        self._last_error = message
        self._changed.notify_all()

    def _deliver(self, batch: list[Frame], answers: list[DetectedFrame]) -> None:
        with self._changed:
            if self._state == "failing":
                self._state = "running"
            self._batches += 1
            self._answered += len(answers)
            for frame in batch:
                self._cameras[frame.sensor_id].running -= 1
            for answer in answers:
                camera = self._cameras[answer.sensor_id]
                camera.ready.append(answer)
                if camera.live:
                    self._drop_oldest(camera.ready, LIVE_ANSWERS)
            self._changed.notify_all()
