"""Installing, switching, rolling back: what must work."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BundleRefused, Unavailable
from appliance.slots import auditlog
from export import media
from export.rotation import rotate

PRODUCT = "acme/people"
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9


def test_a_release_is_installed_and_serves(new_device: Any, one: Path) -> None:
    done = new_device.install(one)
    assert (done.slot, done.version, done.counter, done.activated, done.already) == ("a", "1.0.0", 1, True, False)
    model = new_device.slots.active(PRODUCT)
    assert model.version == "1.0.0"
    assert model.model.read_bytes() == (one.parent / "model.onnx").read_bytes()
    assert model.manifest.name == "small"
    assert not model.confirmed


def test_the_same_tree_in_one_archive_installs_without_being_unpacked(new_device: Any, bench: Any) -> None:
    stick = bench.make("three.tar", tar=True)
    new_device.install(stick)
    assert new_device.slots.active(PRODUCT).counter == 3


def test_each_check_signer_and_digest_is_said(new_device: Any, one: Path) -> None:
    said = []
    new_device.install(one, say=said.append)
    names = [check.name for check in said]
    assert names == ["time", *["signers"] * 5, "policy", "release", *["file"] * 6, "self-test", "slot"]
    assert any("root v1: 2 of 3 keys signed, 2 needed" in check.says for check in said)
    assert any("acme v1: 2 of 2 keys signed" in check.says for check in said)


def test_progress_ends_at_the_whole_payload(new_device: Any, one: Path) -> None:
    steps = []
    new_device.install(one, progress=lambda name, done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] > 0


def test_a_newer_release_goes_into_the_other_slot_and_the_older_stays_for_rollback(device: Any, two: Path) -> None:
    assert device.install(two).slot == "b"
    assert device.slots.active(PRODUCT).version == "2.0.0"
    assert [(view.slot, view.active, view.version) for view in device.slots.list()] == [
        ("a", False, "1.0.0"),
        ("b", True, "2.0.0"),
    ]
    assert device.slots.rollback(PRODUCT, 5).version == "1.0.0"
    assert device.slots.activate(PRODUCT, 6).version == "2.0.0"
    events = [line["event"] for line in device.audit()]
    assert events == [
        "bundle.install",
        "bundle.activate",
        "bundle.install",
        "bundle.activate",
        "bundle.rollback",
        "bundle.activate",
    ]


def test_installing_without_activating_leaves_the_slot_in_service(device: Any, two: Path) -> None:
    done = device.install(two, activate=False)
    assert not done.activated
    assert device.slots.active(PRODUCT).version == "1.0.0"
    assert device.slots.activate(PRODUCT, 5).version == "2.0.0"


def test_installing_what_already_serves_changes_nothing(device: Any, one: Path) -> None:
    seen = device.seen()
    done = device.install(one)
    assert done.already
    assert done.slot == "a"
    assert device.seen() == seen


def test_a_release_that_serves_but_was_damaged_is_installed_again(device: Any, one: Path) -> None:
    (device.state / "slots" / PRODUCT / "a" / "model.onnx").write_bytes(b"rot")
    with pytest.raises(BundleRefused, match="slot-damaged"):
        device.slots.active(PRODUCT)
    done = device.install(one)
    assert done.slot == "b"
    assert device.slots.active(PRODUCT).version == "1.0.0"


def test_verify_reads_everything_and_changes_nothing(device: Any, two: Path) -> None:
    seen, lines = device.seen(), device.audit()
    verified = device.slots.verify(two, PRODUCT, 1_795_000_000_000_000_000)
    assert verified.release.version == "2.0.0"
    assert [entry.role for entry in verified.signers] == ["root", "timestamp", "snapshot", "targets", "acme"]
    assert device.seen() == seen
    assert device.audit() == lines


def test_two_products_have_slots_and_counters_of_their_own(device: Any, bench: Any) -> None:
    stick = bench.make("boats", product="acme/boats", version="7")
    device.install(stick, product="acme/boats")
    assert device.slots.active("acme/boats").version == "7"
    assert device.slots.active(PRODUCT).version == "1.0.0"
    assert [view.product for view in device.slots.list()] == ["acme/boats", PRODUCT]


def test_a_release_for_the_group_of_the_unit_installs(device: Any, bench: Any) -> None:
    device.install(bench.make("north", units=("north", "unit-9")))
    assert device.slots.active(PRODUCT).counter == 3


def test_a_damaged_newer_stick_does_not_lock_out_the_good_one_before_it(device: Any, bench: Any, two: Path) -> None:
    newest = bench.make("three")
    for path in (newest / "t" / PRODUCT).glob("*.model.onnx"):
        path.write_bytes(path.read_bytes()[:-1])
    device.refuses(newest, "truncated")
    device.install(two)
    assert device.slots.active(PRODUCT).version == "2.0.0"


def test_the_counter_floor_rises_only_when_a_release_is_confirmed(device: Any, two: Path) -> None:
    device.install(two)
    assert device.slots.trust.state().counters == {}
    device.slots.confirm(PRODUCT, 5)
    assert device.slots.trust.state().counters == {PRODUCT: 2}
    assert device.slots.active(PRODUCT).confirmed
    device.slots.confirm(PRODUCT, 6)
    assert [line["event"] for line in device.audit()].count("bundle.confirm") == 1


def test_three_starts_without_health_fall_back_to_the_slot_before(device: Any, two: Path) -> None:
    device.install(two)
    assert [device.slots.starting(PRODUCT, 5).version for _ in range(3)] == ["2.0.0"] * 3
    assert device.slots.starting(PRODUCT, 6).version == "1.0.0"
    assert device.audit()[-1]["event"] == "bundle.fallback"


def test_a_confirmed_release_starts_for_ever(device: Any, two: Path) -> None:
    device.install(two)
    device.slots.starting(PRODUCT, 5)
    device.slots.confirm(PRODUCT, 5)
    assert [device.slots.starting(PRODUCT, 6).version for _ in range(9)] == ["2.0.0"] * 9


def test_a_start_with_damaged_files_falls_back_at_once(device: Any, two: Path) -> None:
    device.install(two)
    (device.state / "slots" / PRODUCT / "b" / "model.json").unlink()
    assert device.slots.starting(PRODUCT, 5).version == "1.0.0"


def test_a_failed_self_test_leaves_slot_and_trust_as_they_were(device: Any, bench: Any, one: Path, two: Path) -> None:
    def failing(folder: Path, model: str, manifest: str) -> str:
        raise BundleRefused("self-test", "it does not answer")

    broken = type(device)(device.state, self_test=failing)
    broken.refuses(two, "self-test")
    device.install(one)  # the trust state has not moved: the older stick is still good


def test_a_release_that_revokes_the_one_before_makes_rollback_impossible(device: Any, bench: Any) -> None:
    device.install(bench.make("three", revokes=(f"{PRODUCT}#1", "other/thing#5")))
    assert device.slots.trust.state().revoked == {f"{PRODUCT}#1"}
    with pytest.raises(BundleRefused) as caught:
        device.slots.rollback(PRODUCT, 5)
    assert caught.value.reason == "revoked"
    assert device.audit()[-1]["event"] == "bundle.rollback.refused"
    assert [view.revoked for view in device.slots.list()] == [True, False]


def test_the_floor_of_time_is_the_latest_signed_time_and_not_the_clock(device: Any, bench: Any) -> None:
    later = datetime(2026, 12, 4, 12, 0, tzinfo=UTC)
    device.install(bench.make("three", now=later), now_ns=int((later + timedelta(days=400)).timestamp()) * 10**9)
    assert device.slots.trust.state().floor_ns == int(later.timestamp()) * 10**9


def test_there_is_nothing_to_install_from_a_stick_that_is_not_there(device: Any, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        device.install(tmp_path / "nothing")
    assert caught.value.exit_code == 4
    assert device.audit()[-1]["reason"] == "unavailable"


def test_rolling_back_needs_something_to_go_back_to(device: Any) -> None:
    with pytest.raises(BundleRefused) as caught:
        device.slots.rollback(PRODUCT, 5)
    assert caught.value.reason == "slot-empty"


def test_every_deed_is_in_a_log_that_verifies(device: Any, two: Path) -> None:
    device.install(two)
    result = auditlog.verify(device.state / "audit")
    assert (result.records, result.beyond) == (4, 0)
    install = device.audit()[2]
    assert install["files"][0].startswith("card.md ")
    assert len(install["signers"]) == 8
    assert (
        json.dumps(install, sort_keys=True, separators=(",", ":")).encode()
        in (device.state / "audit" / "log.jsonl").read_bytes().splitlines()
    )


def test_a_stick_without_a_payload_makes_a_stolen_key_worthless(device: Any, bench: Any, two: Path) -> None:
    rotate(bench.fleet, "acme-1", NOW)
    stick = bench.folder / "revocation"
    media.write_metadata(bench.fleet, *bench.keys("media"), stick, NOW)
    assert not (stick / "t").exists()
    device.slots.refresh(stick, NOW_NS)
    assert device.audit()[-1]["event"] == "trust.refresh"
    assert device.slots.active(PRODUCT).version == "1.0.0"
    device.refuses(two, "rollback")
    device.install(bench.make("three"))
    assert device.slots.active(PRODUCT).counter == 3


def test_a_refused_refresh_changes_nothing(device: Any, bench: Any, two: Path) -> None:
    seen = device.seen()
    (two / "m" / "timestamp.json").write_bytes(b"{}")
    with pytest.raises(BundleRefused):
        device.slots.refresh(two, NOW_NS)
    assert device.seen() == seen
    assert device.audit()[-1]["event"] == "trust.refused"
