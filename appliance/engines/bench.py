"""How fast a runner answers: median and tail of one picture and of a full batch, the clock read round each call.

What is timed is ``Runner.run`` with the tensor ready: copies in and out are inside, preparing frames is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.bundles.manifest import Manifest
from appliance.engines.parity import Tensor, probe_batches
from appliance.inference.runner import Runner

WARM_RUNS: Final = 5
"""Before the clock counts: the first runs allocate, and record graphs."""
MIN_RUNS: Final = 10
MAX_RUNS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One runner at one batch size."""

    model: str
    provider: str
    batch: int
    runs: int
    median_ms: float
    p99_ms: float
    pictures_per_s: float


def time_runner(runner: Runner, manifest: Manifest, seconds: float) -> Iterator[Timing]:
    """Times for a single picture and, where the manifest allows batches, the largest. Raises ``EngineUnavailable``."""
    batches = list(probe_batches(manifest))
    for batch in (batches[0], *(batches[-1:] if len(batches[-1]) > 1 else ())):
        took = _times_ms(runner, batch, seconds)
        median = float(np.median(took))
        yield Timing(
            model=manifest.name,
            provider=runner.provider,
            batch=len(batch),
            runs=len(took),
            median_ms=median,
            p99_ms=float(np.percentile(took, 99)),
            pictures_per_s=1000.0 * len(batch) / median,
        )


def _times_ms(runner: Runner, batch: Tensor, seconds: float) -> list[float]:
    for _ in range(WARM_RUNS):
        runner.run(batch)
    took: list[float] = []
    until = time.perf_counter() + seconds
    while (time.perf_counter() < until or len(took) < MIN_RUNS) and len(took) < MAX_RUNS:
        begun = time.perf_counter_ns()
        runner.run(batch)
        took.append((time.perf_counter_ns() - begun) / 1e6)
    return took
