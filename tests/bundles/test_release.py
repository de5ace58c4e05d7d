"""release.json and the policy over it, as values."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.policy import (
    ALLOWED,
    CODE_SUFFIXES,
    Device,
    check_content,
    check_files,
    check_order,
    check_release,
)
from appliance.bundles.reasons import REASONS
from appliance.bundles.release import Release, ReleaseFile, encode_release, is_product, parse_release
from appliance.errors import BundleRefused

NETWORK = ReleaseFile(path="model.onnx", role="onnx", length=10, sha384="0" * 96)
MANIFEST = ReleaseFile(path="model.json", role="manifest", length=10, sha384="1" * 96)
RELEASE = Release(
    schema="edge-release/1",
    product="acme/people",
    version="1.2.3",
    release_counter=7,
    files=(NETWORK, MANIFEST),
    units=("unit-1", "north"),
    issued="2026-12-01T12:00:00Z",
)
DEVICE = Device(unit="unit-1", groups=frozenset(), hardware=frozenset({"x86_64"}), app_version="0.1.0")


def _change(**fields: object) -> Release:
    return msgspec.structs.replace(RELEASE, **fields)


def _refused(reason: str, release: Release, device: Device = DEVICE) -> None:
    with pytest.raises(BundleRefused) as caught:
        check_release(release, product="acme/people", device=device)
    assert caught.value.reason == reason
    assert reason in REASONS


def test_what_is_written_is_read_back() -> None:
    assert parse_release(encode_release(RELEASE)) == RELEASE
    assert RELEASE.release_id == "acme/people#7"
    assert RELEASE.issued_ns == 1_796_126_400 * 10**9
    assert RELEASE.the_file("onnx") is NETWORK


def test_a_release_for_this_unit_group_or_every_unit_passes() -> None:
    check_release(RELEASE, product="acme/people", device=DEVICE)
    check_release(_change(units=("*",)), product="acme/people", device=msgspec_device(unit=""))
    check_release(RELEASE, product="acme/people", device=msgspec_device(unit="x", groups=frozenset({"north"})))


def msgspec_device(**fields: object) -> Device:
    known = {"unit": DEVICE.unit, "groups": DEVICE.groups, "hardware": DEVICE.hardware, "app_version": "0.1.0"}
    return Device(**{**known, **fields})  # type: ignore[arg-type]


def test_a_release_for_somebody_or_something_else_is_refused() -> None:
    _refused("wrong-unit", RELEASE, msgspec_device(unit="unit-2"))
    _refused("wrong-unit", RELEASE, msgspec_device(unit=""))
    _refused("wrong-unit", RELEASE, msgspec_device(unit="UNIT-1"))
    _refused("wrong-product", _change(product="acme/boats"))
    _refused("wrong-hardware", _change(hw=("jetson-thor",)))


@pytest.mark.parametrize(
    ("needs", "has", "fits"),
    [
        ("0", "0", True),
        ("0.1", "0.1.0", True),
        ("0.1.0", "0.1", True),
        ("0.10", "0.9", False),
        ("0.9", "0.10", True),
        ("1", "0.99.99", False),
        ("0.2", "0.2.dev1", True),
        ("0.2.1", "0.2.dev1", False),
        ("1", "", False),
    ],
)
def test_versions_of_the_appliance_are_compared_as_numbers(needs: str, has: str, fits: bool) -> None:
    release, device = _change(min_app=needs), msgspec_device(app_version=has)
    if fits:
        check_release(release, product="acme/people", device=device)
    else:
        _refused("app-too-old", release, device)


def test_no_allowed_ending_is_also_one_that_means_code() -> None:
    assert not [ending for endings in ALLOWED.values() for ending in endings if ending in CODE_SUFFIXES]


@pytest.mark.parametrize("ending", sorted(CODE_SUFFIXES))
def test_every_ending_that_means_code_is_refused_in_every_place_of_a_name(ending: str) -> None:
    for name in (f"x{ending}", f"x{ending}.json", f"x.y{ending}.bin"):
        file = ReleaseFile(path=name, role="golden", length=1, sha384="2" * 96)
        with pytest.raises(BundleRefused, match="file-type"):
            check_files(_change(files=(NETWORK, MANIFEST, file)))


def test_short_marks_of_code_count_only_where_content_is_not_raw_numbers() -> None:
    golden = ReleaseFile(path="in.bin", role="golden", length=9, sha384="2" * 96)
    card = ReleaseFile(path="card.md", role="card", length=9, sha384="2" * 96)
    check_content(golden, b"MZ\x00\x00")
    check_content(golden, b"\x80\x04\x95")
    check_content(card, b"# A model")
    for file, head in (
        (card, b"MZ"),
        (card, b"\x80\x04"),
        (golden, b"\x7fELF"),
        (golden, b"PK\x03\x04"),
        (card, b"#!/"),
    ):
        with pytest.raises(BundleRefused, match="file-type"):
            check_content(file, head)


def test_order_is_by_counter_and_revocation() -> None:
    check_order(RELEASE, floor_counter=7, revoked=())
    with pytest.raises(BundleRefused, match="counter"):
        check_order(RELEASE, floor_counter=8, revoked=())
    with pytest.raises(BundleRefused, match="revoked"):
        check_order(RELEASE, floor_counter=0, revoked=("acme/people#7",))


@pytest.mark.parametrize("name", ["acme/people", "a/b", "a1-b/c2-d"])
def test_a_product_is_an_integrator_and_a_name(name: str) -> None:
    assert is_product(name)


@pytest.mark.parametrize(
    "name", ["", "acme", "/", "acme/", "/people", "a/b/c", "A/b", "a b/c", "a/b\n", "-a/b", "../b", "a/.."]
)
def test_everything_else_is_no_product(name: str) -> None:
    assert not is_product(name)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_bytes_from_outside_are_read_or_refused_and_never_crash(raw: bytes) -> None:
    with pytest.raises(BundleRefused):
        parse_release(raw)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(encode_release(RELEASE)) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_release_is_read_or_refused_and_never_crashes(position: int, patch: bytes) -> None:
    raw = bytearray(encode_release(RELEASE))
    raw[position : position + len(patch)] = patch
    try:
        parse_release(bytes(raw))
    except BundleRefused as e:
        assert e.reason in REASONS  # noqa: PT017 - a damaged release may still be one
