"""Provisioning, enrolment and revocation: again is nothing, half done is completed, and the clock does not matter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.cli import call
from appliance.errors import ConfigError, IdentityRefused, UsageError
from appliance.provision import ADMIN, BrokerSettings, enrol, provision, read_csr, read_provisioned, revoke
from appliance.provision.access import commands, desired, document, read_document
from appliance.provision.authority import is_revocation_list, read_authority, read_certificate
from appliance.provision.configuration import configuration
from tests.support.brokers import until
from tests.support.provisioned import (
    RESULTS,
    UNIT,
    ProvisionedBroker,
    connected,
    has_faketime,
    is_let_in,
    settings_here,
)

EXAMPLE = BrokerSettings(listen="10.0.0.2", names=("quay-01.local",))
CLOCKS = ("1971-01-02 03:04:05", "2060-06-07 08:09:10")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its mode."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def request(name: str, key: Any = None) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key or ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()).public_bytes(Encoding.PEM)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A provisioned folder whose broker does not run, with one recipient."""
    folder = tmp_path / "broker"
    provision(folder, UNIT, settings_here(folder))
    enrol(folder, "ops")
    return folder


# ---- again, and half done


def test_the_same_again_changes_nothing(home: Path) -> None:
    before = contents(home)
    settings = read_provisioned(home).record.settings
    assert provision(home, UNIT, settings).changed == ()
    assert enrol(home, "ops").changed == ()
    assert contents(home) == before


def test_no_key_is_readable_by_others(home: Path) -> None:
    modes = {name: mode for name, (content, mode) in contents(home).items() if b"PRIVATE KEY" in content}
    assert len(modes) == 5  # CA, administrator, broker, unit, recipient
    assert set(modes.values()) == {0o600}
    assert (home / "ca").stat().st_mode & 0o777 == 0o700


def test_a_run_cut_short_after_any_write_is_completed_by_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    from appliance.provision import folder as folder_module  # noqa: PLC0415 - its write is what is cut here

    whole = folder_module.write_whole
    for cut in range(0, 60, 3):
        root = tmp_path / f"cut-{cut}"
        settings = settings_here(root, port=8883)
        left = cut

        def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
            nonlocal left
            if left == 0:
                raise OSError(28, "No space left on device")
            left -= 1
            whole(path, content, mode=mode)

        monkeypatch.setattr(folder_module, "write_whole", write)
        try:
            provision(root, UNIT, settings)
            enrol(root, "ops")
            revoke(root, "ops")
            break  # nothing was left to cut
        except UsageError as e:
            told = str(e)
        assert "No space left" in told
        monkeypatch.setattr(folder_module, "write_whole", whole)
        check_completed(root, settings)
    assert cut > 15


def check_completed(root: Path, settings: BrokerSettings) -> None:
    provision(root, UNIT, settings)
    enrol(root, "late")
    done = revoke(root, "late")
    assert enrol(root, "ops").tls("ops").key.exists()
    authority = read_authority((root / "ca/ca.key").read_bytes(), (root / "ca/ca.pem").read_bytes())
    record = read_provisioned(root).record
    for name in record.members:
        certificate = read_certificate(read_provisioned(root).tls(name).certificate.read_bytes())
        assert f"{certificate.serial_number:x}" == record.members[name].serial
        certificate.verify_directly_issued_by(authority.certificate)
    revoked = [int(one.serial, 16) for one in done.record.revoked]
    assert is_revocation_list(authority, (root / "broker/crl.pem").read_bytes(), revoked, done.record.list_number)
    access = read_document((root / "broker/dynamic-security.json").read_bytes())
    assert access == desired(UNIT, {name: member.role for name, member in record.members.items()})


def test_new_settings_make_a_new_broker_certificate_and_leave_members_alone(home: Path) -> None:
    before = contents(home)
    settings = settings_here(home, port=read_provisioned(home).record.settings.port, names=("quay.local",))
    changed = provision(home, UNIT, settings).changed
    assert set(changed) == {"provision.json", "broker/broker.pem"}
    assert contents(home)["unit/alpha.pem"] == before["unit/alpha.pem"]


def test_what_was_handed_over_and_moved_away_is_not_made_again(home: Path) -> None:
    for path in (home / "recipients" / "ops").iterdir():
        path.unlink()
    assert enrol(home, "ops").changed == ()
    assert list((home / "recipients" / "ops").iterdir()) == []


def test_the_folder_of_another_unit_is_refused(home: Path) -> None:
    before = contents(home)
    with pytest.raises(UsageError, match="alpha"):
        provision(home, "bravo", settings_here(home))
    assert contents(home) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"schema": "edge-broker/9"}', b"9" * 100])
def test_a_record_that_is_none_is_refused_and_not_written_over(home: Path, content: bytes) -> None:
    (home / "provision.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"provision\.json"):
        enrol(home, "ops2")
    assert (home / "provision.json").read_bytes() == content


def test_a_lost_ca_key_is_told_and_not_replaced(home: Path) -> None:
    (home / "ca" / "ca.key").unlink()
    with pytest.raises(IdentityRefused, match="gone"):
        enrol(home, "ops2")
    assert not (home / "ca" / "ca.key").exists()


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "224.0.0.1", "broker.local", ""])
def test_a_broker_is_bound_to_one_address(tmp_path: Path, listen: str) -> None:
    with pytest.raises(UsageError):
        provision(tmp_path / "b", UNIT, BrokerSettings(listen=listen, home=str(tmp_path)))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "change",
    [{"port": 0}, {"interface": "eth0\nuser root"}, {"run_as": "root\n"}, {"home": "/x\nallow_anonymous true"},
     {"plugin": "relative.so"}, {"max_connections": 0}],
)  # fmt: skip
def test_a_setting_cannot_bring_a_line_of_its_own(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        provision(tmp_path / "b", UNIT, BrokerSettings(**{"listen": "127.0.0.1", **change}))
    assert not (tmp_path / "b").exists()


# ---- requests


def test_a_request_keeps_its_key_with_the_recipient(home: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = read_csr(request("far", key))
    place = enrol(home, "far", csr).tls("far")
    assert read_certificate(place.certificate.read_bytes()).public_key() == key.public_key()
    assert not place.key.exists()
    assert enrol(home, "far", csr).changed == ()
    with pytest.raises(IdentityRefused, match="another key"):
        enrol(home, "far", read_csr(request("far")))


@pytest.mark.parametrize(
    "pem",
    [b"", b"nonsense", request("far")[:-40], b"x" * 20_000, request("far", rsa.generate_private_key(65537, 1024))],
)
def test_a_request_that_is_none_or_weak_is_refused(pem: bytes) -> None:
    with pytest.raises(IdentityRefused) as caught:
        read_csr(pem)
    assert caught.value.reason == "csr"


def test_a_request_of_another_name_and_names_that_are_taken_are_refused(home: Path) -> None:
    before = contents(home)
    with pytest.raises(IdentityRefused, match="far"):
        enrol(home, "near", read_csr(request("far")))
    for name in (UNIT, ADMIN, "broker"):
        with pytest.raises(IdentityRefused):
            enrol(home, name)
    assert contents(home) == before


# ---- revocation


def test_revocation_while_the_broker_is_down_counts_when_it_starts(make_provisioned: Any, tmp_path: Path) -> None:
    broker = make_provisioned()
    stolen = steal(broker, "leaver", tmp_path)
    broker.stop()
    revoke(broker.folder, "leaver")
    broker.start()
    assert not is_let_in(broker.port, stolen)
    assert is_let_in(broker.port, broker.tls_of(UNIT))


def test_a_live_session_ends_within_five_seconds_and_no_new_one_begins(make_provisioned: Any, tmp_path: Path) -> None:
    broker = make_provisioned()
    stolen = steal(broker, "leaver", tmp_path)
    with connected(broker.port, stolen) as leaver, connected(broker.port, broker.tls_of("ops")) as ops:
        assert leaver.subscribe(f"edge/v1/{UNIT}/#")
        assert ops.subscribe(f"edge/v1/{UNIT}/#")
        started = time.monotonic()
        revoke(broker.folder, "leaver")
        assert leaver.lost.wait(5 - (time.monotonic() - started))
        assert not is_let_in(broker.port, stolen)
        assert not ops.lost.is_set()
        with connected(broker.port, broker.tls_of(UNIT)) as unit:
            assert unit.publish(RESULTS, b"x") is None
        until(lambda: bool(ops.heard), 5)
        assert leaver.heard == []


def test_a_second_and_a_third_revocation_reach_a_running_broker_too(make_provisioned: Any, tmp_path: Path) -> None:
    """OpenSSL takes of two lists the one with the later date: each list must be later than the one that is loaded."""
    broker = make_provisioned()
    gone = {name: steal(broker, name, tmp_path) for name in ("one", "two", "three")}
    for name in gone:
        revoke(broker.folder, name)
    assert not [name for name, files in gone.items() if is_let_in(broker.port, files)]


def test_who_is_enrolled_again_under_the_same_name_has_another_key(make_provisioned: Any, tmp_path: Path) -> None:
    broker = make_provisioned()
    stolen = steal(broker, "ops", tmp_path)
    revoke(broker.folder, "ops")
    again = enrol(broker.folder, "ops").tls("ops")
    assert again.key.read_bytes() != stolen.key.read_bytes()
    assert is_let_in(broker.port, again)
    assert not is_let_in(broker.port, stolen)


def test_the_units_own_certificate_can_be_replaced(make_provisioned: Any, tmp_path: Path) -> None:
    broker = make_provisioned()
    stolen = steal(broker, UNIT, tmp_path)
    revoke(broker.folder, UNIT)
    provision(broker.folder, UNIT, broker.settings)
    assert not is_let_in(broker.port, stolen)
    with connected(broker.port, broker.tls_of(UNIT)) as unit:
        assert unit.publish(RESULTS, b"x") is None


def test_revoking_again_changes_nothing_and_a_stranger_cannot_be_revoked(home: Path) -> None:
    revoke(home, "ops")
    before = contents(home)
    assert revoke(home, "ops").changed == ()
    for name in ("nobody", ADMIN):
        with pytest.raises(IdentityRefused):
            revoke(home, name)
    assert contents(home) == before


def test_what_was_changed_by_hand_on_a_running_broker_is_put_right(make_provisioned: Any) -> None:
    broker = make_provisioned()
    broker.tls_of("ops")
    by_hand = {"commands": [{"command": "addRoleACL", "rolename": "recipient", "acltype": "subscribePattern",
                             "topic": "#", "allow": True}]}  # fmt: skip
    with connected(broker.port, broker.admin) as admin:
        assert admin.publish("$CONTROL/dynamic-security/v1", json.dumps(by_hand).encode()) is None
    with connected(broker.port, broker.tls_of("ops")) as ops:
        assert ops.subscribe("#")
    assert provision(broker.folder, UNIT, broker.settings).told
    with connected(broker.port, broker.tls_of("ops")) as ops:
        assert not ops.subscribe("#")


def test_the_commands_bring_any_access_list_to_the_one_that_is_wanted() -> None:
    wanted = desired(UNIT, {UNIT: "unit", "ops": "recipient", ADMIN: "admin"})
    assert commands(wanted, wanted) == []
    assert read_document(document(wanted)) == wanted
    now = desired("bravo", {"bravo": "unit", "ops": "admin"})
    verbs = [
        (command["command"], command.get("username") or command.get("rolename")) for command in commands(now, wanted)
    ]
    assert verbs[0] == ("deleteClient", "bravo")
    assert ("modifyRole", "unit") in verbs
    assert verbs.index(("deleteClient", "ops")) < verbs.index(("createClient", "ops"))


# ---- clocks


def test_every_certificate_and_list_is_valid_from_1970_to_9999(home: Path) -> None:
    certificates = [
        x509.load_pem_x509_certificate(path.read_bytes()) for path in home.rglob("*.pem") if path.stem != "crl"
    ]
    assert len(certificates) >= 6
    assert {c.not_valid_before_utc.year for c in certificates} == {1970}
    assert {c.not_valid_after_utc.year for c in certificates} == {9999}
    crl = x509.load_pem_x509_crl((home / "broker" / "crl.pem").read_bytes())
    assert crl.last_update_utc.year == 1970
    assert crl.next_update_utc is not None
    assert crl.next_update_utc.year == 9999


@pytest.mark.skipif(not has_faketime(), reason="faketime is not installed here")
@pytest.mark.parametrize("clock", CLOCKS)
def test_no_clock_of_the_broker_or_of_the_unit_locks_anybody_out(tmp_path: Path, clock: str) -> None:
    """Broker and clients each in a process that believes it is 1971 or 2060; who was revoked stays out."""
    broker = ProvisionedBroker(tmp_path / "broker")
    files, stolen = broker.tls_of("ops"), steal(broker, "leaver", tmp_path)
    revoke(broker.folder, "leaver")
    broker.start("faketime", "-f", f"@{clock}")
    try:
        assert is_let_in(broker.port, files)
        assert not is_let_in(broker.port, stolen)
        for other, ours in (("ops", files), ("leaver", stolen)):
            arguments = [str(broker.port), str(ours.ca), str(ours.certificate), str(ours.key)]
            program = ["faketime", "-f", f"@{clock}", sys.executable, "-c", SUBSCRIBE, *arguments]
            said = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
            year = clock[:4]
            assert said.stdout.split() == [year, "in" if other == "ops" else "out"], said.stderr
    finally:
        broker.stop()


SUBSCRIBE = """
import sys, time
from pathlib import Path
from appliance.bus import TlsFiles
from tests.support.provisioned import is_let_in
port, ca, certificate, key = sys.argv[1:]
files = TlsFiles(ca=Path(ca), certificate=Path(certificate), key=Path(key))
print(time.gmtime().tm_year, "in" if is_let_in(int(port), files) else "out")
"""


# ---- the command, and what the repository shows


def test_the_command_provisions_enrols_and_revokes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_provisioned: Callable[..., ProvisionedBroker]
) -> None:
    plugin = make_provisioned().settings.plugin
    out, csr = ["--out", str(tmp_path / "b"), "--json"], tmp_path / "far.csr"
    csr.write_bytes(request("far"))
    here = ["--listen", "127.0.0.1", "--port", "1", "--run-as", "root", "--plugin", plugin]
    assert call(["provision", "broker", "quay-01", *here, *out]) == 0
    assert json.loads(capsys.readouterr().out)["members"] == {"local-admin": "admin", "quay-01": "unit"}
    assert call(["provision", "recipient", "ops", *out]) == 0
    assert call(["provision", "recipient", "far", "--csr", str(csr), *out]) == 0
    assert call(["provision", "revoke", "ops", *out]) == 0
    assert call(["provision", "recipient", "a/#", *out]) == 3
    assert call(["provision", "recipient", "x", "--out", str(tmp_path / "elsewhere")]) == 2
    capsys.readouterr()
    assert call(["provision", "show", *out]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["members"].keys(), shown["revoked"]) == ({"local-admin", "quay-01", "far"}, ["ops"])


def test_the_examples_in_the_repository_are_what_the_command_generates(repository: Path) -> None:
    shown = repository / "firmware_config" / "mosquitto"
    assert (shown / "mosquitto.conf").read_text() == configuration(EXAMPLE)
    access = desired("quay-01", {ADMIN: "admin", "quay-01": "unit", "ops": "recipient"})
    assert (shown / "dynamic-security.json").read_bytes() == document(access)


def steal(broker: ProvisionedBroker, name: str, folder: Path) -> Any:
    """Copies of a member's files, as a thief would have them after the originals were removed."""
    files = broker.tls_of(name)
    for path in (files.ca, files.certificate, files.key):
        (folder / f"stolen-{name}{path.suffix if path != files.ca else '-ca'}").write_bytes(path.read_bytes())
    return type(files)(
        ca=folder / f"stolen-{name}-ca", certificate=folder / f"stolen-{name}.pem", key=folder / f"stolen-{name}.key"
    )
