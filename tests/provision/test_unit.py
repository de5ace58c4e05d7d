"""The first boot: what is made, who owns it, what a second one changes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.cli import call
from appliance.config.check import sense_faults
from appliance.config.mission import Mission
from appliance.doctor.unit import judge_identity
from appliance.errors import BundleRefused, IdentityRefused, UsageError
from appliance.host.credentials import CREDENTIALS
from appliance.host.tpm import TpmUnavailable, seal, unseal
from appliance.provision import BrokerSettings
from appliance.provision.unit import FirstBoot, Places, Seal, first_boot, kept
from appliance.sealing.identity import PrivateIdentity, generate
from tests.support.chips import chip, why_not

UNIT = "quay-01"
CREDENTIAL = CREDENTIALS / "edge-appliance.service" / "device.json"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(etc=tmp_path / "etc", state=tmp_path / "state", owner=None)


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[str]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with chip(tmp_path / "chip") as device:
        yield device


def boot(places: Places, brought: Path | None = None, *, unit: str = UNIT, seal: Seal | None = None) -> FirstBoot:
    settings = BrokerSettings(listen="10.30.0.2", home=str(places.broker), run_as="root")
    return first_boot(unit, settings, places, brought, seal=seal)


def request(name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()).public_bytes(Encoding.PEM)


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "ops.csr").write_bytes(request("ops"))
    (folder / "ops.public.json").write_text(generate("recipient", "ops").public.to_json() + "\n", encoding="utf-8")
    (folder / "mission.toml").write_text('schema = "edge-mission/1"\n', encoding="utf-8")
    (folder / "README.txt").write_text("not for us\n", encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def test_a_first_boot_without_a_tpm_leaves_a_whole_unit_and_the_second_changes_nothing(
    places: Places, brought: Path
) -> None:
    done = boot(places, brought)
    assert (done.kept_by, done.recipients, done.trusted) == ("file", ("ops",), False)
    secret = places.ours / "device.json"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert PrivateIdentity.from_json(secret.read_bytes()).public == done.identity
    assert (places.ours / "bus" / f"{UNIT}.key").stat().st_mode & 0o777 == 0o600
    assert (places.broker / "recipients" / "ops" / "ops.pem").exists()
    assert not (places.broker / "recipients" / "ops" / "ops.key").exists()
    assert (places.ours / "mission.toml").stat().st_mode & 0o777 == 0o640
    assert not (places.ours / "README.txt").exists()
    drop_in = (places.etc / "systemd/system/edge-appliance.service.d/50-identity.conf").read_text()
    assert f"\nLoadCredential=device.json:{secret}\n" in drop_in
    before = contents(places.etc)
    assert boot(places, brought).changed == ()
    assert contents(places.etc) == before


def test_an_identity_that_is_sealed_is_nowhere_in_plain_and_opens_on_this_chip_alone(
    places: Places, tpm: str, tmp_path: Path
) -> None:
    done = boot(places, seal=partial(seal, device=tpm))
    assert done.kept_by == "tpm2"
    sealed = (places.ours / "device.json.sealed").read_bytes()
    private = PrivateIdentity.from_json(unseal("device.json", sealed, device=tpm))
    assert private.public == done.identity
    assert not any(b'"seeds"' in content for content, _ in contents(tmp_path / "etc").values())
    drop_in = (places.etc / "systemd/system/edge-appliance.service.d/50-identity.conf").read_text()
    assert f"\nLoadCredentialEncrypted=device.json:{places.ours / 'device.json.sealed'}\n" in drop_in
    again = boot(places, seal=partial(seal, device=tpm))
    assert (again.identity, again.changed) == (done.identity, ())


def test_a_chip_that_fails_leaves_no_secret_behind_and_nothing_else_is_tried(places: Places) -> None:
    def broken(name: str, secret: bytes) -> bytes:
        raise TpmUnavailable("the chip is on strike")

    with pytest.raises(TpmUnavailable):
        boot(places, seal=broken)
    assert kept(places.ours) is None
    assert contents(places.etc) == {}


def test_a_first_boot_that_was_cut_short_before_its_secret_begins_anew(places: Places) -> None:
    first = boot(places)
    (places.ours / "device.json").unlink()  # the power went between the public half and the secret
    again = boot(places)
    assert again.identity.fingerprint != first.identity.fingerprint
    assert PrivateIdentity.from_json((places.ours / "device.json").read_bytes()).public == again.identity


def test_a_disk_of_another_unit_is_refused_and_left_as_it_is(places: Places) -> None:
    boot(places)
    before = contents(places.etc)
    with pytest.raises(IdentityRefused, match="expected the identity of 'quay-02'; found that of 'quay-01'"):
        boot(places, unit="quay-02")
    assert contents(places.etc) == before


def test_what_is_brought_is_read_as_strictly_as_anywhere(places: Places, brought: Path) -> None:
    (brought / "spy.public.json").write_text(generate("recipient", "spy").to_json(None), encoding="utf-8")
    with pytest.raises(IdentityRefused):
        boot(places, brought)
    assert not (places.ours / "spy.public.json").exists()
    (brought / "spy.public.json").unlink()
    (brought / "spy.csr").write_bytes(request("somebody"))
    with pytest.raises(IdentityRefused, match="somebody"):
        boot(places, brought)
    (brought / "spy.csr").unlink()
    (brought / "1.root.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleRefused):
        boot(places, brought)
    (brought / "1.root.json").unlink()
    (brought / "ops.public.json").write_bytes(bytes(64 * 1024))
    with pytest.raises(UsageError, match="at most"):
        boot(places, brought)
    with pytest.raises(UsageError, match="expected a folder"):
        boot(places, brought / "nothing")


def test_the_doctor_says_how_the_identity_is_kept(places: Places, tpm: str, tmp_path: Path) -> None:
    assert judge_identity(CREDENTIAL, places.ours, has_tpm=False).verdict == "bad"  # none yet
    boot(places)
    assert judge_identity(CREDENTIAL, places.ours, has_tpm=False).verdict == "good"
    assert "has a TPM 2" in judge_identity(CREDENTIAL, places.ours, has_tpm=True).says
    (places.ours / "device.json").chmod(0o640)
    assert judge_identity(CREDENTIAL, places.ours, has_tpm=False).verdict == "bad"
    sealed = Places(etc=tmp_path / "other", state=tmp_path / "state2", owner=None)
    boot(sealed, seal=partial(seal, device=tpm))
    assert "sealed to this machine's TPM 2" in judge_identity(CREDENTIAL, sealed.ours, has_tpm=True).says
    assert judge_identity(CREDENTIAL, sealed.ours, has_tpm=False).verdict == "bad"


def test_the_command_tells_what_it_made_and_what_the_doctor_says(
    tpm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["provision", "unit", UNIT, "--listen", "10.30.0.2", "--keep", "tpm2", "--tpm", tpm, "--json"]
    words += [
        "--etc",
        str(tmp_path / "etc"),
        "--state",
        str(tmp_path / "state"),
        "--run-as",
        "",
        "--broker-run-as",
        "root",
    ]
    code = call(words)
    body = json.loads(capsys.readouterr().out)
    assert code == any(finding["verdict"] == "bad" for finding in body["doctor"])  # this desk has ways out
    assert (body["unit"], body["identity_kept_by"], body["trusted"]) == (UNIT, "tpm2", False)
    assert call([*words[:4], "ten", *words[5:]]) == 2


def test_a_mission_that_cannot_run_is_a_finding_and_the_unit_is_made_all_the_same(
    brought: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["provision", "unit", UNIT, "--listen", "10.30.0.2", "--keep", "file", "--from", str(brought), "--json"]
    words += ["--etc", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    assert call([*words, "--run-as", "", "--broker-run-as", "root"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["recipients"] == ["ops"]
    assert body["doctor"][0]["check"] == "mission"
    assert "expected" in body["doctor"][0]["says"]


def test_an_identity_that_the_service_manager_opens_is_no_fault_before_it_runs(tmp_path: Path) -> None:
    def faulty(identity: str) -> list[str]:
        raw = {
            "schema": "edge-mission/1",
            "unit": {"id": UNIT, "origin": {"latitude_deg": 50.0, "longitude_deg": 1.0}, "identity": identity},
            "bus": {"url": "mqtts://10.30.0.2:8883", "recipients": ["ops.public.json"]},
            "feeds": [{"name": "ais", "kind": "ais", "uri": "udp://10.20.0.2:10110"}],
        }
        mission = msgspec.convert(raw, Mission)
        return [fault.key for fault in sense_faults(mission, file="m", resolve=lambda path: tmp_path / path)]

    assert "unit.identity" in faulty("device.json")
    assert "unit.identity" not in faulty(str(CREDENTIAL))
