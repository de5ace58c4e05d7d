"""A model's golden files as the gate reads them: from the slot in service, beside the network, mapped, not copied.

The numbers and tolerances are the signer's (`bundles.golden`, `bundles.answers`); here they meet a runner. Rules: a
release without golden files is ordinary, and has none; golden files that are not what was signed are ``BundleRefused``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from appliance.bundles.answers import Worst, check_data, compare, inputs_of, worst_of
from appliance.bundles.golden import GOLDEN_DATA_FILE, GOLDEN_FILE, MAX_GOLDEN_BYTES, Case, Golden, parse_golden
from appliance.bundles.manifest import Manifest
from appliance.errors import EngineUnavailable
from appliance.host.files import read_at_most
from appliance.inference.runner import Runner

NO_GOLDENS: Final = "no golden outputs to compare with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goldens:
    """Golden cases of one network, proven against their digests."""

    golden: Golden
    data: memoryview
    image: str

    def batches(self) -> Iterator[npt.NDArray[Any]]:
        """The golden pictures as the network takes them, one batch a case."""
        for case in self.golden.cases:
            yield self._batch(case)

    def hold(self, runner: Runner) -> Worst:
        """The worst of an engine's answers beside the golden ones. Raises ``EngineUnavailable``."""
        return worst_of(
            compare(self.golden, case, runner.run(self._batch(case)), self.data, runs="engine")
            for case in self.golden.cases
        )

    def _batch(self, case: Case) -> npt.NDArray[Any]:
        return inputs_of(case, self.data)[self.image]


def goldens_of(folder: Path, model_sha384: str, manifest: Manifest) -> Goldens | None:
    """The golden files in a slot's folder, or None where the release has none.

    Raises ``BundleRefused`` (``golden``), ``EngineUnavailable`` where they cannot be read.
    """
    try:
        raw = read_at_most(folder / GOLDEN_FILE, MAX_GOLDEN_BYTES)
        golden = parse_golden(raw, model_sha384=model_sha384, manifest=manifest)
        with (folder / GOLDEN_DATA_FILE).open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as e:
        if e.filename is not None and Path(e.filename).name == GOLDEN_FILE:
            return None
        raise EngineUnavailable(f"{folder}: expected {GOLDEN_DATA_FILE} beside {GOLDEN_FILE}") from e
    except (OSError, ValueError) as e:  # an empty file cannot be mapped
        raise EngineUnavailable(f"{folder}: the golden files cannot be read: {e}") from e
    check_data(golden, data)
    return Goldens(golden=golden, data=data, image=manifest.input.name)
