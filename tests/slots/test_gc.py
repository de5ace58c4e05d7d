"""Collecting what serves nobody; what serves stays, whatever happens on the way."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BundleRefused
from appliance.slots import auditlog

PRODUCT = "acme/people"


def _names(gone: Any) -> list[str]:
    return [each.path.name for each in gone]


def test_a_device_in_order_has_nothing_to_collect_and_says_nothing(device: Any, two: Path) -> None:
    device.install(two)
    seen, lines = device.seen(), device.audit()
    assert device.slots.gc(5) == ()
    assert (device.seen(), device.audit()) == (seen, lines)


def test_what_a_killed_installation_left_goes(device: Any, two: Path) -> None:
    folder = device.state / "slots" / PRODUCT
    (device.state / "staging" / "files").mkdir(parents=True)
    (device.state / "staging" / "files" / "model.onnx").write_bytes(bytes(1000))
    (folder / "b").mkdir()
    (folder / "b" / "model.onnx").write_bytes(bytes(500))
    (folder / "slots.json.new").write_bytes(b"{")
    gone = device.slots.gc(5)
    assert _names(gone) == ["staging", "b", "slots.json.new"]
    assert [each.length for each in gone] == [1000, 500, 1]
    assert not any(each.path.exists() for each in gone)
    assert device.audit()[-1]["event"] == "bundle.gc"
    assert device.audit()[-1]["count"] == 3
    assert device.slots.active(PRODUCT).version == "1.0.0"
    device.install(two)


def test_a_revoked_release_goes_and_the_slot_in_service_stays(device: Any, bench: Any) -> None:
    device.install(bench.make("three", revokes=(f"{PRODUCT}#1",)))
    assert _names(device.slots.gc(5)) == ["a"]
    assert [(view.slot, view.active) for view in device.slots.list()] == [("b", True)]
    assert device.slots.active(PRODUCT).counter == 3
    with pytest.raises(BundleRefused) as caught:
        device.slots.rollback(PRODUCT, 6)
    assert caught.value.reason == "slot-empty"


def test_the_release_before_goes_only_if_asked_and_only_when_the_new_one_is_healthy(device: Any, two: Path) -> None:
    device.install(two)
    assert device.slots.gc(5) == ()
    assert device.slots.gc(5, previous=True) == ()
    device.slots.confirm(PRODUCT, 6)
    assert device.slots.gc(7) == ()
    assert _names(device.slots.gc(7, previous=True)) == ["a"]
    assert device.slots.active(PRODUCT).version == "2.0.0"


def test_nothing_is_collected_while_an_installation_runs(device: Any) -> None:
    (device.state / "staging").mkdir()
    with (device.state / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BundleRefused) as caught:
            device.slots.gc(5)
    assert caught.value.reason == "busy"
    assert (device.state / "staging").is_dir()


def test_trust_and_audit_are_never_touched(device: Any, two: Path) -> None:
    device.install(two)
    device.slots.confirm(PRODUCT, 5)
    trust = {name: raw for name, raw in device.seen().items() if name.startswith(("trust/", "anchor"))}
    device.slots.gc(6, previous=True)
    assert {name: raw for name, raw in device.seen().items() if name.startswith(("trust/", "anchor"))} == trust
    assert auditlog.verify(device.state / "audit").beyond == 0
