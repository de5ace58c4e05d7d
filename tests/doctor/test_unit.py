"""What a unit rests on: each finding is shown to be able to fail."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.cli import call
from appliance.doctor import Finding, examine, worst
from appliance.doctor.unit import (
    judge_audit,
    judge_clock,
    judge_disk,
    judge_heat,
    judge_identity,
    judge_position,
    judge_recipients,
)
from appliance.host.machine import Room, Zone, room, thermal_zones
from appliance.sealing import generate
from appliance.sealing.succession import announce, lineage, rotated
from appliance.slots import Slots
from export import desk

PRODUCT = "acme/harbour"
NS = 1_000_000_000


def at(year: int) -> int:
    return int(datetime(year, 12, 1, tzinfo=UTC).timestamp()) * NS


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A device with a release in service."""
    folder = tmp_path_factory.mktemp("doctor")
    model = repository / "models" / "harbour"
    made = desk.make(
        model=model / "harbour.onnx",
        manifest=model / "model.json",
        product=PRODUCT,
        keys=folder / "fleet",
        out=folder / "stick",
    )
    slots = Slots(folder / "state")
    slots.provision(made.anchor.read_bytes(), unit="quay-01")
    slots.install(made.stick, PRODUCT, at(2026))
    return folder / "state"


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_device_with_a_release_in_service_is_told_with_what_it_rests_on(state: Path) -> None:
    found = by_check(list(examine(None, state)))
    assert found["trust"].verdict == "warning"
    assert "witnessed by a file" in found["trust"].says
    assert found[f"slot {PRODUCT}"].verdict == "warning"
    assert "every file as signed" in found[f"slot {PRODUCT}"].says
    assert found["audit"].verdict == "good"
    assert found["disk"].verdict in {"good", "warning"}


def test_a_damaged_slot_an_edited_log_and_a_wiped_trust_state_are_bad(state: Path, tmp_path: Path) -> None:
    import shutil  # noqa: PLC0415

    hurt = tmp_path / "state"
    shutil.copytree(state, hurt)
    model = next(hurt.glob("slots/*/*/a/model.onnx"))
    model.write_bytes(model.read_bytes()[:-1])
    log = hurt / "audit" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"bundle.install", b"bundle.instal1"))
    found = by_check(list(examine(None, hurt)))
    assert found[f"slot {PRODUCT}"].verdict == "bad"
    assert found["audit"].verdict == "bad"
    (hurt / "trust" / "state.json").unlink()
    found = by_check(list(examine(None, hurt)))
    assert (found["trust"].verdict, "[trust-state]" in found["trust"].says) == ("bad", True)


def test_a_doctor_makes_nothing_where_nothing_is(tmp_path: Path) -> None:
    found = by_check(list(examine(None, tmp_path / "none")))
    assert found["trust"].verdict == "unknown"
    assert not (tmp_path / "none").exists()
    assert judge_audit(tmp_path).verdict == "unknown"


@pytest.mark.parametrize(("year", "verdict"), [(1970, "bad"), (2026, "good"), (2099, "bad")])
def test_a_clock_that_cannot_be_true_is_bad(year: int, verdict: str) -> None:
    assert judge_clock(at(year), "synchronised", at(2026) - NS).verdict == verdict


def test_a_clock_that_nothing_disciplines_is_warned_of() -> None:
    assert judge_clock(at(2026), "free-running", 0).verdict == "warning"


def test_a_place_from_gnss_needs_a_receiver() -> None:
    assert judge_position("surveyed", []).verdict == "good"
    assert judge_position("gnss", ["mast"]).verdict == "warning"
    assert judge_position("gnss", []).verdict == "bad"


def test_an_identity_that_others_can_read_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    assert judge_identity(path).verdict == "bad"
    path.write_text("{}")
    path.chmod(0o640)
    assert "0640" in judge_identity(path).says
    path.chmod(0o600)
    assert judge_identity(path).verdict == "good"


def test_recipients_are_told_by_name_and_fingerprint(tmp_path: Path) -> None:
    public = generate("recipient", "ops").public
    good, bad = tmp_path / "ops.public.json", tmp_path / "bad.json"
    good.write_text(public.to_json())
    bad.write_text(public.to_json().replace('"ops"', '"spy"'))
    finding = judge_recipients([good], tmp_path / "taken")
    assert (finding.verdict, f"ops ({public.fingerprint[:16]})" in finding.says) == ("good", True)
    assert judge_recipients([good, bad], tmp_path / "taken").verdict == "bad"
    assert judge_recipients([tmp_path / "none"], tmp_path / "taken").verdict == "bad"


def test_a_recipient_that_announced_its_next_key_is_told_by_that_key(tmp_path: Path) -> None:
    before = generate("recipient", "ops")
    after = rotated(before)
    (tmp_path / "ops.public.json").write_text(before.public.to_json())
    record = tmp_path / "taken" / f"{lineage(before.public)}.json"
    record.parent.mkdir()
    record.write_bytes(announce(after, 3))
    assert after.public.fingerprint[:16] in judge_recipients([tmp_path / "ops.public.json"], record.parent).says
    record.write_bytes(announce(rotated(generate("recipient", "ops")), 3))
    assert judge_recipients([tmp_path / "ops.public.json"], record.parent).verdict == "bad"


@pytest.mark.parametrize(
    ("free", "read_only", "verdict"),
    [(10**10, False, "good"), (10**9, False, "warning"), (10**7, False, "bad"), (10**10, True, "bad")],
)
def test_a_disk_that_is_full_or_takes_no_writes_is_bad(free: int, read_only: bool, verdict: str) -> None:
    assert judge_disk(Room(total_bytes=10**11, free_bytes=free, read_only=read_only), Path("/")).verdict == verdict


def test_the_room_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    assert room(tmp_path / "a" / "b").total_bytes == room(tmp_path).total_bytes > 0


def zone(folder: Path, number: int, name: str, milli: str, critical: str = "") -> None:
    path = folder / f"thermal_zone{number}"
    path.mkdir()
    (path / "type").write_text(name + "\n")
    (path / "temp").write_text(milli + "\n")
    if critical:
        (path / "trip_point_0_type").write_text("passive\n")
        (path / "trip_point_0_temp").write_text("50000\n")
        (path / "trip_point_1_type").write_text("critical\n")
        (path / "trip_point_1_temp").write_text(critical + "\n")


def test_zones_are_read_as_the_kernel_has_them(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "61500", "104500")
    zone(tmp_path, 1, "gpu-thermal", "N/A")
    zone(tmp_path, 2, "board", "40000")
    assert thermal_zones(tmp_path) == (
        Zone(name="cpu-thermal", temperature_celsius=61.5, critical_celsius=104.5),
        Zone(name="board", temperature_celsius=40.0, critical_celsius=None),
    )
    assert judge_heat(thermal_zones(tmp_path)).verdict == "good"


def test_a_box_near_its_limit_is_bad_and_one_that_tells_nothing_unknown() -> None:
    assert judge_heat([Zone(name="cpu", temperature_celsius=96.0, critical_celsius=104.5)]).verdict == "bad"
    assert judge_heat([Zone(name="board", temperature_celsius=86.0, critical_celsius=None)]).verdict == "bad"
    assert judge_heat([]).verdict == "unknown"


def test_the_worst_verdict_counts() -> None:
    def of(*verdicts: str) -> str:
        return worst(Finding(check="x", verdict=v, says="") for v in verdicts)  # type: ignore[arg-type]

    assert of() == "good"
    assert of("good", "warning", "unknown") == "warning"
    assert of("unknown", "bad", "good") == "bad"


def test_the_command_says_the_same_to_people_and_to_scripts(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = call(["doctor", "--state", str(state), "--json"])
    body = json.loads(capsys.readouterr().out)
    assert code == (1 if body["verdict"] == "bad" else 0)
    assert {"routes", "dns", "packet-filter", "listening", "connections"} <= {f["check"] for f in body["findings"]}
    assert call(["doctor", "--state", str(state)]) == code
    out = capsys.readouterr().out
    for finding in body["findings"]:
        assert f"{finding['check']}: " in out
    assert out.splitlines()[-1].endswith(body["verdict"])


def test_a_wrong_mission_is_bad_usage(tmp_path: Path) -> None:
    assert call(["doctor", os.fspath(tmp_path / "none.toml")]) == 2
