"""What is signed by everybody who must sign, and still not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BundleRefused

PRODUCT = "acme/people"


def test_a_release_for_another_unit_is_refused(device: Any, bench: Any) -> None:
    assert "unit-1" in device.refuses(bench.make("three", units=("unit-2", "south")), "wrong-unit")


def test_a_device_without_a_name_takes_only_what_is_for_every_unit(
    bench: Any, tmp_path: Path, device: Any, one: Path
) -> None:
    (tmp_path / "other").mkdir()
    nameless = type(device)(tmp_path / "other" / "state")
    nameless.slots.provision(bench.anchor)
    nameless.refuses(bench.make("three", units=("unit-1",)), "wrong-unit")
    nameless.install(bench.make("four"))


def test_an_empty_unit_name_in_a_release_means_nobody(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body.update(units=[""]))
    device.refuses(two, "release")


def test_a_product_that_is_not_on_the_stick_is_refused(device: Any, two: Path) -> None:
    device.refuses(two, "no-such-product", product="acme/boats")


@pytest.mark.parametrize(
    "product", ["", "acme", "acme/people/x", "../people", "acme/..", "ACME/people", "acme/" + "x" * 99]
)
def test_a_product_name_that_cannot_be_is_refused(device: Any, two: Path, product: str) -> None:
    device.refuses(two, "no-such-product", product=product)


def test_a_release_that_speaks_of_another_product_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body.update(product="acme/boats"))
    device.refuses(two, "wrong-product")


def test_a_release_for_other_hardware_is_refused(device: Any, bench: Any) -> None:
    device.refuses(bench.make("three", hw=("jetson-thor",)), "wrong-hardware")


def test_a_release_that_needs_a_newer_appliance_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body.update(min_app="999.1"))
    device.refuses(two, "app-too-old")


def test_a_lower_counter_than_the_confirmed_one_is_refused(device: Any, bench: Any) -> None:
    device.install(bench.make("five", counter=5))
    device.slots.confirm(PRODUCT, 7)
    device.refuses(bench.make("four", counter=4), "counter")
    device.install(bench.make("six", counter=6))


def test_a_revoked_release_is_refused_on_a_newer_stick(device: Any, bench: Any) -> None:
    device.install(bench.make("five", counter=5, revokes=(f"{PRODUCT}#3",)))
    device.refuses(bench.make("three", counter=3), "revoked")


def test_a_release_issued_after_its_own_metadata_expires_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body.update(issued="2099-01-01T00:00:00Z"))
    device.refuses(two, "issued")
    assert device.slots.trust.state().floor_ns < 2_000_000_000_000_000_000


@pytest.mark.parametrize("issued", ["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z"])
def test_a_release_issued_at_a_time_that_is_none_is_refused(device: Any, bench: Any, two: Path, issued: str) -> None:
    bench.edit_release(two, lambda body: body.update(issued=issued))
    device.refuses(two, "issued")


@pytest.mark.parametrize(
    "change",
    [
        {"release_counter": 0},
        {"release_counter": -1},
        {"release_counter": 2**63},
        {"release_counter": "2"},
        {"release_counter": 2.5},
        {"files": []},
        {"units": []},
        {"version": "../1"},
        {"version": ""},
        {"version": "1\n"},
        {"product": "acme/people\n"},
        {"issued": "2026-12-01T00:00:00Z\n"},
        {"issued": "yesterday"},
        {"surprise": 1},
        {"revokes": ["acme/people"]},
        {"notes": "x" * 5000},
        {"min_app": "latest"},
    ],
)
def test_a_release_that_does_not_hold_to_the_format_is_refused(
    device: Any, bench: Any, two: Path, change: dict[str, Any]
) -> None:
    bench.edit_release(two, lambda body: body.update(change))
    device.refuses(two, "release")


@pytest.mark.parametrize("schema", ["edge-release/2", "", "EDGE-RELEASE/1", "x" * 1000])
def test_a_release_of_a_schema_that_this_version_does_not_know_is_refused(
    device: Any, bench: Any, two: Path, schema: str
) -> None:
    bench.edit_release(two, lambda body: body.update(schema=schema))
    device.refuses(two, "release-schema")


@pytest.mark.parametrize("raw", [b"not json", b"[" * 10_000, b"\xff", b'{"schema":"edge-release/1"', b"null", b"[]"])
def test_a_release_that_is_no_json_object_is_refused(device: Any, bench: Any, two: Path, raw: bytes) -> None:
    bench.write_release(two, raw)
    device.refuses(two, "release")


def test_a_release_without_end_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.write_release(two, b" " * (300 * 1024))
    device.refuses(two, "too-long")


@pytest.mark.parametrize(
    "name",
    [
        "model.engine",
        "model.plan",
        "model.trt",
        "plugin.so",
        "hook.py",
        "weights.pkl",
        "weights.pt",
        "weights.pth",
        "arrays.npz",
        "run.sh",
        "lib.so.json",
        "model.onnx.engine",
        "setup.py.md",
    ],
)
def test_a_file_that_is_code_by_its_name_is_refused(device: Any, bench: Any, two: Path, name: str) -> None:
    bench.add_file(two, name, "golden", b"harmless")
    device.refuses(two, "file-type")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("notes.md", "labels"),
        ("network", "golden"),
        ("model2.json", "manifest"),
        ("a.onnx", "card"),
        ("x.unknown", "golden"),
    ],
)
def test_a_file_that_its_role_does_not_allow_is_refused(
    device: Any, bench: Any, two: Path, name: str, role: str
) -> None:
    bench.add_file(two, name, role, b"{}")
    device.refuses(two, "file-type")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x7fELF\x02\x01\x01",
        b"MZ\x90\x00",
        b"#!/bin/sh\n",
        b"PK\x03\x04....",
        b"\x80\x04\x95....",
        b"ptrt....",
        b"ftrt....",
        b"\x93NUMPY\x01\x00",
    ],
)
def test_a_file_that_is_code_by_its_content_is_refused(device: Any, bench: Any, two: Path, raw: bytes) -> None:
    bench.add_file(two, "extra.txt", "labels", raw)
    device.refuses(two, "file-type")


@pytest.mark.parametrize(
    "path", ["../model.onnx", "/etc/passwd", "a/b.json", ".hidden.json", "UPPER.json", "a\\b.json", "a.json\n", ""]
)
def test_a_file_with_a_hostile_name_is_refused(device: Any, bench: Any, two: Path, path: str) -> None:
    bench.edit_release(two, lambda body: body["files"][0].update(path=path))
    device.refuses(two, "release")


def test_a_role_that_does_not_exist_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body["files"][0].update(role="onnx-external-data"))
    device.refuses(two, "release")


def test_a_release_that_lists_a_file_twice_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(two, lambda body: body["files"].append(dict(body["files"][0])))
    device.refuses(two, "file-set")


def test_a_release_that_lists_itself_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit_release(
        two, lambda body: body["files"].append({**body["files"][0], "path": "release.json", "role": "labels"})
    )
    device.refuses(two, "file-set")


@pytest.mark.parametrize("role", ["onnx", "manifest"])
def test_a_release_without_a_network_or_a_manifest_is_refused(device: Any, bench: Any, two: Path, role: str) -> None:
    def drop(body: dict[str, Any]) -> None:
        body["files"] = [file for file in body["files"] if file["role"] != role]

    bench.edit_release(two, drop)
    device.refuses(two, "file-set")


def test_two_networks_in_one_release_are_refused(device: Any, bench: Any, two: Path) -> None:
    bench.add_file(two, "other.onnx", "onnx", b"\x08\x08")
    device.refuses(two, "file-set")


def test_a_file_on_the_stick_that_no_list_has_is_refused(device: Any, two: Path) -> None:
    (two / "t" / PRODUCT / ("0" * 96 + ".extra.md")).write_text("unlisted")
    device.refuses(two, "unlisted")


def test_a_signed_target_that_the_release_does_not_list_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.add_target(two, "extra.md", b"signed but not listed")
    device.refuses(two, "release-mismatch")


def test_a_release_that_lists_what_the_targets_do_not_is_refused(device: Any, bench: Any, two: Path) -> None:
    entry = {"path": "extra.md", "role": "card", "length": 1, "sha384": "0" * 96}
    bench.edit_release(two, lambda body: body["files"].append(entry))
    device.refuses(two, "release-mismatch")


def test_the_release_of_one_with_the_payload_of_another_is_refused(
    device: Any, bench: Any, one: Path, two: Path
) -> None:
    """Both signed by everybody: the two lists disagree."""
    raw = next((one / "t" / PRODUCT).glob("*.release.json")).read_bytes()
    bench.write_release(two, raw)
    device.refuses(two, "release-mismatch")


def test_a_manifest_that_cannot_be_read_is_refused(device: Any, bench: Any, two: Path) -> None:
    raw = json.dumps({"schema": "edge.manifest/1", "name": "no"}).encode()
    bench.replace_file(two, "model.json", raw)
    device.refuses(two, "manifest")


def test_a_device_without_a_root_of_trust_believes_nothing(device: Any, tmp_path: Path, two: Path) -> None:
    (tmp_path / "blank").mkdir()
    blank = type(device)(tmp_path / "blank" / "state")
    with pytest.raises(BundleRefused) as caught:
        blank.install(two)
    assert caught.value.reason == "no-anchor"


def test_a_root_of_trust_is_given_once(device: Any, bench: Any, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = type(bench)(tmp_path / "stranger")
    stranger.make("stick")
    seen = device.seen()
    with pytest.raises(BundleRefused) as caught:
        device.slots.provision(stranger.anchor, unit="mine-now")
    assert caught.value.reason == "anchor-exists"
    assert device.seen() == seen
    device.slots.provision(bench.anchor, unit="mine-now")  # the same root again is no harm, and renames nobody
    assert device.slots.trust.unit().unit == "unit-1"


def test_a_root_of_trust_must_be_version_one_and_signed_by_itself(device: Any, bench: Any, tmp_path: Path) -> None:
    (tmp_path / "blank").mkdir()
    blank = type(device)(tmp_path / "blank" / "state")
    body = json.loads(bench.anchor)
    del body["signatures"][0]
    cases = {
        b"{}": "metadata",
        json.dumps(body, sort_keys=True, separators=(",", ":")).encode(): "signature",
        (bench.fleet.published / "timestamp.json").read_bytes(): "anchor",
    }
    for raw, reason in cases.items():
        with pytest.raises(BundleRefused) as caught:
            blank.slots.provision(raw)
        assert caught.value.reason == reason
    assert blank.seen() == {}
