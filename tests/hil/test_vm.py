"""The virtual device without a machine: what goes in, how QEMU is called, how its hands answer, how a run is judged."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.check import sense_faults
from appliance.config.mission import Mission
from appliance.errors import UsageError
from hil.devices.device import CannotDo, Device, DeviceFailed, DeviceTimeout
from hil.devices.machine import listens
from hil.devices.qemu import QemuDevice, command_line, free_forwards
from hil.rig.reports.html import page
from hil.rig.verdict import Outcome
from hil.vm import wheelhouse
from hil.vm.build import GUEST, Image, device_of
from hil.vm.campaign import holes
from hil.vm.inside import DOCUMENTED_PORTS, listening
from hil.vm.readings import Report
from hil.vm.recipe import FEED_PORTS, MACHINES, name_of, read_lock, requirement_lines, runtime_part
from hil.vm.site import mission

LOCK = """\
# written by a tool
alpha==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
    # via
    #   edge-appliance (pyproject.toml)
    #   gamma
beta==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:bb
    # via alpha
delta==4.0 \\
    --hash=sha256:dd
    # via alpha
omega==9.0 \\
    --hash=sha256:ee
    # via edge-appliance (pyproject.toml)
"""


def image_in(folder: Path, architecture: str = "amd64") -> Image:
    names = {"disk": "disk.raw", "kernel": "k", "initrd": "i", "packages": "p", "sbom": "s"}
    paths = {field: folder / name for field, name in names.items()}
    return Image(architecture=architecture, name="image", compiled=True, **paths)  # type: ignore[arg-type]


# ---- what goes in


def test_the_runtime_part_of_a_lock_is_what_was_asked_for_and_what_that_needs_there() -> None:
    part = runtime_part(read_lock(LOCK), ["Alpha>=1"], MACHINES["amd64"].markers)
    assert [entry.requirement.name for entry in part] == ["alpha", "delta"]
    assert requirement_lines(part) == "alpha==1.0 --hash=sha256:aa --hash=sha256:ab\ndelta==4.0 --hash=sha256:dd\n"


def test_a_lock_that_lacks_something_or_has_no_hash_builds_nothing() -> None:
    with pytest.raises(UsageError, match="expected zeta; run `make lock`"):
        runtime_part(read_lock(LOCK), ["alpha", "zeta"], MACHINES["amd64"].markers)
    with pytest.raises(UsageError, match=r"expected hashes for naked==1\.0"):
        read_lock(LOCK + "naked==1.0\n")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_image_gets_the_runtime_and_nothing_of_the_desk(architecture: str, repository: Path) -> None:
    lines = wheelhouse.runtime_requirements(repository, MACHINES[architecture]).splitlines()
    names = {line.partition("==")[0] for line in lines}
    assert {"numba", "llvmlite", "onnxruntime", "cryptography", "tuf"} <= names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "onnx", "tensorrt-rtx-cu13-libs", "scipy"}
    assert all("--hash=sha256:" in line and ";" not in line for line in lines)


@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_other_inputs_have_another_name(one: list[bytes], two: list[bytes]) -> None:
    assert (name_of(one) == name_of(two)) == (one == two)


def test_the_sources_on_the_image_are_dated_by_their_content(tmp_path: Path) -> None:
    for name, text in (("a.py", "x = 1\n"), ("b.py", "x = 1\n"), ("c.py", "x = 2\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    wheelhouse.date_by_content(tmp_path)
    a, b, c = (int((tmp_path / name).stat().st_mtime) for name in ("a.py", "b.py", "c.py"))
    assert a == b != c


def test_the_field_image_carries_nothing_of_the_rigs_hands(repository: Path) -> None:
    shipped = [path for path in (repository / "firmware_config").rglob("*") if path.is_file()]
    assert shipped
    assert not [path for path in shipped if b"edge-rig" in path.read_bytes() or b"org.edge.rig" in path.read_bytes()]


def test_the_mission_of_the_virtual_device_is_well_formed_and_uses_ports_that_are_open(tmp_path: Path) -> None:
    written = tomllib.loads(mission("quay-01"))
    assert msgspec.convert(written, Mission).unit.id == "quay-01"
    on_the_device = ("identity", "recipients", "ca", "certificate", "key", "bundle", "model", "uri")
    faults = sense_faults(msgspec.convert(written, Mission), file="m", resolve=lambda path: tmp_path / path)
    assert all(any(word in fault.key for word in on_the_device) for fault in faults), faults
    open_ports = {(rule.protocol, rule.port) for rule in device_of("amd64").listen}
    assert {(protocol, int(at.rpartition(":")[2])) for protocol, at in DOCUMENTED_PORTS} <= open_ports
    assert {("udp", port) for port in FEED_PORTS} <= open_ports


# ---- how the machine is called


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_network_of_the_machine_leads_to_the_rig_alone(architecture: str, tmp_path: Path) -> None:
    words = command_line(image_in(tmp_path, architecture), tmp_path, free_forwards(), stick=None, tpm=False)
    networks = [words[at + 1] for at, word in enumerate(words) if word == "-netdev"]
    assert len(networks) == 2
    assert all(net.startswith("user,") and ",restrict=on" in net and ",ipv6=off" in net for net in networks)
    forwarded = [part for net in networks for part in net.split(",") if part.startswith("hostfwd")]
    assert all(":127.0.0.1:" in part for part in forwarded)
    assert len(forwarded) == len(FEED_PORTS) + 1
    assert "-nodefaults" in words  # no network card, CD or floppy that nobody named
    assert words[words.index("-accel") + 1].startswith("tcg")


def test_a_port_that_the_packet_filter_drops_is_refused_by_the_device(tmp_path: Path) -> None:
    device = QemuDevice(image_in(tmp_path), tmp_path / "d")
    assert isinstance(device, Device)
    assert device.udp_at(8600)[0] == "127.0.0.1"
    with pytest.raises(CannotDo, match="packet filter"):
        device.udp_at(9999)


# ---- its hands: the guest's own agent behind a QEMU that is only its socket


FAKE_QEMU = """#!{python}
import contextlib, os, socket, sys, threading
sys.path.insert(0, {guest!r})
import agent
path = next(w.split("path=")[1].split(",")[0] for w in sys.argv if w.startswith("socket,id=rig"))
server = socket.socket(socket.AF_UNIX)
server.bind(path + ".new")
server.listen()
os.rename(path + ".new", path)  # whoever sees it can connect
def answer(caller):
    with caller, contextlib.suppress(OSError):
        agent.serve(caller.fileno())
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QemuDevice]:
    tools = tmp_path / "bin"
    tools.mkdir()
    texts = {"qemu-system-x86_64": FAKE_QEMU.format(python=sys.executable, guest=str(GUEST)), "qemu-img": "#!/bin/sh\n"}
    for name, text in texts.items():
        (tools / name).write_text(text, encoding="utf-8")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    one = QemuDevice(image_in(tmp_path), tmp_path / "d")
    one.power_on()
    deadline = time.monotonic() + 20.0
    while not (tmp_path / "d" / "rig").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield one
    one.power_off()


def test_the_shell_tells_how_a_command_ended(device: QemuDevice, tmp_path: Path) -> None:
    ran = device.shell("echo hello; echo bad >&2; exit 3")
    assert (ran.code, ran.out, ran.err) == (3, "hello\n", "bad\n")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    assert device.fetch(str(tmp_path / "file")) == bytes(range(256)) * 1000
    with pytest.raises(DeviceFailed, match="nothing"):
        device.fetch(str(tmp_path / "nothing"))


def test_a_command_that_does_not_end_is_given_up_and_the_next_one_gets_its_own_answer(device: QemuDevice) -> None:
    with pytest.raises(DeviceTimeout):
        device.shell("sleep 30; echo late", timeout_s=0.3)
    assert device.shell("echo mine").out == "mine\n"


def test_without_power_nothing_answers(device: QemuDevice) -> None:
    device.power_off()
    with pytest.raises(DeviceFailed, match="off"):
        device.shell("true")
    assert not device.booted()


def test_a_broker_that_listens_is_told_from_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        look = listens(port)
        assert subprocess.run(["/bin/sh", "-c", look], check=False).returncode == 0
        with socket.create_connection(("127.0.0.1", port)):
            pass
    assert subprocess.run(["/bin/sh", "-c", look], check=False).returncode == 1


def test_the_agent_forgets_what_is_no_request() -> None:
    sys.path.insert(0, str(GUEST))
    try:
        import agent  # noqa: PLC0415 - the guest's file, which is no package
    finally:
        sys.path.remove(str(GUEST))
    ours, theirs = socket.socketpair()
    said = b""
    with ours, theirs:
        answering = threading.Thread(target=_served, args=(agent.serve, theirs), daemon=True)
        answering.start()
        ours.sendall(b"\x00garbage\n[1, 2]\n" + b'{"id": 7, "argv": "no list')
        ours.sendall(b'"}\n{"id": 8, "argv": ["/bin/nothing"]}\n')
        ours.settimeout(10.0)
        while said.count(b"\n") < 2:
            said += ours.recv(65536)
        theirs.shutdown(socket.SHUT_RDWR)
    answering.join(10.0)
    assert not answering.is_alive()
    assert b'"id": 8' in said
    assert said.count(b'"fault"') == 2


def _served(serve: Callable[[int], None], side: socket.socket) -> None:
    """Until the test closes its side: the agent itself waits for ever."""
    with contextlib.suppress(OSError):
        serve(side.fileno())


# ---- how a run is judged


def test_a_hole_is_a_counter_that_is_missing_below_the_highest() -> None:
    assert holes(frozenset()) == 0
    assert holes(frozenset({(1, 0), (1, 1), (2, 0)})) == 0
    assert holes(frozenset({(1, 0), (1, 3), (2, 1)})) == 3


def test_open_ports_are_read_from_ss_with_the_address_that_they_stand_on() -> None:
    text = (
        "udp UNCONN 0 0 10.20.0.2:8600 0.0.0.0:*\n"
        "udp UNCONN 0 0 10.20.0.2%eth0:68 0.0.0.0:*\n"
        "tcp LISTEN 0 100 10.30.0.2:8883 0.0.0.0:*\n\n"
    )
    assert listening(text) == {("udp", "10.20.0.2:8600"), ("udp", "10.20.0.2"), ("tcp", "10.30.0.2:8883")}


def test_a_run_passes_only_where_something_was_judged_and_everything_held() -> None:
    report = Report()
    report.take("told", 5.0, "s")
    assert report.outcome is Outcome.FAIL
    report.take("held", 1.0, "s", 1.0)
    assert report.outcome is Outcome.PASS
    report.take("passed", 1.1, "s", 1.0)
    assert report.outcome is Outcome.FAIL
    report.error = "the machine did not boot"
    result = report.result(verb="run", says="s", device="qemu-amd64", began="now", took_s=1.0)
    assert result.outcome is Outcome.ERROR
    assert "the machine did not boot" in page(result)
