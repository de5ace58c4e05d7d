"""A board behind commands: a power switch, a console and a shell that are programs of this test."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import UsageError
from hil.devices.board import Board, read_board
from hil.devices.device import CannotDo, Device, DeviceFailed, DeviceTimeout
from hil.devices.named import device_named

BOARD = """\
schema = "edge-board/1"
unit = "quay-01"
power_on = ["{bin}/power", "on"]
power_off = ["{bin}/power", "off"]
console = ["{bin}/console"]
shell = ["{bin}/remote", "orin-3"]
sensors_address = "127.0.0.1"
bus_address = "10.30.0.2"
rig_address = "127.0.0.1"
"""
#: The switch keeps its state in a file; without power nothing answers; the remote shell joins its words, as ssh does.
POWER = '#!/bin/sh\n[ "$1" = on ] && touch {bin}/on || rm -f {bin}/on\n'
REMOTE = '#!/bin/sh\nshift\n[ -e {bin}/on ] || { echo "no route to host" >&2; exit 255; }\nexec /bin/sh -c "$*"\n'
CONSOLE = "#!/bin/sh\necho 'Booting Linux on physical CPU 0x0'\nexec sleep 60\n"
#: No service manager here: what it is asked is written down, and its answers are as systemctl's.
SYSTEMCTL = '#!/bin/sh\necho "$*" >> {bin}/asked\ncase "$*" in *MainPID*) echo 77;; *ExecMainStatus*) echo 3;; esac\n'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"power": POWER, "remote": REMOTE, "console": CONSOLE, "systemctl": SYSTEMCTL}.items():
        (tools / name).write_text(text.replace("{bin}", str(tools)), encoding="utf-8")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (tmp_path / "board.toml").write_text(BOARD.replace("{bin}", str(tools)), encoding="utf-8")
    return tmp_path


@pytest.fixture
def board(bench: Path) -> Iterator[Board]:
    one = Board(read_board(bench / "board.toml"), bench / "device")
    one.power_on()
    yield one
    one.power_off()


def test_a_board_is_a_device_and_is_found_by_its_file(bench: Path) -> None:
    found = device_named(str(bench / "board.toml"), bench / "device", print)
    assert isinstance(found, Device)
    assert (found.kind, found.unit, found.bus_url) == ("board", "quay-01", "mqtts://10.30.0.2:8883")
    assert found.serve_at == (("127.0.0.1", 554), ("127.0.0.1", 10110))
    assert found.udp_at(8600) == ("127.0.0.1", 8600)
    with pytest.raises(CannotDo, match="9999"):
        found.udp_at(9999)


def test_power_makes_it_answer_and_the_console_is_kept(board: Board, bench: Path) -> None:
    deadline = time.monotonic() + 20.0
    while not board.booted() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert board.facts["cores"] == str(os.cpu_count())
    board.power_off()
    assert not board.booted()
    with pytest.raises(DeviceFailed, match="off"):
        board.shell("true")
    assert "physical CPU" in (bench / "device" / "console.log").read_text()


def test_a_shell_that_adds_words_of_its_own_is_refused_by_name(bench: Path) -> None:
    remote = bench / "bin" / "remote"
    remote.write_text(remote.read_text().replace("exec /bin/sh", "echo selected role main\nexec /bin/sh"))
    board = Board(read_board(bench / "board.toml"), bench / "device")
    board.power_on()
    try:
        with pytest.raises(DeviceFailed, match=r"orin-3: expected a command's output alone; found b'selected role"):
            board.booted()
    finally:
        board.power_off()


def test_a_board_that_lost_its_power_by_itself_is_not_booted(board: Board, bench: Path) -> None:
    assert board.booted()
    (bench / "bin" / "on").unlink()
    assert not board.booted()
    with pytest.raises(DeviceFailed, match=r"orin-3: the board was not reached: no route to host"):
        board.shell("true")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=80))
def test_words_come_to_the_board_as_they_are(board: Board, text: str) -> None:
    answer = board.reach(["printf", "%s", text])
    assert (answer.code, answer.out) == (0, text.encode())


def test_a_command_tells_its_code_streams_and_input(board: Board) -> None:
    ran = board.shell("echo hello; echo bad >&2; exit 3")
    assert (ran.code, ran.out, ran.err) == (3, "hello\n", "bad\n")
    assert board.reach(["cat"], bytes(range(256))).out == bytes(range(256))
    with pytest.raises(DeviceTimeout, match="not done within"):
        board.shell("sleep 30", timeout_s=0.2)


def test_services_are_the_service_managers(board: Board, bench: Path) -> None:
    assert board.pid("daemon") == 77
    assert board.stop() == 3
    board.kill("broker")
    board.hold("broker", held=True)
    asked = (bench / "bin" / "asked").read_text()
    assert "show --value -p MainPID edge-appliance.service" in asked
    assert "stop edge-appliance.service" in asked
    assert "kill --kill-whom=main --signal=KILL edge-broker.service" in asked
    assert "mask --runtime --quiet edge-broker.service" in asked


def test_a_switch_that_fails_is_an_error_of_the_device(bench: Path) -> None:
    text = (bench / "board.toml").read_text().replace('power", "on"', 'nothing", "on"')
    (bench / "board.toml").write_text(text)
    with pytest.raises(CannotDo, match="nothing: No such file"):
        Board(read_board(bench / "board.toml"), bench / "device").power_on()
    switch = bench / "bin" / "nothing"
    switch.write_text("#!/bin/sh\necho 'outlet 3 is locked' >&2\nexit 1\n")
    switch.chmod(switch.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(DeviceFailed, match="ended with 1: outlet 3 is locked"):
        Board(read_board(bench / "board.toml"), bench / "device").power_on()


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ('"edge-board/1"', '"edge-board/2"', "schema"),
        ('power_on = ["', 'power_in = ["', "power_in"),
        ('console = ["{bin}/console"]', "console = []", "console"),
        ('"quay-01"', '"Quay 01"', "unit"),
        ('"10.30.0.2"', '"orin.local"', "bus_address: expected an IP address; found 'orin.local'"),
        ("schema", "[schema", "board.toml"),
    ],
)
def test_a_wrong_board_file_is_refused_by_name(tmp_path: Path, wrong: str, right: str, says: str) -> None:
    assert wrong in BOARD
    path = tmp_path / "board.toml"
    path.write_text(BOARD.replace(wrong, right))
    with pytest.raises(UsageError, match=says):
        read_board(path)
    with pytest.raises(UsageError, match="No such file"):
        read_board(tmp_path / "no.toml")


@pytest.mark.skipif(shutil.which("sshd", path="/usr/sbin") is None, reason="no OpenSSH server is installed here")
def test_openssh_carries_words_codes_and_bytes(bench: Path) -> None:
    folder = bench / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "rig"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_bytes((folder / "rig.pub").read_bytes())
    lines = (f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/authorized", "StrictModes no", "UsePAM no")
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    # One connection over standard streams: no port is opened.
    server = f"/usr/sbin/sshd -i -e -f {folder}/sshd_config"
    shell = ["ssh", "-F", "none", "-i", f"{folder}/rig", "-o", f"ProxyCommand={server}", "-o", "LogLevel=ERROR",
             "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known", "board"]  # fmt: skip
    text = (bench / "board.toml").read_text()
    text = "\n".join(f"shell = {shell}" if line.startswith("shell") else line for line in text.splitlines())
    (bench / "board.toml").write_text(text)
    board = Board(read_board(bench / "board.toml"), bench / "device")
    board.power_on()
    try:
        assert board.reach(["cat"], bytes(range(256)) * 400).out == bytes(range(256)) * 400
        assert board.reach(["printf", "%s|", "a b", "$HOME", "'", "ä\n"]).out.decode() == "a b|$HOME|'|ä\n|"
        assert board.shell("exit 7").code == 7
    finally:
        board.power_off()
