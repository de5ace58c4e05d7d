"""Sticks that are hostile as media: names, links, pipes, devices, archives, and sticks that change or vanish."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from appliance.errors import BundleRefused
from appliance.slots import media, verify

PRODUCT = "acme/people"


def _model(stick: Path) -> Path:
    return next((stick / "t" / PRODUCT).glob("*.model.onnx"))


def test_a_link_in_the_place_of_a_payload_is_refused(device: Any, two: Path, tmp_path: Path) -> None:
    path = _model(two)
    shutil.copyfile(path, tmp_path / "elsewhere")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    device.refuses(two, "media-type")


def test_a_link_in_the_place_of_metadata_is_refused(device: Any, two: Path, tmp_path: Path) -> None:
    shutil.copyfile(two / "m" / "timestamp.json", tmp_path / "elsewhere")
    (two / "m" / "timestamp.json").unlink()
    (two / "m" / "timestamp.json").symlink_to(tmp_path / "elsewhere")
    device.refuses(two, "media-type")


@pytest.mark.parametrize("part", ["m", "t"])
def test_a_link_in_the_place_of_a_folder_is_refused(device: Any, two: Path, tmp_path: Path, part: str) -> None:
    (two / part).rename(tmp_path / "elsewhere")
    (two / part).symlink_to(tmp_path / "elsewhere")
    device.refuses(two, "media-type")


def test_a_pipe_is_refused_and_not_waited_for(device: Any, two: Path) -> None:
    os.mkfifo(two / "m" / "pipe.json")
    device.refuses(two, "media-type")


def test_a_pipe_in_the_place_of_the_stick_is_refused_and_not_waited_for(device: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    device.refuses(tmp_path / "pipe", "media-type")


def test_a_socket_is_refused(device: Any, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two / "t" / PRODUCT)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        device.refuses(two, "media-type")


def test_a_device_node_is_refused(device: Any, two: Path) -> None:
    try:
        os.mknod(two / "m" / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device node needs privileges that this run has not")
    device.refuses(two, "media-type")


def test_a_device_in_the_place_of_the_stick_is_refused(device: Any) -> None:
    device.refuses(Path("/dev/zero"), "media-type")


@pytest.mark.parametrize("name", ["üml.json", "a b\n.json", "back\\slash.json", "\x7f.json"])
def test_an_odd_name_in_a_folder_is_refused(device: Any, two: Path, name: str) -> None:
    (two / "m" / name).write_text("{}")
    device.refuses(two, "media-path")


def test_a_name_that_is_not_text_is_refused(device: Any, two: Path) -> None:
    (two / "m" / os.fsdecode(b"\xff\xfe.json")).touch()
    device.refuses(two, "media-path")


def test_folders_without_end_are_refused(device: Any, two: Path) -> None:
    (two / "t" / Path(*"abcdefgh")).mkdir(parents=True)
    device.refuses(two, "media-path")


def test_more_files_than_a_stick_can_have_are_refused(device: Any, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_MEMBERS", 50)
    for number in range(60):
        (two / "t" / f"{number}").touch()
    device.refuses(two, "media-path")


def test_what_else_a_person_keeps_on_the_stick_is_nobodys_business(device: Any, two: Path) -> None:
    (two / "holiday.jpg").write_bytes(b"\xff\xd8")
    (two / "System Volume Information").mkdir()
    (two / "link").symlink_to("/etc/passwd")
    device.install(two)


def test_an_empty_folder_and_an_empty_file_are_no_sticks(device: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    device.refuses(tmp_path / "empty", "missing")
    (tmp_path / "empty.tar").touch()
    device.refuses(tmp_path / "empty.tar", "truncated")


# --- archives


def _add(name: str, raw: bytes = b"x", **attributes: Any) -> Any:
    def build(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(raw)
        for key, value in attributes.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(raw))

    return build


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_in_either_common_style_installs(device: Any, bench: Any, two: Path, style: int) -> None:
    device.install(bench.as_tar(two, format=style))
    assert device.slots.active(PRODUCT).version == "2.0.0"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "media-path"),
        ("m/../../evil", "media-path"),
        ("/etc/evil", "media-path"),
        ("m//evil", "media-path"),
        ("m/./evil", "media-path"),
        ("t/acme/people/../../../evil", "media-path"),
        ("m\\..\\evil", "media-path"),
        ("m/\x01evil", "media-path"),
        ("C:\\evil", "media-path"),
        ("evil.sh", "unlisted"),
        ("x/evil", "unlisted"),
        ("m/evil.json", "unlisted"),
        ("t/acme/people/evil.onnx", "unlisted"),
        ("m/" + "x" * 300, "media-path"),
    ],
)
def test_a_hostile_name_in_an_archive_is_refused(device: Any, bench: Any, two: Path, name: str, reason: str) -> None:
    device.refuses(bench.as_tar(two, _add(name)), reason)


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        b"S",
        b"V",
        b"g",
    ],
)
def test_an_archive_member_that_is_no_file_is_refused(device: Any, bench: Any, two: Path, kind: bytes) -> None:
    build = _add("m/odd", b"", type=kind, linkname="/etc/passwd")
    device.refuses(bench.as_tar(two, build), "media-type")


@pytest.mark.parametrize("name", ["m/timestamp.json", "./m/timestamp.json", "m"])
def test_one_name_twice_in_an_archive_is_refused(device: Any, bench: Any, two: Path, name: str) -> None:
    device.refuses(bench.as_tar(two, _add(name)), "media-duplicate")


@pytest.mark.parametrize("key", ["size", "linkpath", "GNU.sparse.name", "mtime", "uid"])
def test_a_pax_record_other_than_a_path_is_refused(device: Any, bench: Any, two: Path, key: str) -> None:
    build = _add("m/odd.json", pax_headers={key: "1"})
    device.refuses(bench.as_tar(two, build, format=tarfile.PAX_FORMAT), "media-format")


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_a_long_name_of_a_gigabyte_is_refused_without_reading_it(
    device: Any, bench: Any, two: Path, kind: bytes
) -> None:
    archive = bench.as_tar(two)
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 1 << 30
    with archive.open("r+b") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(4 << 30)
    device.refuses(archive, "media-format")


def test_an_archive_that_claims_more_than_it_has_is_refused(device: Any, bench: Any, two: Path) -> None:
    archive = bench.as_tar(two)
    header = tarfile.TarInfo("m/huge.json")
    header.size = 1 << 32
    with archive.open("r+b") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
    device.refuses(archive, "truncated")


@pytest.mark.parametrize("cut", [1, 512, 1024, 5000])
def test_a_truncated_archive_is_refused(device: Any, bench: Any, two: Path, cut: int) -> None:
    archive = bench.as_tar(two)
    data = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(data[:-cut])
    with pytest.raises(BundleRefused):
        device.install(archive)
    assert device.slots.active(PRODUCT).version == "1.0.0"


@pytest.mark.parametrize("tail", [b"x", b"\0" * 511 + b"x", b"PK\x05\x06" + b"\0" * 18])
def test_an_archive_with_something_behind_its_end_is_refused(device: Any, bench: Any, two: Path, tail: bytes) -> None:
    archive = bench.as_tar(two)
    with archive.open("ab") as file:
        file.write(tail)
    device.refuses(archive, "media-format")


def test_an_archive_with_endless_zeros_behind_it_is_refused(device: Any, bench: Any, two: Path) -> None:
    archive = bench.as_tar(two)
    os.truncate(archive, 1 << 40)
    device.refuses(archive, "media-format")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_archive_is_refused(device: Any, two: Path, tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "stick.tar", mode) as tar:
        tar.add(two / "m", arcname="m")
    with pytest.raises(BundleRefused) as caught:
        device.install(tmp_path / "stick.tar")
    assert caught.value.reason in ("media-format", "truncated")


def test_any_single_flipped_bit_in_an_archive_is_refused(device: Any, bench: Any, two: Path) -> None:
    """Headers, names, padding and end mark too: there is one archive for each tree, up to times and owners."""
    archive = bench.as_tar(two)
    data = bytearray(archive.read_bytes())
    for offset in [*range(0, 512, 23), *range(512, len(data), 2003)]:
        data[offset] ^= 0x10
        archive.write_bytes(data)
        with pytest.raises(BundleRefused):
            device.slots.verify(archive, PRODUCT, 1_796_126_400_000_000_000)
        data[offset] ^= 0x10
    archive.write_bytes(data)
    device.install(archive)


# --- sticks that change, vanish or do not fit


def _at_first_byte(deed: Any) -> Any:
    done = []

    def progress(name: str, read: int, total: int) -> None:
        if not done:
            done.append(name)
            deed()

    return progress


def _install_while(device: Any, stick: Path, deed: Any) -> BundleRefused:
    seen = device.seen()
    with pytest.raises(BundleRefused) as caught:
        device.install(stick, progress=_at_first_byte(deed))
    assert device.seen() == seen
    assert device.audit()[-1]["reason"] == caught.value.reason
    return caught.value


def test_a_stick_pulled_while_it_is_read_is_refused(device: Any, two: Path) -> None:
    assert _install_while(device, two, lambda: shutil.rmtree(two)).reason == "media-read"


def test_a_file_exchanged_after_the_check_of_its_size_is_refused(device: Any, two: Path) -> None:
    path = _model(two)
    swapped = bytes(len(path.read_bytes()))
    assert _install_while(device, two, lambda: path.write_bytes(swapped)).reason == "digest"


def test_a_file_exchanged_for_a_link_after_the_check_is_refused(device: Any, two: Path, tmp_path: Path) -> None:
    path = _model(two)

    def swap() -> None:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")

    assert _install_while(device, two, swap).reason == "media-read"


def test_a_file_that_grows_while_it_is_read_is_refused(device: Any, two: Path) -> None:
    path = _model(two)
    assert _install_while(device, two, lambda: path.write_bytes(path.read_bytes() * 3)).reason == "too-long"


def test_what_was_hashed_is_what_is_installed(device: Any, two: Path) -> None:
    """The stick is rewritten after the last byte was read and before the files are put in place."""
    good = _model(two).read_bytes()

    def late(name: str, read: int, total: int) -> None:
        if read == total:
            _model(two).write_bytes(b"evil" * 100)

    device.install(two, progress=late)
    assert device.slots.active(PRODUCT).model.read_bytes() == good


def test_a_medium_that_fails_while_it_is_read_is_refused(
    device: Any, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read

    def failing(descriptor: int, length: int) -> bytes:
        if length == media.CHUNK_BYTES:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, length)

    monkeypatch.setattr(os, "read", failing)
    device.refuses(two, "media-read")


def test_a_device_without_room_refuses_before_it_copies(
    device: Any, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(two)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    device.refuses(two, "storage")


def test_a_device_that_fills_up_while_copying_refuses(device: Any, two: Path) -> None:
    class Full:
        """A disk that is full once the model is written."""

        def __call__(self, name: str) -> None:
            if name == "write model.onnx":
                raise OSError(errno.ENOSPC, "No space left on device")

    type(device)(device.state, step=Full()).refuses(two, "storage")


def test_two_installations_at_once_are_refused_and_the_first_goes_on(device: Any, two: Path) -> None:
    with (device.state / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        device.refuses(two, "busy")
    device.install(two)


def test_a_chunk_that_comes_late_does_not_pass_the_length(two: Path) -> None:
    """The fetcher counts what it reads, not what the directory said."""

    class Lying:
        sizes: ClassVar = {"m/timestamp.json": 4}

        def chunks(self, name: str) -> Iterator[bytes]:
            yield b"1234"
            yield b"5"

    with pytest.raises(BundleRefused) as caught:
        list(verify.read_bounded(Lying(), "m/timestamp.json", 4))
    assert caught.value.reason == "too-long"
