"""Golden files as the bench makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from appliance.bundles.answers import check_data
from appliance.bundles.golden import parse_golden
from appliance.bundles.manifest import parse_manifest
from appliance.errors import UsageError
from export import golden as goldens

pytest.importorskip("onnxruntime", reason="the desk's runtime is not installed")


def test_the_same_network_gives_the_same_files(bench: Path) -> None:
    pages = [goldens.make(bench / "model.onnx", bench / "model.json", bench / name) for name in ("a", "b")]
    assert pages[0] == pages[1]
    for name in ("golden.json", "golden.bin"):
        assert (bench / "a" / name).read_bytes() == (bench / "b" / name).read_bytes()
    assert [case.name for case in pages[0].cases] == ["noise", "blocks"]


def test_what_was_made_is_what_the_device_reads(bench: Path) -> None:
    made = goldens.make(bench / "model.onnx", bench / "model.json", bench / "g")
    manifest = parse_manifest((bench / "model.json").read_bytes())
    read = parse_golden((bench / "g" / "golden.json").read_bytes(), model_sha384=made.model_sha384, manifest=manifest)
    check_data(read, memoryview((bench / "g" / "golden.bin").read_bytes()))
    assert read == made


def test_pictures_that_a_person_gives_are_prepared_as_frames_are(bench: Path, run: Any) -> None:
    cv2.imwrite(str(bench / "quay.png"), np.full((64, 64, 3), 77, np.uint8))
    code, out, _ = run("golden --model model.onnx --manifest model.json --out g --picture quay.png")
    assert code == 0
    assert "case picture-0 (quay.png)" in out
    first = np.frombuffer((bench / "g" / "golden.bin").read_bytes()[: 3 * 32 * 32 * 4], np.float32)
    assert (first == 77).all()


def test_a_picture_that_is_none_is_bad_usage(bench: Path) -> None:
    (bench / "not.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"not\.png"):
        goldens.make(bench / "model.onnx", bench / "model.json", bench / "g", pictures=(bench / "not.png",))


@pytest.mark.parametrize(("name", "manifest"), [("yolox_nano", "yolox_nano"), ("yunet_n_dynamic", "yunet")])
def test_real_detectors_get_golden_files(
    shared_data: Path, repository: Path, tmp_path: Path, name: str, manifest: str
) -> None:
    page = repository / "models" / "manifests" / f"{manifest}.json"
    made = goldens.make(shared_data / "models" / f"{name}.onnx", page, tmp_path)
    for both in made.tolerances.values():
        assert 0 < both.tolerance.absolute < both.engine_tolerance.absolute
        assert both.tolerance.outliers == 0


def test_a_graph_that_chooses_among_scores_may_choose_otherwise_at_a_few_places(
    repository: Path, tmp_path: Path
) -> None:
    harbour = repository / "models" / "harbour"
    made = goldens.make(harbour / "harbour.onnx", harbour / "model.json", tmp_path)
    assert {both.tolerance.outliers for both in made.tolerances.values()} == {0.02}


def test_a_person_may_give_golden_files_or_none(bench: Path, run: Any) -> None:
    run("golden --model model.onnx --manifest model.json --out g")
    line = "desk --model model.onnx --manifest model.json --product acme/people --keys fleet"
    assert run(f"{line} --out one --golden g/golden.json")[0] == 0
    code, out, _ = run(f"{line} --out two --no-golden")
    assert (code, "only ask whether the network loads" in out) == (0, True)
    files = {path.name.split(".", 1)[1] for path in (bench / "two" / "t" / "acme" / "people").iterdir()}
    assert files == {"model.onnx", "model.json", "sbom.json", "release.json"}
    page = json.loads((bench / "g" / "golden.json").read_bytes())
    (bench / "g" / "golden.json").write_text(json.dumps({**page, "model_sha384": "0" * 96}))
    code, _, err = run(f"{line} --out three --golden g/golden.json")
    assert (code, "[golden]" in err) == (3, True)


@pytest.mark.parametrize("name", ["golden.json", "golden.bin"])
def test_half_of_a_pair_of_golden_files_is_refused(bench: Path, run: Any, name: str) -> None:
    run("golden --model model.onnx --manifest model.json --out g")
    line = "desk --model model.onnx --manifest model.json --product acme/people --keys fleet --out one"
    code, _, err = run(f"{line} --add golden=g/{name}")
    assert (code, "[file-set]" in err) == (3, True)
