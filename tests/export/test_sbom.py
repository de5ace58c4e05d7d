"""The bill of materials of a release: valid by CycloneDX's own schema, true, and taken by the device."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from appliance.errors import UsageError
from appliance.slots import Slots
from export import sbom
from tests.support.networks import MANIFEST

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NOW_NS = 1_796_126_400_000_000_000
DESK = "desk --model model.onnx --manifest model.json --card card.md --product acme/people --keys fleet --out stick"
SUBJECT = sbom.Subject(product="acme/people", version="1.0.0", counter=1)


def _page(bench: Path, subject: sbom.Subject = SUBJECT) -> dict[str, Any]:
    listed: Any = {
        "model.onnx": ("onnx", bench / "model.onnx"),
        "model.json": ("manifest", bench / "model.json"),
        "card.md": ("card", bench / "card.md"),
    }
    text = sbom.make(listed, subject, NOW)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert fault is None, fault
    return json.loads(text)  # type: ignore[no-any-return]


def _component(page: dict[str, Any], ref: str) -> dict[str, Any]:
    return next(part for part in page["components"] if part["bom-ref"] == ref)


def test_a_page_is_valid_cyclonedx_and_names_every_file_by_its_digest(bench: Path) -> None:
    page = _page(bench)
    assert (page["specVersion"], page["metadata"]["timestamp"]) == ("1.6", "2026-11-26T12:00:00+00:00")
    for name in ("model.onnx", "model.json", "card.md"):
        digest = hashlib.sha384((bench / name).read_bytes()).hexdigest()
        assert _component(page, name)["hashes"] == [{"alg": "SHA-384", "content": digest}]
    (whole,) = [entry for entry in page["dependencies"] if entry["ref"] == "acme/people#1"]
    assert sorted(whole["dependsOn"]) == ["card.md", "model.json", "model.onnx"]


def test_the_network_is_described_by_what_stands_in_its_file(bench: Path) -> None:
    network = _component(_page(bench), "model.onnx")
    facts = {entry["name"]: entry["value"] for entry in network["properties"]}
    assert network["type"] == "machine-learning-model"
    assert facts["edge:onnx:inputs"] == "images float32 [1, 3, 32, 32]"
    assert facts["edge:onnx:operators"] == "ReduceMean 1, Add 1"
    assert facts["edge:onnx:parameters"] == str(21 * 6)
    assert facts["edge:onnx:opset"] == "17"


@pytest.mark.parametrize(
    ("licence", "written"),
    [
        ("", None),
        ("Apache-2.0", {"license": {"id": "Apache-2.0"}}),
        ("MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("ask our lawyers", {"license": {"name": "ask our lawyers"}}),
    ],
)
def test_a_licence_is_what_the_manifest_says_and_never_a_guess(bench: Path, licence: str, written: Any) -> None:
    (bench / "model.json").write_text(json.dumps(MANIFEST | {"licence": licence}))
    found = _component(_page(bench), "model.onnx").get("licenses")
    assert found == (None if written is None else [written])


def test_the_same_release_has_the_same_page_and_another_has_another_number(bench: Path) -> None:
    assert _page(bench) == _page(bench)
    other = sbom.Subject(product="acme/people", version="1.0.0", counter=2)
    assert _page(bench)["serialNumber"] != _page(bench, other)["serialNumber"]


def test_the_tools_that_made_it_are_named_with_their_versions(bench: Path) -> None:
    tools = {tool["name"]: tool["version"] for tool in _page(bench)["metadata"]["tools"]["components"]}
    assert {"edge-appliance", "onnx", "onnxruntime", "tuf"} <= tools.keys()
    assert tools["tuf"] == "7.0.1"


def test_a_file_that_is_no_network_has_no_page(bench: Path) -> None:
    (bench / "model.onnx").write_bytes(b"\x08\x08 a network of a few bytes")
    with pytest.raises(UsageError, match="expected an ONNX network"):
        _page(bench)


def test_every_bundle_carries_one_and_a_device_installs_it(bench: Path, run: Any) -> None:
    assert run(DESK)[0] == 0
    (path,) = (bench / "stick").rglob("*.sbom.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None
    device = Slots(bench / "state", self_test=lambda folder, model, manifest: "a test")
    device.provision((bench / "fleet" / "published" / "1.root.json").read_bytes())
    release = device.install(bench / "stick", "acme/people", NOW_NS)
    assert release.counter == 1


def test_staging_carries_one_as_well(bench: Path, run: Any) -> None:
    run("trust init fleet")
    code, out, _ = run(f"{DESK.replace('desk', 'bundle', 1).replace('stick', 'staging')} --version 1 --counter 1")
    assert (code, "listed sbom.json (sbom," in out) == (0, True)


def test_a_page_that_the_integrator_gives_is_the_one_that_travels(bench: Path, run: Any) -> None:
    (bench / "ours.json").write_text('{"bomFormat": "CycloneDX"}')
    assert run(f"{DESK} --add sbom=ours.json")[0] == 0
    (path,) = (bench / "stick").rglob("*.ours.json")
    assert path.read_text() == '{"bomFormat": "CycloneDX"}'
    assert not list((bench / "stick").rglob("*.sbom.json"))
