"""Archive headers and names, as values."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.reasons import REASONS
from appliance.bundles.tar import BLOCK, Header, check_name, padded, parse_header, parse_long_name
from appliance.errors import BundleRefused


def _block(**fields: object) -> bytes:
    member = tarfile.TarInfo(str(fields.pop("name", "m/timestamp.json")))
    for key, value in fields.items():
        setattr(member, key, value)
    return member.tobuf(tarfile.USTAR_FORMAT)


def test_a_regular_member_is_read() -> None:
    assert parse_header(_block(size=1234)) == Header(kind="file", name="m/timestamp.json", size=1234)
    assert parse_header(_block(name="m", type=tarfile.DIRTYPE)) == Header(kind="folder", name="m/", size=0)


def test_a_ustar_prefix_belongs_to_the_name() -> None:
    name = "t/" + "x" * 90 + "/" + "y" * 60
    header = parse_header(_block(name=name))
    assert header is not None
    assert header.name == name


def test_the_zero_block_is_the_end() -> None:
    assert parse_header(bytes(BLOCK)) is None


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8 * 1024**3 - 1])
def test_members_fill_whole_blocks(size: int) -> None:
    assert padded(size) % BLOCK == 0
    assert 0 <= padded(size) - size < BLOCK


def test_a_size_written_in_binary_is_refused() -> None:
    member = tarfile.TarInfo("m/x")
    member.size = 9 * 1024**3
    with pytest.raises(BundleRefused, match="media-format"):
        parse_header(member.tobuf(tarfile.GNU_FORMAT))


def test_long_names_are_read_in_both_ways() -> None:
    name = "t/acme/people/" + "0" * 96 + ".model.onnx"
    gnu, pax = (Header(kind=kind, name="", size=0) for kind in ("gnu-name", "pax-name"))
    assert parse_long_name(gnu, name.encode() + b"\0") == name
    record = f"path={name}\n"
    length = len(record) + 1 + 3
    assert parse_long_name(pax, f"{length} {record}".encode()) == name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"12 path=a\n",
        b"010 path=a\n",
        b"10 path=a\n10 path=b\n",
        b"9 size=1\n",
        b"-1 path=a\n",
        b"999999999999 path=a\n",
    ],
)
def test_a_malformed_pax_header_is_refused(data: bytes) -> None:
    with pytest.raises(BundleRefused, match="media-format"):
        parse_long_name(Header(kind="pax-name", name="", size=0), data)


@pytest.mark.parametrize("name", ["m", "m/", "./m/a.json", "./", "t/acme/people/a.b-c_d"])
def test_plain_names_pass(name: str) -> None:
    assert not check_name(name).startswith((".", "/"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "//",
        "..",
        "../m",
        "m/..",
        "m/../m",
        "m//a",
        "/m",
        "a\\b",
        "a\0b",
        "é",
        "m/" + "x" * 300,
        "././m",
        "m/.",
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(BundleRefused, match="media-path"):
        check_name(name)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_header_is_refused(position: int, change: int) -> None:
    block = bytearray(_block(size=77))
    block[position] ^= change
    with pytest.raises(BundleRefused) as caught:
        parse_header(bytes(block))
    assert caught.value.reason in REASONS


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=600))
def test_bytes_that_are_no_header_are_refused(raw: bytes) -> None:
    if raw != bytes(BLOCK):
        with pytest.raises(BundleRefused):
            parse_header(raw)
