"""A scene as a film: H.264 in MP4 with the right time stamps, and the true boxes of every frame.

Written whole before it is played, as a recording would be. libx264 runs on one thread without scene cuts, so that the
same scene gives the same file on the same machine.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from hil.scene.lens import Lens
from hil.scene.paint import Painter, TrueBox
from hil.scene.world import Scene

FRAMES_PER_S = 10
_TICKS_PER_S = 90_000


def shoot(
    scene: Scene,
    lens: Lens,
    target: Path,
    duration_s: float,
    told: Callable[[int, int], None] = lambda _done, _of: None,
    *,
    key_every: int = 250,
    frames_per_s: int = FRAMES_PER_S,
) -> list[tuple[TrueBox, ...]]:
    """Write the film; return the true boxes frame by frame. Frame ``i`` shows the scene at ``i / frames_per_s`` s.

    ``told(done, of)`` is called after each frame. Every ``key_every`` frames one stands by itself: where a watcher
    may come in.
    """
    painter = Painter(scene, lens)
    count = max(1, round(duration_s * frames_per_s))
    truth: list[tuple[TrueBox, ...]] = []
    options = {"preset": "ultrafast", "crf": "21", "g": str(key_every)}
    with av.open(str(target), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frames_per_s, options=options)
        stream.width, stream.height, stream.pix_fmt = lens.width_px, lens.height_px, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        for index in range(count):
            painted = painter.paint(index / frames_per_s)
            frame = av.VideoFrame.from_ndarray(painted.pixels, format="bgr24")
            frame.pts, frame.time_base = index * _TICKS_PER_S // frames_per_s, Fraction(1, _TICKS_PER_S)
            container.mux(stream.encode(frame))
            truth.append(painted.boxes)
            told(index + 1, count)
        container.mux(stream.encode())
    return truth
