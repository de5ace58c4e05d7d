"""Builds in their child process, with the real builder of TensorRT for RTX, and every way in which one can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.engines.build import Build, Limits, Plan
from appliance.engines.builder import BuildCancelled
from appliance.engines.nvidia import tensorrt_module
from appliance.engines.profiles import Profile, ShapeRange, profiles_of
from appliance.engines.progress import Progress
from appliance.errors import EngineUnavailable


def run(build: Build) -> tuple[Plan, list[Progress]]:
    told: list[Progress] = []
    return build.run(told.append), told


def child(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def misbehaving(program: str, *, limits: Limits | None = None) -> Build:
    return Build(b"onnx", [], "tensorrt-rtx", limits=limits, command=child(program))


@pytest.mark.usefixtures("rtx")
def test_the_shipped_model_is_built_with_progress_that_only_rises(shipped: tuple[bytes, Manifest]) -> None:
    network, manifest = shipped
    plan, told = run(Build(network, profiles_of(manifest), "tensorrt-rtx"))
    fractions = [each.fraction for each in told]
    assert len(plan.data) > 500_000
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len({each for each in fractions if 0.0 < each < 1.0}) >= 2
    assert any(each.left_s is not None for each in told)
    assert plan.version.count(".") == 3


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("name", ["yolox_nano", "yunet"])
def test_integrators_models_are_built(name: str, repository: Path, shared_data: Path) -> None:
    file = {"yolox_nano": "yolox_nano.onnx", "yunet": "yunet_n_dynamic.onnx"}[name]
    manifest = parse_manifest((repository / "models" / "manifests" / f"{name}.json").read_bytes())
    plan, told = run(Build((shared_data / "models" / file).read_bytes(), profiles_of(manifest), "tensorrt-rtx"))
    assert len(plan.data) > 500_000
    assert [each.fraction for each in told] == sorted(each.fraction for each in told)


@pytest.mark.usefixtures("rtx")
def test_a_build_is_cancelled_within_about_a_second_and_leaves_no_process(
    repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    manifest = parse_manifest((repository / "models" / "manifests" / "yolox_nano.json").read_bytes())
    network = (shared_data / "models" / "yolox_nano.onnx").read_bytes()
    build = Build(network, profiles_of(manifest), "tensorrt-rtx", timing_cache=tmp_path / "cache")
    before = _children()
    asked: list[float] = []

    def tell(progress: Progress) -> None:
        if progress.fraction > 0.05 and not asked:
            asked.append(time.monotonic())
            build.cancel()

    with pytest.raises(BuildCancelled):
        build.run(tell)
    assert time.monotonic() - asked[0] < 3.0  # a second, and room for a machine that does other things
    assert _children() == before


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.usefixtures("rtx")
def test_timings_are_kept_for_the_next_build(tmp_path: Path, bright: bytes, manifest: Manifest) -> None:
    """RTX's own cache is empty; that it is kept, and that a spoilt one is no obstacle, can be seen without a GPU."""
    cache = tmp_path / "timing" / "rtx.cache"
    run(Build(bright, profiles_of(manifest), "tensorrt-rtx", timing_cache=cache))
    assert cache.stat().st_size > 0
    assert cache.stat().st_mode & 0o777 == 0o600
    cache.write_bytes(b"not a cache")
    run(Build(bright, profiles_of(manifest), "tensorrt-rtx", timing_cache=cache))
    assert cache.read_bytes() != b"not a cache"


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("garbage", [b"", b"\x00" * 64, b"this is no network", b"\x08\x07\x12\x04junk"])
def test_garbage_is_no_network(garbage: bytes, manifest: Manifest) -> None:
    with pytest.raises(EngineUnavailable, match=r"cannot read this network: .+"):
        run(Build(garbage, profiles_of(manifest), "tensorrt-rtx"))


@pytest.mark.usefixtures("rtx")
def test_open_sides_without_a_profile_name_the_input_and_its_shape(bright: bytes) -> None:
    with pytest.raises(EngineUnavailable, match=r"input 'image' has open sides \[-1, -1, -1, 3\]: expected a profile"):
        run(Build(bright, [], "tensorrt-rtx"))


@pytest.mark.usefixtures("rtx")
def test_a_manifest_that_asks_for_other_shapes_is_told_both(shipped: tuple[bytes, Manifest]) -> None:
    wrong: Profile = {"picture": ShapeRange(low=(1, 8, 8, 3), best=(1, 8, 8, 3), high=(1, 8, 8, 3))}
    with pytest.raises(EngineUnavailable, match=r"expected shapes within \[-1, 192, 320, 3\]; the manifest asks for"):
        run(Build(shipped[0], [wrong], "tensorrt-rtx"))


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("operator", "domain"), [("NoSuchOperator", ""), ("Special", "vendor.custom")], ids=["unknown", "custom domain"]
)
def test_an_operator_that_tensorrt_lacks_is_named(operator: str, domain: str) -> None:
    node = helper.make_node(operator, ["image"], ["scores"], name="the_odd_one", domain=domain)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([node], "odd", [image], [scores])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("vendor.custom", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(EngineUnavailable, match=rf"node 'the_odd_one' \({operator}\)"):
        run(Build(model.SerializeToString(), [], "tensorrt-rtx"))


@pytest.mark.usefixtures("rtx")
def test_int8_for_the_cpu_is_refused_with_tensorrts_reason() -> None:
    """INT8 for the CPU is asymmetric; TensorRT takes symmetric Q/DQ alone, and says so."""
    constants = [
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.uint8(3), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(nodes, "q", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(EngineUnavailable, match=r"cannot (read|build) this network: .+"):
        run(Build(model.SerializeToString(), [], "tensorrt-rtx"))


def test_a_flavour_that_is_not_installed_is_named(bright: bytes, manifest: Manifest) -> None:
    try:
        tensorrt_module("tensorrt")
    except EngineUnavailable:
        with pytest.raises(EngineUnavailable, match="expected tensorrt to be installed; found tensorrt"):
            run(Build(bright, profiles_of(manifest), "tensorrt"))
    else:
        pytest.skip("TensorRT is installed here")


# --- children that misbehave

DEATHS: dict[str, tuple[str, str]] = {
    "segmentation fault": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        r"was killed by SIGSEGV \(the library crashed\)",
    ),
    "abort": ("import os; os.abort()", "was killed by SIGABRT"),
    "killed by the kernel or a person": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        r"was killed by SIGKILL \(out of memory, or by hand\)",
    ),
    "an exit without a word": ("import sys; sys.exit(3)", "ended with 3 before it was done"),
    "an exception": ("raise ValueError('boom')", "ended with 1 before it was done: ValueError: boom"),
    "nonsense": ("print('hello', flush=True); import time; time.sleep(30)", "something that is no progress: b'hello'"),
    "an endless line": (
        "import sys\nwhile True: sys.stdout.write('x' * 65536); sys.stdout.flush()",
        "something that is no progress",
    ),
    "a plan that is not there": (
        """print('{"type":"done","outcome":"built","plan_bytes":10,"version":"1"}', flush=True)""",
        "expected a plan of 10 bytes from the build; found 0",
    ),
    "a failure that it tells": (
        """print('{"type":"done","outcome":"failed","says":"no luck"}', flush=True)""",
        "^no luck$",
    ),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_child_that_dies_or_talks_nonsense_is_an_error_that_says_how(death: str) -> None:
    program, message = DEATHS[death]
    with pytest.raises(EngineUnavailable, match=message):
        run(misbehaving(program))


HANGS = "import time; time.sleep(60)"


def test_a_build_that_takes_too_long_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(EngineUnavailable, match="longer than its limit of 0 s"):
        run(misbehaving(HANGS, limits=Limits(time_s=0.3)))
    assert time.monotonic() - begun < 5.0


def test_a_build_that_takes_too_much_memory_is_ended() -> None:
    program = "kept = bytearray(b'x' * (300 << 20)); import time; time.sleep(60)"
    with pytest.raises(EngineUnavailable, match=r"MiB of memory; its limit is 100 MiB"):
        run(misbehaving(program, limits=Limits(memory_bytes=100 << 20)))


def test_a_child_that_does_not_listen_is_killed() -> None:
    build = misbehaving(HANGS)
    threading.Timer(0.3, build.cancel).start()
    begun = time.monotonic()
    with pytest.raises(BuildCancelled):
        run(build)
    assert time.monotonic() - begun < 5.0


@pytest.mark.usefixtures("rtx")
def test_a_build_ends_when_whoever_asked_for_it_is_killed(repository: Path, shared_data: Path) -> None:
    """The end of its input tells the child; nobody is left to read what it makes."""
    program = f"""
import os
from pathlib import Path
from appliance.bundles.manifest import parse_manifest
from appliance.engines.build import Build
from appliance.engines.profiles import profiles_of
manifest = parse_manifest(Path({str(repository / "models/manifests/yolox_nano.json")!r}).read_bytes())
network = Path({str(shared_data / "models/yolox_nano.onnx")!r}).read_bytes()
def tell(progress):
    if progress.fraction > 0.05:
        children = Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()
        print(*children, flush=True)
        os.kill(os.getpid(), 9)
Build(network, profiles_of(manifest), "tensorrt-rtx").run(tell)
"""
    done = subprocess.run(child(program), capture_output=True, text=True, timeout=60, check=False, cwd=repository)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = done.stdout.split()
    assert len(pids) == 1
    deadline = time.monotonic() + 10.0
    while _is_alive(int(pids[0])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(int(pids[0]))


def _is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_what_a_child_tells_cannot_make_the_fraction_fall() -> None:
    lines = [f'{{"type":"step","fraction":{f},"phase":"p"}}' for f in (0.2, 0.7, 0.1, 5.0, 0.3)]
    done = '{"type":"done","outcome":"failed","says":"enough"}'
    program = f"print({chr(10).join([*lines, done])!r}, flush=True)"
    told: list[Any] = []
    with pytest.raises(EngineUnavailable, match="enough"):
        misbehaving(program).run(told.append)
    assert [each.fraction for each in told] == [0.2, 0.7, 0.7, 1.0, 1.0]
