"""What TUF and our rules beyond it refuse. Each case asserts the reason and that the device is as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.metadata import to_canonical
from appliance.bundles.tuf7 import DelegatedRole, Delegations, Metadata, MetaFile, TargetFile, Targets
from appliance.errors import BundleRefused
from export.keys import CryptoSigner, load_public, load_signer, new_key, public_path
from export.rotation import rotate

PRODUCT = "acme/people"
METADATA = ["1.root", "1.targets", "2.acme", "2.snapshot", "timestamp"]
PAYLOAD = ["release.json", "model.json", "model.onnx", "card.md", "golden.json", "golden.bin"]


def _file(stick: Path, name: str) -> Path:
    if name in METADATA:
        return stick / "m" / f"{name}.json"
    return next((stick / "t" / PRODUCT).glob(f"*.{name}"))


def _refused_somehow(device: Any, stick: Path) -> str:
    """The reason depends on which byte; that it is refused and leaves no trace does not."""
    seen = device.seen()
    with pytest.raises(BundleRefused) as caught:
        device.install(stick)
    assert device.seen() == seen
    assert device.audit()[-1]["reason"] == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("where", [0.0, 0.37, 0.5, 0.81, 1.0])
@pytest.mark.parametrize("name", METADATA + PAYLOAD)
def test_a_flipped_byte_in_any_file_is_refused(device: Any, two: Path, name: str, where: float) -> None:
    path = _file(two, name)
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 0x01
    path.write_bytes(data)
    _refused_somehow(device, two)


@pytest.mark.parametrize("name", METADATA + PAYLOAD)
def test_a_file_with_one_byte_more_or_less_or_none_is_refused(device: Any, two: Path, name: str) -> None:
    path = _file(two, name)
    data = path.read_bytes()
    for changed in (data[:-1], data + b"\n", data + b"\0", data[: len(data) // 2], b""):
        path.write_bytes(changed)
        _refused_somehow(device, two)


@pytest.mark.parametrize("name", [*METADATA[1:], *PAYLOAD])
def test_a_file_that_is_missing_is_refused(new_device: Any, two: Path, name: str) -> None:
    _file(two, name).unlink()
    new_device.refuses(two, "missing")


def test_the_same_json_spelt_differently_is_refused(device: Any, two: Path) -> None:
    path = _file(two, "timestamp")
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1, sort_keys=True))
    assert "canonical" in device.refuses(two, "metadata")


def test_a_signature_in_capital_hex_is_refused(device: Any, two: Path) -> None:
    path = _file(two, "timestamp")
    body = json.loads(path.read_bytes())
    body["signatures"][0]["sig"] = body["signatures"][0]["sig"].upper()
    path.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    device.refuses(two, "metadata")


@pytest.mark.parametrize("role", ["root", "targets", "acme"])
def test_one_signature_below_the_threshold_is_refused(new_device: Any, bench: Any, two: Path, role: str) -> None:
    path = bench.newest(two, role)
    body = json.loads(path.read_bytes())
    del body["signatures"][0]
    path.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    if role == "root":
        new_device.refuses(two, "other-root")
    else:
        bench.reseal(two, role)
        new_device.refuses(two, "signature")


def test_no_signature_at_all_is_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit(_file(two, "timestamp"), lambda signed: None)
    device.refuses(two, "signature")


def test_one_signer_counted_twice_is_refused(device: Any, bench: Any, two: Path) -> None:
    path = bench.newest(two, "acme")
    body = json.loads(path.read_bytes())
    body["signatures"] = [body["signatures"][0]] * 2
    path.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    bench.reseal(two, "acme")
    device.refuses(two, "metadata")


def test_one_key_under_two_ids_counts_once(device: Any, bench: Any, two: Path) -> None:
    """A delegation signed by the true vendor keys, which lists one public key under a second id."""

    def twice(targets: Any) -> None:
        role = targets.delegations.roles["acme"]
        key = targets.delegations.keys[role.keyids[0]]
        other = type(key)("f" * 64, key.keytype, key.scheme, key.keyval)
        targets.delegations.keys = {key.keyid: key, other.keyid: other}
        role.keyids = [key.keyid, other.keyid]
        targets.version += 1

    path = bench.newest(two, "targets")
    key_file = next(
        path for path in bench.keys("acme-1", "acme-2") if load_public(public_path(path)).keyid in path_keys(bench, two)
    )
    bench.edit(path, twice, "vendor-1", "vendor-2")
    path.rename(path.with_name("2.targets.json"))
    acme = bench.newest(two, "acme")
    signed = bench.edit(acme, lambda targets: None, key_file.stem)
    signature = next(iter(signed.signatures.values()))
    body = json.loads(acme.read_bytes())
    body["signatures"].append({"keyid": "f" * 64, "sig": signature.signature})
    body["signatures"].sort(key=lambda entry: entry["keyid"])
    acme.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    bench.reseal(two, "acme", "targets")
    device.refuses(two, "key-twice")


def path_keys(bench: Any, stick: Path) -> list[str]:
    body = json.loads(bench.newest(stick, "targets").read_bytes())
    return [body["signed"]["delegations"]["roles"][0]["keyids"][0]]


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("acme", ("vendor-1", "vendor-2")),
        ("acme", ("media", "acme-1")),
        ("targets", ("acme-1", "acme-2")),
        ("targets", ("root-1", "root-2")),
        ("timestamp", ("vendor-1",)),
        ("snapshot", ("acme-1",)),
    ],
)
def test_the_right_signature_of_the_wrong_role_is_refused(
    new_device: Any, bench: Any, two: Path, role: str, keys: tuple[str, ...]
) -> None:
    path = bench.newest(two, role)
    bench.edit(path, lambda signed: None, *keys)
    if role == "snapshot":
        bench.edit(
            two / "m" / "timestamp.json",
            lambda timestamp: setattr(timestamp, "snapshot_meta", _meta(timestamp.snapshot_meta.version, path)),
            "media",
        )
    elif role != "timestamp":
        bench.reseal(two, role)
    new_device.refuses(two, "signature")


def _meta(version: int, path: Path) -> Any:
    return MetaFile.from_data(version, path.read_bytes(), ["sha384"])


def test_enough_signatures_and_a_stray_one_are_refused(device: Any, bench: Any, two: Path) -> None:
    bench.edit(_file(two, "timestamp"), lambda signed: None, "media", "acme-1")
    device.refuses(two, "stray-signature")


def test_a_stick_of_another_fleet_is_refused(device: Any, bench: Any, tmp_path: Path) -> None:
    stranger = type(bench)(_folder(tmp_path / "stranger"))
    device.refuses(stranger.make("stick"), "other-root")


def test_a_stick_of_another_fleet_that_hides_its_root_is_refused(device: Any, bench: Any, tmp_path: Path) -> None:
    stick = type(bench)(_folder(tmp_path / "stranger")).make("stick")
    (stick / "m" / "1.root.json").unlink()
    device.refuses(stick, "signature")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _root_two(bench: Any, stick: Path, change: Callable[[Any], object], *keys: str, version: int = 2) -> Path:
    """Puts a root on the stick that an attacker or a careless owner made."""
    path = stick / "m" / f"{version}.root.json"
    shutil.copyfile(stick / "m" / "1.root.json", path)

    def renumber(root: Any) -> None:
        root.version = version
        change(root)

    bench.edit(path, renumber, *keys)
    return path


def _replace_root_keys(bench: Any) -> Callable[[Any], object]:
    """Three new root keys, named ``evil-1`` to ``evil-3``."""

    def change(root: Any) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for number in (1, 2, 3):
            path = bench.fleet.keys / f"evil-{number}.pem"
            root.add_key(new_key(path).public_key, "root")

    return change


def test_a_root_signed_only_by_its_own_new_keys_is_refused(device: Any, bench: Any, two: Path) -> None:
    path = _root_two(bench, two, _replace_root_keys(bench), "root-1", "root-2")
    bench.edit(path, lambda root: None, "evil-1", "evil-2")
    device.refuses(two, "signature")


def test_a_root_signed_only_by_the_keys_before_it_is_refused(device: Any, bench: Any, two: Path) -> None:
    _root_two(bench, two, _replace_root_keys(bench), "root-1", "root-2")
    device.refuses(two, "signature")


def test_a_root_signed_by_one_old_key_is_refused(device: Any, bench: Any, two: Path) -> None:
    _root_two(bench, two, lambda root: None, "root-3")
    device.refuses(two, "signature")


def test_a_root_that_skips_a_version_is_refused(device: Any, bench: Any, two: Path) -> None:
    _root_two(bench, two, lambda root: None, "root-1", "root-2", version=3)
    device.refuses(two, "root-chain")


def test_a_root_under_another_number_than_its_own_is_refused(device: Any, bench: Any, two: Path) -> None:
    path = _root_two(bench, two, lambda root: None, "root-1", "root-2", version=3)
    path.rename(path.with_name("2.root.json"))
    device.refuses(two, "root-chain")


def test_a_timestamp_in_the_place_of_a_root_is_refused(device: Any, two: Path) -> None:
    shutil.copyfile(two / "m" / "timestamp.json", two / "m" / "2.root.json")
    device.refuses(two, "metadata")


def test_an_old_stick_is_refused(device: Any, one: Path, two: Path) -> None:
    device.install(two)
    device.refuses(one, "rollback")


def test_an_old_stick_is_refused_by_a_device_that_only_kept_its_floors(device: Any, one: Path, two: Path) -> None:
    device.install(two)
    shutil.rmtree(device.state / "trust" / "tuf")
    device.refuses(one, "rollback")


def test_an_old_snapshot_under_a_newer_timestamp_is_refused(new_device: Any, one: Path, two: Path) -> None:
    shutil.copyfile(one / "m" / "1.snapshot.json", two / "m" / "2.snapshot.json")
    new_device.refuses(two, "digest")


def test_an_old_integrator_list_under_a_newer_snapshot_is_refused(new_device: Any, one: Path, two: Path) -> None:
    shutil.copyfile(one / "m" / "1.acme.json", two / "m" / "2.acme.json")
    new_device.refuses(two, "digest")


def test_an_old_integrator_list_sealed_again_by_a_stolen_media_key_is_refused(
    device: Any, bench: Any, one: Path, two: Path
) -> None:
    device.install(two)
    (two / "m" / "2.acme.json").unlink()
    shutil.copyfile(one / "m" / "1.acme.json", two / "m" / "1.acme.json")
    bench.reseal(two, "acme")
    device.refuses(two, "mixed")


def test_a_snapshot_that_forgets_a_role_is_refused(device: Any, bench: Any, two: Path) -> None:
    path = bench.newest(two, "snapshot")
    bench.edit(path, lambda snapshot: snapshot.meta.pop("acme.json"), "media")
    bench.reseal(two)
    device.refuses(two, "metadata")


@pytest.mark.parametrize("role", ["targets", "acme", "snapshot", "timestamp"])
def test_expired_metadata_is_refused(new_device: Any, bench: Any, two: Path, role: str) -> None:
    past = datetime(2026, 11, 30, tzinfo=UTC)

    def expire(signed: Any) -> None:
        signed.expires = past

    keys = {"targets": ("vendor-1", "vendor-2"), "acme": ("acme-1", "acme-2")}.get(role, ("media",))
    path = bench.newest(two, role)
    bench.edit(path, expire, *keys)
    if role == "snapshot":
        bench.edit(
            two / "m" / "timestamp.json",
            lambda timestamp: setattr(timestamp, "snapshot_meta", _meta(2, path)),
            "media",
        )
    elif role != "timestamp":
        bench.reseal(two, role)
    new_device.refuses(two, "expired")


def test_an_expired_root_is_refused(new_device: Any, bench: Any, two: Path) -> None:
    def expire(root: Any) -> None:
        root.expires = datetime(2026, 11, 30, tzinfo=UTC)

    _root_two(bench, two, expire, "root-1", "root-2")
    with pytest.raises(BundleRefused) as caught:
        new_device.install(two)
    assert caught.value.reason == "expired"


def test_a_revoked_integrator_key_is_worth_nothing(device: Any, bench: Any, two: Path) -> None:
    """The vendor replaced a key; a stick that still uses it is refused, one with the new key installs."""
    rotate(bench.fleet, "acme-1", datetime(2026, 12, 1, tzinfo=UTC))
    retired = next((bench.fleet.keys / "retired").glob("*.acme-1.pem"))
    shutil.copyfile(bench.fleet.published / "2.targets.json", two / "m" / "2.targets.json")
    (two / "m" / "1.targets.json").unlink()
    bench.edit(bench.newest(two, "acme"), lambda targets: None, f"retired/{retired.stem}", "acme-2")
    bench.reseal(two, "acme", "targets")
    device.refuses(two, "signature")
    device.install(bench.make("three"))
    assert device.slots.active(PRODUCT).counter == 3


def test_a_root_rotation_sticks_although_the_stick_it_came_on_is_refused(device: Any, bench: Any, two: Path) -> None:
    """Revocations must take hold even where the payload beside them is damaged."""
    rotate(bench.fleet, "media", datetime(2026, 12, 1, tzinfo=UTC))
    three = bench.make("three")
    next((three / "t" / PRODUCT).glob("*.model.onnx")).write_bytes(b"damaged")
    with pytest.raises(BundleRefused):
        device.install(three)
    assert (device.state / "trust" / "tuf" / "root_history" / "2.root.json").is_file()
    assert device.slots.trust.state().root_version == 2
    assert device.slots.active(PRODUCT).version == "1.0.0"
    device.refuses(two, "signature")


def test_a_count_run_up_with_a_stolen_media_key_is_recovered_from_by_replacing_it(device: Any, bench: Any) -> None:
    stick = bench.folder / "two"
    bench.reseal(stick, bump=2**31)
    device.install(stick)
    device.refuses(bench.make("three"), "rollback")
    rotate(bench.fleet, "media", datetime(2026, 12, 1, tzinfo=UTC))
    four = bench.make("four")
    device.install(four)
    assert device.slots.active(PRODUCT).counter == 4
    device.install(bench.make("five"))
    assert device.slots.active(PRODUCT).counter == 5


@pytest.mark.parametrize("key_name", ["root-1", "root-3", "vendor-2"])
def test_every_kind_of_root_key_rotates_in_service(device: Any, bench: Any, key_name: str) -> None:
    for round_ in range(2):
        rotate(bench.fleet, key_name, datetime(2026, 12, 1, tzinfo=UTC) + timedelta(days=round_))
        device.install(bench.make(f"after-{round_}"))
    assert device.slots.trust.state().root_version == 3
    assert device.slots.active(PRODUCT).counter == 4


def test_an_integrator_cannot_speak_for_another(device: Any, bench: Any, two: Path) -> None:
    raw = _file(two, "release.json").read_bytes()
    info = TargetFile.from_data("other/people/release.json", raw, ["sha384"])
    (two / "t" / "other" / "people").mkdir(parents=True)
    (two / "t" / "other" / "people" / f"{info.hashes['sha384']}.release.json").write_bytes(raw)
    bench.edit_role(two, lambda targets: targets.targets.update({info.path: info}))
    device.refuses(two, "no-such-product", product="other/people")


def test_delegations_in_a_circle_end(device: Any, bench: Any, two: Path) -> None:
    public = load_signer(*bench.keys("acme-1")).public_key

    def round_about(targets: Any) -> None:
        role = DelegatedRole("acme", [public.keyid], 1, terminating=False, paths=["acme/*/*"])
        targets.delegations = Delegations({public.keyid: public}, {"acme": role})
        targets.targets.clear()

    bench.edit_role(two, round_about)
    device.refuses(two, "no-such-product")


def test_a_hundred_delegations_in_a_row_end(device: Any, bench: Any, two: Path) -> None:
    signer = load_signer(*bench.keys("acme-1"))
    key = signer.public_key

    def onward(name: str) -> Any:
        return Delegations({key.keyid: key}, {name: DelegatedRole(name, [key.keyid], 1, False, paths=["acme/*/*"])})

    def first(targets: Any) -> None:
        targets.delegations = onward("d1")
        targets.targets.clear()

    for number in range(1, 13):
        metadata = Metadata(Targets(version=1, expires=datetime(2030, 1, 1, tzinfo=UTC)))
        metadata.signed.delegations = onward(f"d{number + 1}")
        metadata.sign(signer)
        (two / "m" / f"1.d{number}.json").write_bytes(to_canonical(metadata))
    bench.edit(bench.newest(two, "acme"), first, "acme-1", "acme-2")
    bench.reseal(two, "acme", *(f"d{number}" for number in range(1, 13)))
    device.refuses(two, "no-such-product")


@pytest.mark.parametrize(
    ("role", "limit"), [("timestamp", 32 * 1024), ("snapshot", 256 * 1024), ("targets", 2 << 20), ("acme", 2 << 20)]
)
def test_metadata_without_end_is_refused_before_it_is_read(
    new_device: Any, bench: Any, two: Path, role: str, limit: int
) -> None:
    path = bench.newest(two, role)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole of a tebibyte
    assert "at most" in new_device.refuses(two, "too-long")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"signed":{},"signatures":[]}',
        b"[" * 30_000,
        b'{"a":' * 5_000,
        b'{"signed":{"_type":"timestamp","version":' + b"9" * 6_000 + b'},"signatures":[]}',
        b'{"signed":{"_type":"timestamp","version":NaN},"signatures":[]}',
        b'{"signed":{"_type":"timestamp","version":1e400},"signatures":[]}',
        b'{"signed":{"_type":"mirrors","version":1},"signatures":[]}',
        b'{"signed":{"_type":"timestamp","_type":"root"},"signatures":[]}',
        b'{"signed":[],"signatures":{}}',
        b'"\\ud800"',
        b"\0" * 100,
    ],
)
@pytest.mark.parametrize("name", ["2.root", "timestamp"])
def test_json_that_is_meant_to_hurt_is_refused(device: Any, two: Path, name: str, raw: bytes) -> None:
    (two / "m" / f"{name}.json").write_bytes(raw)
    device.refuses(two, "metadata")


@pytest.mark.parametrize(
    ("keytype", "scheme", "reason"),
    [
        ("ed25519", "ed25519", "scheme"),
        ("ml-dsa", "ml-dsa-44/1", "scheme"),
        ("ml-dsa", "ml-dsa-65/1", "scheme"),
        ("ecdsa", "ecdsa-sha2-nistp384", "scheme"),
        ("ml-dsa", "ed25519", "metadata"),
        ("ed25519", "ml-dsa-87/1", "metadata"),
        ("ml-dsa", "ml-dsa-87/2", "metadata"),
        ("ml-dsa", "", "metadata"),
    ],
)
def test_a_root_with_a_key_of_another_scheme_is_refused(
    device: Any, bench: Any, two: Path, keytype: str, scheme: str, reason: str
) -> None:
    path = _root_two(bench, two, lambda root: None, "root-1", "root-2")
    body = json.loads(path.read_bytes())
    key = next(iter(body["signed"]["keys"].values()))
    key.update(keytype=keytype, scheme=scheme)
    path.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    device.refuses(two, reason)


def test_a_delegation_to_a_classical_key_is_refused_although_the_vendor_signed_it(
    device: Any, bench: Any, two: Path
) -> None:
    weak = CryptoSigner.generate_ed25519()

    def delegate(targets: Any) -> None:
        targets.add_key(weak.public_key, "acme")
        targets.version += 1

    path = bench.newest(two, "targets")
    bench.edit(path, delegate, "vendor-1", "vendor-2")
    path.rename(path.with_name("2.targets.json"))
    bench.reseal(two, "targets")
    device.refuses(two, "scheme")


@pytest.mark.parametrize("hashes", [{"sha256": "0" * 64}, {"sha384": "0" * 96, "md5": "0" * 32}, {"sha384": "0" * 64}])
def test_a_list_with_another_digest_is_refused(device: Any, bench: Any, two: Path, hashes: dict[str, str]) -> None:
    def weaken(targets: Any) -> None:
        targets.targets[f"{PRODUCT}/model.onnx"].hashes = hashes

    bench.edit_role(two, weaken)
    device.refuses(two, "scheme")


def test_a_snapshot_that_lists_no_digests_is_refused(device: Any, bench: Any, two: Path) -> None:
    path = bench.newest(two, "snapshot")

    def strip(snapshot: Any) -> None:
        snapshot.meta["acme.json"].hashes = None

    bench.edit(path, strip, "media")
    bench.reseal(two)
    device.refuses(two, "scheme")


def test_metadata_that_nothing_leads_to_is_refused(device: Any, two: Path) -> None:
    (two / "m" / "1.spare.json").write_bytes((two / "m" / "2.acme.json").read_bytes())
    device.refuses(two, "unlisted")


@pytest.mark.parametrize("role", ["../evil", "a/b", "A", "x%2fy", "1.root", "", "x" * 40])
def test_a_role_whose_name_could_be_a_path_is_refused(device: Any, bench: Any, two: Path, role: str) -> None:
    path = bench.newest(two, "snapshot")

    def add(snapshot: Any) -> None:
        snapshot.meta[f"{role}.json"] = snapshot.meta["acme.json"]

    bench.edit(path, add, "media")
    bench.reseal(two)
    device.refuses(two, "metadata")


def test_a_delegation_to_a_role_whose_name_could_be_a_path_is_refused(device: Any, bench: Any, two: Path) -> None:
    public = load_signer(*bench.keys("acme-1")).public_key

    def delegate(targets: Any) -> None:
        role = DelegatedRole("../../evil", [public.keyid], 1, terminating=False, paths=["acme/*/*"])
        targets.delegations = Delegations({public.keyid: public}, {role.name: role})

    bench.edit_role(two, delegate)
    device.refuses(two, "metadata")
