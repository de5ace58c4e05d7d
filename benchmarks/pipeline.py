"""The path against a bare ``InferenceSession.run`` loop, on the same frames, with the same model, in the same run.

The frames are 1920×1080 H.264: a real clip from the shared data, scaled up once, or a rendered one where that is
absent. Two figures matter: frames per second as a share of the bare loop, with decoding overlapped; and processor
milliseconds per frame that are neither decoding (another process) nor inside ``session.run`` (measured per call).

    bare      tensors prepared before; session.run and nothing else
    path      video feed (decoder in a child process) → lane → tracking → ground → fusion → results → sealed → outbox
"""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.bus import Outbox
from appliance.daemon.publisher import Publisher
from appliance.daemon.streams import CameraStream
from appliance.domain import Geodetic, Receipt
from appliance.feeds import FeedSpec, open_feed
from appliance.fusion import FusionSettings
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import Runner, Tensor, open_runner
from appliance.pipeline.intake import replay_order
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.pipeline.warm import warm
from appliance.sealing import Sender, generate
from appliance.tracking.camera import CameraModel
from benchmarks.tables import Table, shared_data

WIDTH, HEIGHT = 1920, 1080
FRAMES = 150
#: The clip repeats after this many frames; the bare loop holds as many tensors.
DISTINCT = 30
ROUNDS = 3
HERE = Geodetic(latitude_deg=49.6, longitude_deg=6.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one loop; ``inference_s`` is the processor time inside ``session.run``."""

    frames: int
    wall_s: float
    cpu_s: float
    inference_s: float

    @property
    def fps(self) -> float:
        """Frames per second of wall time."""
        return self.frames / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of this process per frame, all threads."""
        return 1000 * self.cpu_s / self.frames

    @property
    def outside_ms(self) -> float:
        """Processor milliseconds per frame outside inference."""
        return 1000 * (self.cpu_s - self.inference_s) / self.frames


class Timed:
    """A runner that keeps the processor time it took."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.provider = runner.provider
        self.cpu_s = 0.0

    def run(self, batch: Tensor) -> Mapping[str, Tensor]:
        """As the runner does."""
        began = time.thread_time()
        answer = self._runner.run(batch)
        self.cpu_s += time.thread_time() - began
        return answer


def main() -> None:
    """Measure in turn, bare and path, and print the medians."""
    data = shared_data()
    model = data / "models" / "yolox_nano.onnx"
    manifest = parse_manifest((Path(__file__).parents[1] / "models" / "manifests" / "yolox_nano.json").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        _make_clip(data / "videos" / "udacity_dashcam_test_video.mp4", clip)
        rounds = [(_bare(model, manifest, clip), _path(model, manifest, clip, Path(folder))) for _ in range(ROUNDS)]
    _print(rounds)


def _print(rounds: list[tuple[Measured, Measured]]) -> None:
    ratio = float(np.median([path.fps / bare.fps for bare, path in rounds]))
    outside = float(np.median([path.outside_ms for _, path in rounds]))
    table = Table(("loop", "frames/s", "CPU ms/frame", "of it outside session.run"))
    for name, loops in (("bare session.run", [b for b, _ in rounds]), ("whole path", [p for _, p in rounds])):
        figures = [np.median([getattr(loop, figure) for loop in loops]) for figure in ("fps", "cpu_ms", "outside_ms")]
        table.row(name, *(f"{figure:.1f}" for figure in figures))
    print(f"{FRAMES} frames of {WIDTH}×{HEIGHT}, YOLOX-Nano at 416 px, one thread, median of {ROUNDS} rounds in turn\n")
    print(table)
    print(f"\npath / bare, frames per second: {ratio:.2f}   (wanted: at least 0.90)")
    print(f"CPU outside decoding and inference: {outside:.2f} ms a frame   (wanted: at most 3 ms)")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _make_clip(source: Path, target: Path) -> None:
    """``FRAMES`` frames of ``source``, forwards and again, scaled to 1920×1080, H.264 at 25 frames/s."""
    with av.open(str(source)) as container:
        pictures = [frame.reformat(WIDTH, HEIGHT, "yuv420p") for frame in container.decode(video=0)]
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            picture = pictures[index % len(pictures)]
            picture.pts = None
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def _timed(frames: int, wall_from: float, cpu_from: float, inference_s: float) -> Measured:
    wall_s, cpu_s = time.perf_counter() - wall_from, time.process_time() - cpu_from
    return Measured(frames=frames, wall_s=wall_s, cpu_s=cpu_s, inference_s=inference_s)


def _bare(model: Path, manifest: Manifest, clip: Path) -> Measured:
    """The floor: what ONNX Runtime alone needs for as many tensors of the same pictures."""
    session = Timed(open_runner(model, manifest, threads=1))
    tensors = []
    with av.open(str(clip)) as container:
        for frame in itertools.islice(container.decode(video=0), DISTINCT):
            picture = frame.reformat(416, 416, "bgr24").to_ndarray()
            tensors.append(np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(np.float32)))
    session.run(tensors[0])
    session.cpu_s = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for index in range(FRAMES):
        session.run(tensors[index % DISTINCT])
    return _timed(FRAMES, wall, cpu, session.cpu_s)


def _path(model: Path, manifest: Manifest, clip: Path, folder: Path) -> Measured:
    """Everything that the daemon does with a camera's frames, up to the durable envelope."""
    runner = Timed(open_runner(model, manifest, threads=1))
    lane = Lane("bench", Detector(manifest, runner))
    feed = open_feed(FeedSpec(name="camera", kind="video", uri=f"file:{clip}", pace="fast", start_ns=0, capacity=8))
    stream = CameraStream(feed, lane)
    plan = _plan()
    warm(plan)
    path = OnePath(plan)
    outbox = Outbox(folder / f"outbox-{time.monotonic_ns()}.sqlite")
    device, reader = generate("device", "bench"), generate("recipient", "reader")
    epoch = outbox.next_epoch(time.time_ns())
    publisher = Publisher(Sender("bench", epoch, device, (reader.public,), issued_ns=0), outbox)
    feed.start()
    stream.start()
    order = replay_order([stream], lambda: False)
    first, at_ns = next(order)  # the decoder has started and the model is warm
    path.step(first, at_ns)
    runner.cpu_s = 0.0
    wall, cpu, frames = time.perf_counter(), time.process_time(), 0
    for observation, at_ns in order:
        publisher.publish(path.step(observation, at_ns))
        frames += 1
    measured = _timed(frames, wall, cpu, runner.cpu_s)
    feed.stop()
    lane.close()
    outbox.close()
    return measured


def _plan() -> PathPlan:
    camera = CameraModel(
        pose=Geodetic(latitude_deg=49.6, longitude_deg=6.1, altitude_m=1.3),
        heading_rad=0.0,
        pitch_rad=-0.05,
        width_px=WIDTH,
        height_px=HEIGHT,
        fx_px=1662.0,
        fy_px=1662.0,
        cx_px=WIDTH / 2,
        cy_px=HEIGHT / 2,
        sigma_position_m=0.1,
        max_range_m=150.0,
    )
    receipt = Receipt(config_digest="", bundles={}, engines={}, clock="replayed", position_integrity="surveyed")
    return PathPlan(
        unit="bench",
        origin=HERE,
        fusion=FusionSettings(unit="bench", origin=HERE),
        telling=TellingSettings(picture_interval_ns=10**9, entity_interval_ns=2 * 10**8),
        receipt=receipt,
        cameras={"camera": camera},
    )


if __name__ == "__main__":
    main()
