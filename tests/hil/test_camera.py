"""The rig's camera, watched by the product's own feed."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from appliance.feeds import FeedSpec, open_feed
from hil.scene.camera import RtspCamera


def film(path: Path, frames: int = 60) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 160, 120, "yuv420p", Fraction(1, 10)
        for k in range(frames):
            pixels = np.full((120, 160, 3), 4 * k % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def test_the_first_frame_does_not_wait_until_twenty_have_come(tmp_path: Path) -> None:
    camera = RtspCamera(film(tmp_path / "film.mp4"))
    feed = open_feed(FeedSpec(name="c", kind="video", uri=f"rtsp://127.0.0.1:{camera.address[1]}/live", capacity=4))
    try:
        feed.start()
        camera.begin(time.time_ns() + 100_000_000)
        assert feed.take(20.0) is not None
        assert camera.sent <= 12
    finally:
        feed.stop()
        camera.close()
