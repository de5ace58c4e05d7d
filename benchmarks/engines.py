"""Building in a child and opening a sealed plan, against the bare calls under them, in the same run.

    python -m benchmarks engines

The floor of a build is TensorRT for RTX's builder called in this process, with nothing round it; the floors of opening
are one AES-256-GCM decryption and one SHA-384 of as many bytes. The best of a few turns counts. Without the extra `rtx`
only opening is measured.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.engines.binding import Binding
from appliance.engines.build import DEFAULT_WORKSPACE_BYTES, Build, Plan
from appliance.engines.builder import Listener, Recipe, build
from appliance.engines.nvidia import tensorrt_module
from appliance.engines.profiles import profiles_of
from appliance.engines.store import EngineStore, StoredEngine
from appliance.errors import EngineUnavailable
from benchmarks.tables import Table, shared_data

TURNS = 3
PLAN_BYTES = 256 * 1024 * 1024
REPOSITORY = Path(__file__).resolve().parents[1]
DEAF = Listener(start=lambda *_: None, step=lambda *_: None, end=lambda *_: None, go_on=lambda: True)


def main() -> int:
    """Print both tables."""
    print(_builds())
    print()
    print(_opening())
    return 0


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def _models() -> Iterator[tuple[str, bytes, Manifest]]:
    own, given = REPOSITORY / "models", shared_data() / "models"
    for name, network, page in (
        ("harbour", own / "harbour" / "harbour.onnx", own / "harbour" / "model.json"),
        ("yolox_nano", given / "yolox_nano.onnx", own / "manifests" / "yolox_nano.json"),
    ):
        yield name, network.read_bytes(), parse_manifest(page.read_bytes())


def _builds() -> Table | str:
    try:
        trt = tensorrt_module("tensorrt-rtx")
    except EngineUnavailable as e:
        return f"no builds: {e}"
    warnings.simplefilter("ignore")  # RTX calls its timing cache deprecated at every use
    table = Table(["network", "bare builder s", "in a child, with progress s", "ratio"])
    for name, network, manifest in _models():
        profiles = profiles_of(manifest)
        recipe = Recipe(onnx=network, profiles=profiles, workspace_bytes=DEFAULT_WORKSPACE_BYTES)
        bare = _best(lambda recipe=recipe: build(trt, recipe, DEAF, lambda _: None))
        ours = _best(lambda n=network, p=profiles: Build(n, p, "tensorrt-rtx").run(lambda _: None))
        table.row(name, f"{bare:.2f}", f"{ours:.2f}", f"{ours / bare:.2f}")
    return table


def _opening() -> Table:
    data = os.urandom(PLAN_BYTES)
    binding = Binding(
        model_sha384="0" * 96, flavour="tensorrt", tensorrt="0", sm="0", gpu="", driver="",
        options_sha384="0" * 96, unit="bench", product="bench/plan", slot="a",
    )  # fmt: skip
    aead = AESGCM(AESGCM.generate_key(256))
    sealed = aead.encrypt(bytes(12), data, b"")
    with tempfile.TemporaryDirectory() as folder:
        store = EngineStore(Path(folder))
        store.put(Plan(data=data, version="0", warnings=(), seconds=0.0), binding, 1)
        ours = _best(lambda: _found(store, binding))
    decrypt = _best(lambda: aead.decrypt(bytes(12), sealed, b""))
    digest = _best(lambda: hashlib.sha384(data).digest())
    table = Table([f"a plan of {PLAN_BYTES // 2**20} MiB", "s", "MB/s", "× the floor"])
    floor = decrypt + digest
    for name, seconds in (
        ("AES-256-GCM alone", decrypt),
        ("SHA-384 alone", digest),
        ("found, unsealed and proven", ours),
    ):
        table.row(name, f"{seconds:.3f}", f"{PLAN_BYTES / seconds / 1e6:.0f}", f"{seconds / floor:.2f}")
    return table


def _found(store: EngineStore, binding: Binding) -> None:
    if not isinstance(store.find(binding), StoredEngine):
        sys.exit("the sealed plan was not found again")


if __name__ == "__main__":
    sys.exit(main())
