"""The audit log on disk: what is written stays, and what is changed shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import Refused
from appliance.slots.auditlog import MAX_LINE_BYTES, AuditLog, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "audit", "edge-appliance/test")
    for number in range(6):
        log.append("test.event", 1000 + number, detail=f"number {number}")
    return tmp_path / "audit"


def _lines(folder: Path) -> list[bytes]:
    return (folder / "log.jsonl").read_bytes().splitlines(keepends=True)


def _refused(folder: Path, reason: str, **options: bytes) -> None:
    with pytest.raises(Refused) as caught:
        verify(folder, **options)
    assert caught.value.reason == reason


def test_records_are_numbered_canonical_json_lines(folder: Path) -> None:
    records = [json.loads(line) for line in _lines(folder)]
    assert [record["seq"] for record in records] == list(range(6))
    assert json.dumps(records[0], sort_keys=True, separators=(",", ":")).encode() + b"\n" == _lines(folder)[0]
    result = verify(folder)
    assert (result.records, result.beyond, result.origin) == (6, 0, "edge-appliance/test")


def test_an_edited_record_shows(folder: Path) -> None:
    data = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(data.replace(b"number 2", b"number 9"))
    _refused(folder, "audit-edited")


def test_records_in_another_order_show(folder: Path) -> None:
    lines = _lines(folder)
    lines[2], lines[3] = lines[3], lines[2]
    (folder / "log.jsonl").write_bytes(b"".join(lines))
    _refused(folder, "audit-edited")


def test_renumbered_records_in_another_order_show(folder: Path) -> None:
    records = [json.loads(line) for line in _lines(folder)]
    records[2]["detail"], records[3]["detail"] = records[3]["detail"], records[2]["detail"]
    lines = [json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n" for record in records]
    (folder / "log.jsonl").write_text("".join(lines))
    _refused(folder, "audit-edited")


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_log_cut_short_shows(folder: Path, kept: int) -> None:
    (folder / "log.jsonl").write_bytes(b"".join(_lines(folder)[:kept]))
    _refused(folder, "audit-truncated")


def test_a_removed_record_shows(folder: Path) -> None:
    lines = _lines(folder)
    (folder / "log.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    _refused(folder, "audit-edited")


def test_a_log_cut_short_together_with_its_checkpoint_shows_against_one_kept_elsewhere(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", "o")
    log.append("first", 1)
    early_log, early_point = (tmp_path / "audit" / "log.jsonl").read_bytes(), log.checkpoint()
    log.append("second", 2)
    witness = log.checkpoint()
    (tmp_path / "audit" / "log.jsonl").write_bytes(early_log)
    (tmp_path / "audit" / "checkpoint").write_bytes(early_point)
    assert verify(tmp_path / "audit").records == 1
    _refused(tmp_path / "audit", "audit-truncated", checkpoint=witness)


def test_an_older_checkpoint_kept_elsewhere_still_vouches_for_the_beginning(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", "o")
    log.append("first", 1)
    witness = log.checkpoint()
    log.append("second", 2)
    result = verify(tmp_path / "audit", checkpoint=witness)
    assert (result.records, result.beyond) == (2, 1)


def test_a_log_made_anew_by_somebody_else_shows_against_the_devices_key(folder: Path, tmp_path: Path) -> None:
    public = (folder / "public.pem").read_bytes()
    forged = AuditLog(tmp_path / "forged", "edge-appliance/test")
    forged.append("nothing happened", 1)
    _refused(tmp_path / "forged", "audit-checkpoint", public_key=public)


def test_a_key_of_another_kind_is_refused(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    public = Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _refused(folder, "audit-checkpoint", public_key=pem)
    other = MLDSA87PrivateKey.generate().public_key()
    _refused(folder, "audit-checkpoint", public_key=other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "audit-checkpoint")


def test_a_torn_last_line_is_cut_off_and_the_log_goes_on(folder: Path) -> None:
    with (folder / "log.jsonl").open("ab") as file:
        file.write(b'{"seq":6,"eve')
    log = AuditLog(folder, "edge-appliance/test")
    assert log.append("after", 9) == 6
    assert verify(folder).records == 7


def test_a_record_written_before_a_power_cut_took_the_checkpoint_is_kept(folder: Path) -> None:
    point = (folder / "checkpoint").read_bytes()
    AuditLog(folder, "edge-appliance/test").append("last", 9)
    (folder / "checkpoint").write_bytes(point)
    assert verify(folder).beyond == 1
    assert AuditLog(folder, "edge-appliance/test").append("next", 10) == 7
    assert verify(folder).beyond == 0


def test_a_log_that_does_not_verify_is_set_aside_and_the_new_one_says_so(folder: Path) -> None:
    damaged = (folder / "log.jsonl").read_bytes().replace(b"number 2", b"number 9")
    (folder / "log.jsonl").write_bytes(damaged)
    AuditLog(folder, "edge-appliance/test").append("goes on", 9)
    assert (folder / "damaged-1.jsonl").read_bytes() == damaged
    records = [json.loads(line) for line in _lines(folder)]
    assert [(record["event"], record.get("reason")) for record in records] == [
        ("audit.set-aside", "audit-edited"),
        ("goes on", None),
    ]
    assert verify(folder).records == 2


def test_two_writers_share_one_log(folder: Path) -> None:
    first, second = (AuditLog(folder, "edge-appliance/test") for _ in range(2))
    assert [first.append("a", 1), second.append("b", 2), first.append("c", 3)] == [6, 7, 8]
    assert verify(folder).records == 9


def test_the_private_key_is_for_the_device_alone(folder: Path) -> None:
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_record_longer_than_a_line_can_be_is_a_mistake_of_ours(folder: Path) -> None:
    log = AuditLog(folder, "edge-appliance/test")
    with pytest.raises(ValueError, match="at most"):
        log.append("long", 1, detail="x" * MAX_LINE_BYTES)
    assert verify(folder).records == 6
