"""What the device remembers: time, floors, and whether its memory was tampered with."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.clock import BUILD_NS
from appliance.bundles.tuf7 import Updater, set_reference_time
from appliance.errors import BundleRefused

PRODUCT = "acme/people"


def _ns(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("year", [1970, 1980, 2000, 2038, 2060, 2099])
def test_a_good_stick_installs_whatever_a_dead_clock_says(device: Any, two: Path, year: int) -> None:
    done = device.install(two, now_ns=_ns(year))
    assert done.verified.reference.clock == ("behind" if year < 2026 else "far-ahead")
    assert device.audit()[-2]["clock"] == done.verified.reference.clock
    assert device.slots.trust.state().floor_ns < _ns(2027)


@pytest.mark.parametrize("year", [1970, 2099])
def test_a_stick_that_expired_before_the_floor_is_refused_whatever_the_clock_says(
    device: Any, bench: Any, two: Path, year: int
) -> None:
    """A clock set back cannot bring an expired stick to life: the floor came with the stick before."""

    def expire(timestamp: Any) -> None:
        timestamp.expires = datetime(2026, 11, 30, tzinfo=UTC)

    bench.edit(two / "m" / "timestamp.json", expire, "media")
    device.refuses(two, "expired", now_ns=_ns(year))


def test_a_clock_that_can_be_true_makes_an_expired_stick_expired(device: Any, two: Path) -> None:
    device.refuses(two, "expired", now_ns=_ns(2033))
    device.install(two, now_ns=_ns(2029))


def test_a_clock_far_ahead_does_not_raise_the_floor_for_ever(device: Any, bench: Any, two: Path) -> None:
    device.install(two, now_ns=_ns(2031))
    assert device.slots.trust.state().floor_ns < _ns(2027)


def test_what_is_installed_serves_after_everything_expired(device: Any) -> None:
    """Expiry gates installation only: a device must boot in ten years."""
    assert device.slots.starting(PRODUCT, _ns(2099)).version == "1.0.0"


def test_the_floor_of_a_new_device_is_when_its_software_was_built(new_device: Any) -> None:
    assert new_device.slots.trust.state().floor_ns == BUILD_NS


@pytest.mark.parametrize("victim", ["trust/state.json", "anchor.json"])
def test_a_wiped_memory_is_noticed(device: Any, two: Path, victim: str) -> None:
    (device.state / victim).unlink()
    device.refuses(two, "trust-state")


def test_a_memory_restored_from_a_copy_is_noticed(device: Any, two: Path, one: Path, tmp_path: Path) -> None:
    shutil.copytree(device.state / "trust", tmp_path / "copy")
    device.install(two)
    shutil.rmtree(device.state / "trust")
    shutil.copytree(tmp_path / "copy", device.state / "trust")
    device.refuses(one, "trust-state")
    device.refuses(two, "trust-state")


@pytest.mark.parametrize("raw", [b"", b"{}x", b"[" * 10_000, b'{"schema":"edge-trust-state/9"}', b"\xff"])
def test_a_damaged_memory_is_noticed(device: Any, two: Path, raw: bytes) -> None:
    (device.state / "trust" / "state.json").write_bytes(raw)
    device.refuses(two, "trust-state")


def test_a_memory_edited_to_a_lower_floor_is_noticed(device: Any, two: Path) -> None:
    path = device.state / "trust" / "state.json"
    body = json.loads(path.read_bytes())
    body["counters"] = {}
    body["floor_ns"] -= 1
    path.write_text(json.dumps(body))
    device.refuses(two, "trust-state")


def test_a_slot_record_that_cannot_be_read_is_noticed(device: Any, two: Path) -> None:
    (device.state / "slots" / PRODUCT / "slots.json").write_bytes(b"{}")
    device.refuses(two, "trust-state")


def test_a_device_goes_on_serving_while_its_trust_state_is_refused(device: Any, two: Path) -> None:
    """Installing and what a person asks for are refused; what was verified when it was installed serves on."""
    device.install(two)
    (device.state / "trust" / "state.json").unlink()
    assert device.slots.active(PRODUCT).version == "2.0.0"
    assert device.slots.starting(PRODUCT, 5).version == "2.0.0"
    with pytest.raises(BundleRefused) as caught:
        device.slots.rollback(PRODUCT, 5)
    assert caught.value.reason == "trust-state"


def test_the_private_field_through_which_time_is_set_is_still_there(bench: Any, tmp_path: Path) -> None:
    """A contract with python-tuf 7.0.1: the Updater's own clock is replaced and expiry follows it."""
    updater = Updater(str(tmp_path), "m", bootstrap=bench.anchor, fetcher=object())  # type: ignore[arg-type]
    moment = datetime.now(UTC) + timedelta(days=9999)
    set_reference_time(updater, int(moment.timestamp()) * 10**9)
    assert abs((updater._trusted_set.reference_time - moment).total_seconds()) < 2
    assert updater._trusted_set.root.is_expired(updater._trusted_set.reference_time)
