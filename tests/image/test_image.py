"""The device image: reproducible, read by the programs that it is for, and honest about a device file that is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli import call
from appliance.errors import ConfigError, UsageError
from appliance.host.credentials import CREDENTIALS
from appliance.image import pack, parse_device, render
from appliance.provision.unit import SERVICE

KINDS = ("generic-amd64", "generic-arm64", "orin-nano", "orin-nx", "orin-agx", "thor")


@pytest.fixture(scope="module")
def templates(repository: Path) -> Path:
    return repository / "firmware_config"


def device_text(templates: Path, kind: str) -> str:
    return (templates / "devices" / f"{kind}.toml").read_text(encoding="utf-8")


@pytest.fixture
def laid(templates: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Unpacks a kind's overlay."""

    def lay(kind: str) -> Path:
        files = render(parse_device(device_text(templates, kind).encode(), kind), templates)
        (tmp_path / kind).mkdir(exist_ok=True)
        subprocess.run(["tar", "-x", "-C", tmp_path / kind], check=True, input=pack(files))
        return tmp_path / kind

    return lay


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_builds_and_builds_the_same_bytes_again(kind: str, templates: Path, tmp_path: Path) -> None:
    device = templates / "devices" / f"{kind}.toml"
    for name in ("one", "two"):
        assert call(["image", "build", str(device), "--out", str(tmp_path / f"{name}.tar")]) == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        texts = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert names == sorted(set(names))
    assert all(member.isreg() and member.mtime == member.uid == member.gid == 0 for member in members)
    assert not any(name.startswith("/") or ".." in name.split("/") for name in names)
    assert not any(re.search(rb"@[A-Z][A-Z0-9_]*@", text) for text in texts.values())
    assert ("etc/rauc/system.conf" in names) == (kind not in {"generic-amd64", "generic-arm64"})


def test_the_command_lists_what_it_built(templates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = templates / "devices" / "generic-amd64.toml"
    assert call(["image", "build", str(device), "--out", str(tmp_path / "o.tar"), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["kind"] == "generic-amd64"
    assert "/etc/nftables.conf" in {file["path"] for file in body["files"]}


def test_nftables_takes_the_rules_and_denies_what_leaves(laid: Callable[[str], Path]) -> None:
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
    if nft is None or os.geteuid() != 0:
        pytest.skip("nft, as root, checks the rules; one of the two is missing")
    done = subprocess.run(
        [nft, "-c", "-f", laid("generic-amd64") / "etc/nftables.conf"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_packet_filter_names_links_and_nothing_else(laid: Callable[[str], Path]) -> None:
    rules = (laid("generic-amd64") / "etc/nftables.conf").read_text()
    assert rules.count("policy drop;") == 3
    assert 'iifname "eth1" ip saddr 10.30.0.0/24 tcp dport 8883 accept' in rules
    assert 'oifname "eth0" ip daddr 10.20.0.50 tcp dport 554 accept' in rules
    accepts = [line.strip() for line in rules.splitlines() if line.strip().endswith("accept")]
    assert len(accepts) == 8  # loopback and replies, both ways, three ports to listen on and one camera


@pytest.mark.parametrize(("unit", "limit"), [("edge-appliance", 1.5), ("edge-broker", 2.5)])
def test_the_units_expose_no_more_than_they_may(unit: str, limit: float, laid: Callable[[str], Path]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = laid("generic-amd64") / "etc/systemd/system" / f"{unit}.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", path],
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for [^:]+: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze judges no files here: {done.stderr.strip()[:80]}")
    assert float(found.group(1)) <= limit
    assert not done.stderr.strip()


NVBOOTCTRL = """#!/bin/sh
echo "$@" >> "$0.calls"
case "$1" in
    dump-slots-info)
        printf 'Current version: 39.2.0\\nCapsule update status: 0\\nCurrent bootloader slot: A\\n'
        printf 'Active bootloader slot: %s\\nnum_slots: 2\\n' "${ACTIVE:-A}"
        printf 'slot: 0,             status: normal\\nslot: 1,             status: unbootable\\n'
        ;;
    get-current-slot) echo 0 ;;
esac
"""


@pytest.fixture
def backend(laid: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs the boot chain backend over an ``nvbootctrl`` of ours: exit code, output, what it was asked."""
    script = laid("thor") / "usr/lib/edge-appliance/rauc-tegra"
    fake = tmp_path / "bin" / "nvbootctrl"
    fake.parent.mkdir()
    fake.write_text(NVBOOTCTRL)
    fake.chmod(0o755)

    def run(*words: str, active: str = "A") -> tuple[int, str, list[str]]:
        calls = fake.with_name("nvbootctrl.calls")
        calls.unlink(missing_ok=True)
        environment = {"PATH": f"{fake.parent}:/usr/bin:/bin", "ACTIVE": active}
        done = subprocess.run([script, *words], check=False, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout.strip(), calls.read_text().splitlines() if calls.exists() else []

    return run


def test_the_boot_chain_is_asked_and_told_through_nvbootctrl(
    backend: Callable[..., tuple[int, str, list[str]]],
) -> None:
    assert backend("get-primary")[:2] == (0, "A")
    assert backend("get-primary", active="B")[:2] == (0, "B")
    assert backend("get-current")[:2] == (0, "A")
    assert backend("get-state", "A")[:2] == (0, "good")
    assert backend("get-state", "B")[:2] == (0, "bad")
    assert backend("set-primary", "B")[2] == ["set-active-boot-slot 1"]
    assert backend("set-state", "A", "good")[2] == ["verify"]
    assert "set-active-boot-slot 0" in backend("set-state", "B", "bad")[2]


@pytest.mark.parametrize("words", [(), ("set-primary",), ("set-primary", "C"), ("set-state", "A", "well"), ("format",)])
def test_the_boot_chain_backend_refuses_what_it_does_not_know(
    words: tuple[str, ...], backend: Callable[..., tuple[int, str, list[str]]]
) -> None:
    code, _, calls = backend(*words)
    assert (code, calls) == (2, [])


WRONG = {
    "a gateway's side": ('address = "10.20.0.50"', 'address = "8.8.8.8"', "connect[0].address"),
    "no prefix": ('address = "10.20.0.2/24"', 'address = "10.20.0.2"', "links[0].address"),
    "unknown link": ('link = "bus"', 'link = "attic"', "listen[0].link"),
    "unknown key": ("hardware_watchdog_s", "hardware_watchdog", "hardware_watchdog"),
    "a port too high": ("port = 554", "port = 70000", "connect[0].port"),
    "two links of one name": ('name = "bus"', 'name = "sensors"', "links"),
    "a device with a newline": ('"char-ttyACM"', '"char-tty\\nExecStart=/bin/sh"', "devices"),
    "an interface that is a rule": ('interface = "eth0"', 'interface = "eth0\\" accept #"', "links[0].interface"),
    "another schema": ("edge-device/1", "edge-device/2", "schema"),
    "no TOML": ('kind = "', "kind = ", "(syntax)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_device_file_is_told_with_its_key_and_nothing_is_written(
    name: str, templates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, key = WRONG[name]
    text = device_text(templates, "generic-amd64")
    assert good in text
    path = tmp_path / "device.toml"
    path.write_text(text.replace(good, bad, 1), encoding="utf-8")
    assert call(["image", "build", str(path), "--out", str(tmp_path / "o.tar")]) == 2
    assert f": {key}: expected" in capsys.readouterr().err
    assert not (tmp_path / "o.tar").exists()


@given(st.binary(max_size=200))
def test_a_device_file_is_read_or_refused_whatever_it_holds(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_device(raw, "device.toml")


def test_a_template_that_nothing_fills_fails_the_build(templates: Path, tmp_path: Path) -> None:
    device = parse_device(device_text(templates, "generic-amd64").encode(), "d")
    shutil.copytree(templates / "overlay", tmp_path / "overlay")
    (tmp_path / "overlay" / "etc" / "more.conf").write_text("x = @NOBODY@\n")
    with pytest.raises(UsageError, match="@NOBODY@"):
        render(device, tmp_path)
    (tmp_path / "overlay" / "etc" / "more.conf").unlink()
    (tmp_path / "overlay" / "etc" / "nftables.conf").unlink()
    with pytest.raises(UsageError, match="INPUT_RULES"):
        render(device, tmp_path)
    with pytest.raises(UsageError, match="expected the templates"):
        render(device, tmp_path / "none")


def test_the_settling_script_parses_and_the_users_are_ones_that_passwd_can_hold(laid: Callable[[str], Path]) -> None:
    script = laid("generic-amd64") / "usr/lib/edge-appliance/settle"
    assert script.stat().st_mode & 0o777 == 0o755
    done = subprocess.run(["sh", "-n", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    users = (laid("generic-amd64") / "etc/sysusers.d/edge.conf").read_text().splitlines()
    comments = [line.split('"')[1] for line in users if '"' in line]
    assert comments
    assert not any(":" in comment for comment in comments), "sysusers.d(5): a colon ends the field in passwd"


PACKAGES_LIST = "libc6 2.36-9+deb12u14 amd64\nmosquitto 2.0.11-1.2+deb12u2 amd64\nbase-files 12.4+deb12u12\n"


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """Two wheels, which nobody opens, and a list of packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"numpy")
    (wheels / "paho_mqtt-2.2.0-py3-none-any.whl").write_bytes(b"paho")
    packages = tmp_path / "packages.txt"
    packages.write_text(PACKAGES_LIST, encoding="utf-8")
    return wheels, packages


def build_with_bill(templates: Path, parts: tuple[Path, Path], page: Path) -> int:
    device = templates / "devices" / "generic-amd64.toml"
    wheels, packages = map(str, parts)
    words = ["--out", str(page.with_suffix(".tar")), "--sbom", str(page), "--wheels", wheels, "--packages", packages]
    return call(["image", "build", str(device), *words])


def test_the_bill_of_materials_names_every_file_wheel_and_package_and_is_the_same_again(
    templates: Path, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert build_with_bill(templates, parts, one) == build_with_bill(templates, parts, two) == 0
    assert one.read_bytes() == two.read_bytes()
    body = json.loads(one.read_text(encoding="utf-8"))
    by_ref = {part["bom-ref"]: part for part in body["components"]}
    with tarfile.open(tmp_path / "one.tar") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            hashes = by_ref[f"overlay:/{member.name}"]["hashes"]
            assert hashes == [{"alg": "SHA-384", "content": hashlib.sha384(content).hexdigest()}]
    paho = by_ref["pkg:pypi/paho-mqtt@2.2.0"]
    assert paho["hashes"][0]["content"] == hashlib.sha384(b"paho").hexdigest()
    assert by_ref["pkg:deb/debian/mosquitto@2.0.11-1.2%2Bdeb12u2?arch=amd64"]["version"] == "2.0.11-1.2+deb12u2"
    assert by_ref["pkg:deb/debian/base-files@12.4%2Bdeb12u12?arch=amd64"]  # the image's own, where none is told
    assert set(body["dependencies"][0]["dependsOn"]) == set(by_ref)


def test_the_bill_of_materials_holds_to_the_schema_of_cyclonedx(
    templates: Path, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="the extra `bench` is not installed")
    schema = pytest.importorskip("cyclonedx.schema")
    page = tmp_path / "page.json"
    assert build_with_bill(templates, parts, page) == 0
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(page.read_text(encoding="utf-8")) is None


def test_another_wheel_is_another_bill(templates: Path, parts: tuple[Path, Path], tmp_path: Path) -> None:
    assert build_with_bill(templates, parts, tmp_path / "one.json") == 0
    (parts[0] / "paho_mqtt-2.2.0-py3-none-any.whl").write_bytes(b"another")
    assert build_with_bill(templates, parts, tmp_path / "two.json") == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["serialNumber"] != two["serialNumber"]


@pytest.mark.parametrize("line", ["libc6", "libc6 2.36; rm -rf /", "../x 1", "a b c d", ""])
def test_a_list_of_packages_that_is_none_is_told_with_its_line_and_no_bill_is_written(
    line: str, templates: Path, parts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts[1].write_text(f"libc6 2.36 amd64\n{line}\n", encoding="utf-8")
    assert build_with_bill(templates, parts, tmp_path / "page.json") == 2
    assert "packages.txt:2: expected 'NAME VERSION [ARCHITECTURE]'" in capsys.readouterr().err
    assert not (tmp_path / "page.json").exists()


def test_wheels_without_a_bill_to_write_them_in_are_a_mistake(
    templates: Path, parts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = templates / "devices" / "generic-amd64.toml"
    words = ["image", "build", str(device), "--out", str(tmp_path / "o.tar"), "--wheels", str(parts[0])]
    assert call(words) == 2
    assert "--sbom" in capsys.readouterr().err
    (parts[0] / "what is this.whl").write_bytes(b"")
    assert build_with_bill(templates, parts, tmp_path / "page.json") == 2
    assert "a wheel's name" in capsys.readouterr().err


def test_the_image_asks_nobody_for_the_time_or_for_names(laid: Callable[[str], Path]) -> None:
    etc = laid("generic-amd64") / "etc"
    chrony = (etc / "chrony" / "chrony.conf").read_text().splitlines()
    assert not any(line.startswith(("pool", "server", "sourcedir", "confdir")) for line in chrony)
    assert not any(line.startswith("nameserver") for line in (etc / "resolv.conf").read_text().splitlines())


def test_the_broker_waits_for_its_provisioning_and_not_for_the_package_of_the_distribution(
    laid: Callable[[str], Path],
) -> None:
    unit = (laid("generic-amd64") / "etc/systemd/system/edge-broker.service").read_text()
    assert "ConditionPathExists=/etc/mosquitto/broker/broker.pem" in unit


def test_the_confinement_of_the_daemon_lets_it_read_what_its_service_gives_it(laid: Callable[[str], Path]) -> None:
    profile = (laid("generic-amd64") / "etc/apparmor.d/edge-appliance").read_text(encoding="utf-8")
    assert f"  {CREDENTIALS / SERVICE}/** r,\n" in profile
    assert "  deny /etc/mosquitto/ca/** rw,\n" in profile


def test_the_path_is_compiled_once_for_a_program_and_again_for_another(
    laid: Callable[[str], Path], tmp_path: Path
) -> None:
    usr = laid("generic-amd64") / "usr/lib/edge-appliance"
    assert (usr / "program").stat().st_mode & 0o777 == 0o755
    assert "\n/usr/lib/edge-appliance/program\n" in (usr / "settle").read_text(encoding="utf-8")
    record = tmp_path / "opt/edge-appliance/lib/python3.11/site-packages/edge_appliance-0.1.0.dist-info/RECORD"
    record.parent.mkdir(parents=True)
    told = tmp_path / "etc/systemd/system/edge-compile.service.d/50-program.conf"

    def settle(content: str) -> str | None:
        record.write_text(content, encoding="ascii")
        subprocess.run(["sh", usr / "program"], check=True, env={**os.environ, "EDGE_ROOT": str(tmp_path)})
        return told.read_text(encoding="ascii") if told.exists() else None

    one = settle("appliance/__init__.py,sha256=aa,1\n")
    assert one is not None
    mark = next(line.partition("!")[2] for line in one.splitlines() if line.startswith("ConditionPathExists=!"))
    assert f"Environment=EDGE_PROGRAM={mark.removeprefix('/var/cache/edge-appliance/compiled-')}\n" in one
    assert settle("appliance/__init__.py,sha256=aa,1\n") == one
    assert settle("appliance/__init__.py,sha256=bb,1\n") not in {one, None}
    assert settle("") is None  # no program: nothing is believed to be compiled
    unit = (laid("generic-amd64") / "etc/systemd/system/edge-compile.service").read_text(encoding="utf-8")
    after = [line for line in unit.splitlines() if line.startswith("ExecStart")]
    assert after[1:] == [
        "ExecStartPost=/bin/sync",
        "ExecStartPost=/bin/touch /var/cache/edge-appliance/compiled-${EDGE_PROGRAM}",
    ]
