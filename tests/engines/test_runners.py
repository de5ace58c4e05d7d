"""What every runner promises: ONNX Runtime's, an engine's on a GPU of either kind (a fake), and CUDA's where it is.

The same tests run for each; those below them are about what only an engine's runner does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.bundles.manifest import Manifest
from appliance.engines.build import Limits
from appliance.engines.making import Site, engine_name, look_around, open_engine
from appliance.engines.nvidia import find_gpu
from appliance.engines.profiles import profiles_of
from appliance.engines.runner import EngineRunner
from appliance.engines.store import StoredEngine
from appliance.errors import BundleRefused, EngineUnavailable
from appliance.inference.runner import Runner, open_runner
from appliance.slots import ActiveModel, Slots
from tests.engines.conftest import BASE, FakeEngine, FakeGpu, FakeTensorRt, bright_network, open_sized_page, page

Open = Callable[[bytes, Manifest], Runner]


def on_fake(
    network: bytes, manifest: Manifest, *, shared_memory: bool = True
) -> tuple[EngineRunner, FakeGpu, FakeEngine]:
    gpu = FakeGpu(shared_memory=shared_memory)
    engine = FakeEngine(network, manifest, gpu)
    return EngineRunner(FakeTensorRt, engine, gpu, manifest, name="tensorrt 11.4.1 plan sha384:00"), gpu, engine  # type: ignore[arg-type]


def on_cuda(network: bytes, manifest: Manifest, folder: Path) -> Runner:
    """The real thing: built, sealed, loaded. Skips where there is no GPU."""
    try:
        find_gpu()
        slots = Slots(folder / "state")
        site: Site = look_around(folder / "state", slots, limits=Limits(workspace_bytes=1 << 28))
    except EngineUnavailable as e:
        pytest.skip(f"needs a GPU with TensorRT: {e}")
    import hashlib  # noqa: PLC0415

    from appliance.engines.build import Build  # noqa: PLC0415

    path = folder / "model.onnx"
    path.write_bytes(network)
    model = ActiveModel(
        manifest=manifest, model=path, digest=hashlib.sha384(network).hexdigest(), product="test/bright", version="1",
        slot="a", counter=1, release_digest="0" * 96, confirmed=False,
    )  # fmt: skip
    plan = Build(network, profiles_of(manifest), site.flavour, limits=site.limits).run(lambda _: None)
    stored = site.store.put(plan, site.binding(model), 1)
    found = site.store.find(site.binding(model))
    assert isinstance(found, StoredEngine)
    assert found.digest == stored.digest
    return open_engine(site, found, model)


@pytest.fixture(params=["onnxruntime", "integrated GPU (fake)", "card (fake)", "CUDA"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    kinds: dict[str, Open] = {
        "onnxruntime": open_runner,
        "integrated GPU (fake)": lambda network, manifest: on_fake(network, manifest)[0],
        "card (fake)": lambda network, manifest: on_fake(network, manifest, shared_memory=False)[0],
        "CUDA": lambda network, manifest: on_cuda(network, manifest, tmp_path),
    }
    return kinds[request.param]


def grey(*levels: int, side: int = 64) -> np.ndarray[Any, Any]:
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


def scores(runner: Runner, batch: np.ndarray[Any, Any]) -> list[float]:
    return [round(float(value), 3) for value in runner.run(batch)["scores"].ravel()]


def test_a_runner_answers_each_picture_of_a_batch_whatever_came_before(
    open_any: Open, bright: bytes, manifest: Manifest
) -> None:
    runner = open_any(bright, manifest)
    for _ in range(3):  # plainly, recorded, launched again
        assert scores(runner, grey(255)) == [1.0]
        assert scores(runner, grey(0, 51, 102, 255)) == [0.0, 0.2, 0.4, 1.0]
        assert scores(runner, grey(51, 0)) == [0.2, 0.0]
    for level in (0, 51, 102):
        assert scores(runner, grey(level)) == [round(level / 255, 3)]


def test_a_runner_gives_what_the_manifest_names_with_its_types(
    open_any: Open, bright: bytes, manifest: Manifest
) -> None:
    answer = open_any(bright, manifest).run(grey(255, 255, 255))
    assert {name: (value.shape, value.dtype.name) for name, value in answer.items()} == {
        "boxes": ((3, 1, 4), "float32"),
        "scores": ((3, 1, 1), "float32"),
    }


def test_an_answer_is_the_callers_to_keep_and_the_batch_is_not_kept(
    open_any: Open, bright: bytes, manifest: Manifest
) -> None:
    runner = open_any(bright, manifest)
    batch = grey(255)
    first = runner.run(batch)
    batch[:] = 0
    runner.run(batch)
    assert first["scores"].item() == pytest.approx(1.0)


def test_pictures_of_changing_size_are_answered_where_the_manifest_allows_them(open_any: Open, bright: bytes) -> None:
    runner = open_any(bright, open_sized_page())
    for side in (32, 128, 64, 64, 64, 128, 128, 32):
        assert scores(runner, grey(102, side=side)) == [0.4]


def test_a_network_that_is_not_what_its_manifest_says_is_refused(open_any: Open, bright: bytes) -> None:
    decoder = {**BASE["decoder"], "scores": "points"}
    with pytest.raises(BundleRefused, match=r"output 'points': .* found no such output") as refusal:
        open_any(bright, page(decoder=decoder))
    assert refusal.value.reason == "model-mismatch"


def test_what_the_network_cannot_take_is_unavailable_and_the_runner_goes_on(
    open_any: Open, bright: bytes, manifest: Manifest
) -> None:
    runner = open_any(bright, manifest)
    for wrong in (grey(1)[:, :, :, :1], grey(1).astype(np.float32)):
        with pytest.raises(EngineUnavailable):
            runner.run(wrong)
    assert scores(runner, grey(255)) == [1.0]


def test_a_runner_says_what_runs(open_any: Open, bright: bytes, manifest: Manifest) -> None:
    provider = open_any(bright, manifest).provider
    assert provider.startswith(("onnxruntime ", "tensorrt"))
    assert any(character.isdigit() for character in provider)


# --- an engine's runner alone


def test_shared_memory_is_never_copied_and_a_card_is_copied_to_and_from(bright: bytes, manifest: Manifest) -> None:
    shared, gpu, _ = on_fake(bright, manifest)
    scores(shared, grey(255))
    assert gpu.copies == []
    card, gpu, _ = on_fake(bright, manifest, shared_memory=False)
    scores(card, grey(255))
    assert gpu.copies == ["up", "down", "down"]


@pytest.mark.parametrize("shared_memory", [True, False])
def test_each_profile_has_one_graph_recorded_the_second_time_and_launched_from_then_on(
    bright: bytes, manifest: Manifest, shared_memory: bool
) -> None:
    runner, gpu, _ = on_fake(bright, manifest, shared_memory=shared_memory)
    for _ in range(5):
        scores(runner, grey(255))
        scores(runner, grey(0, 255))
    assert (gpu.captures, gpu.launches) == (2, 8)


def test_another_shape_drops_the_graph_of_the_one_before(bright: bytes, manifest: Manifest) -> None:
    runner, gpu, _ = on_fake(bright, manifest)
    for batch in (2, 2, 3, 2, 2, 2):
        assert len(scores(runner, grey(*[255] * batch))) == batch
    assert (gpu.captures, gpu.launches) == (2, 3)


def test_where_no_graph_can_be_recorded_the_runner_goes_on_and_says_so(bright: bytes, manifest: Manifest) -> None:
    runner, gpu, _ = on_fake(bright, manifest)
    gpu.refuse_capture = True
    assert [scores(runner, grey(255)) for _ in range(3)] == [[1.0]] * 3
    assert runner.provider.endswith("(without CUDA graphs: CUDA cuStreamEndCapture gave error 901)")


def test_every_call_has_the_context_and_gives_it_back(bright: bytes, manifest: Manifest) -> None:
    runner, gpu, engine = on_fake(bright, manifest)
    scores(runner, grey(255))
    engine.broken = True
    with pytest.raises(EngineUnavailable, match=r"TensorRT did not take the batch \[1, 64, 64, 3\]"):
        runner.run(grey(255))
    assert gpu.contexts == 0


def test_a_batch_beyond_the_profiles_says_what_was_expected(bright: bytes, manifest: Manifest) -> None:
    runner, _, _ = on_fake(bright, manifest)
    expected = r"expected a batch of \[1, 64, 64, 3\] to \[1, 64, 64, 3\]; \[2, 64, 64, 3\] to \[4, 64, 64, 3\]; found"
    with pytest.raises(EngineUnavailable, match=expected + r" \[5, 64, 64, 3\]"):
        runner.run(grey(*range(5)))


def test_a_gpu_without_memory_for_a_context_is_unavailable(bright: bytes, manifest: Manifest) -> None:
    gpu = FakeGpu(shared_memory=True)
    engine = FakeEngine(bright, manifest, gpu)
    engine.out_of_memory = True
    with pytest.raises(EngineUnavailable, match="no execution context"):
        EngineRunner(FakeTensorRt, engine, gpu, manifest, name="x")  # type: ignore[arg-type]


def test_an_engine_with_too_few_profiles_is_unavailable(bright: bytes, manifest: Manifest) -> None:
    gpu = FakeGpu(shared_memory=True)
    engine = FakeEngine(bright, manifest, gpu)
    engine.num_optimization_profiles = 1
    with pytest.raises(EngineUnavailable, match="expected an engine of 2 profiles; found 1"):
        EngineRunner(FakeTensorRt, engine, gpu, manifest, name="x")  # type: ignore[arg-type]


def test_the_shipped_models_answers_are_those_of_onnx_runtime(shipped: tuple[bytes, Manifest]) -> None:
    """Through buffers, profiles and graphs: the arithmetic is ONNX Runtime's own, so every number must be the same."""
    network, manifest = shipped
    runner, _, _ = on_fake(network, manifest, shared_memory=False)
    reference = open_runner(network, manifest)
    random = np.random.default_rng(3)
    for count in (1, 1, 1, 8, 8, 3):
        batch = random.integers(0, 255, (count, 192, 320, 3), dtype=np.uint8)
        mine, theirs = runner.run(batch), reference.run(batch)
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_the_name_of_an_engine_tells_its_digest(bright: bytes) -> None:
    from tests.engines.test_sealed import BOUND  # noqa: PLC0415

    assert engine_name("tensorrt", BOUND, "ab" * 48) == f"tensorrt 10.16.2 sm 8.7 plan sha384:{'ab' * 48}"
    assert bright_network() == bright
