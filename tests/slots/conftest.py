"""A fleet, its sticks and a device that has the first of them installed; made once, copied for each test.

``Bench`` can do what an attacker who holds some of the keys can do: change any metadata and sign it again.
"""

from __future__ import annotations

import json
import resource
import shutil
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.metadata import HASH, to_canonical
from appliance.bundles.reasons import REASONS
from appliance.bundles.tuf7 import Metadata, MetaFile, TargetFile
from appliance.errors import BundleRefused
from appliance.slots import Slots
from export import desk
from export.keys import load_signer
from export.repository import Repository
from tests.support.networks import MANIFEST, small_network

PRODUCT = "acme/people"
#: A refusal costs no more than this, whatever is on the stick.
REFUSED_WITHIN_CPU_S = 20.0
REFUSED_WITHIN_KIB = 128 * 1024
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


NOW_NS = nanoseconds(NOW)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the desk's times and owners, which would need records that no device reads."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def passing_self_test(folder: Path, model: str, manifest: str) -> str:
    """Stands in for the child process where loading is not what is tested."""
    assert (folder / model).is_file()
    return "a test"


class Bench:
    """A fleet on a desk, and the means to forge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Repository(folder=folder / "fleet")
        self.model = folder / "model.onnx"
        self.manifest = folder / "model.json"
        self.card = folder / "card.md"
        self.model.write_bytes(small_network())
        self.manifest.write_text(json.dumps(MANIFEST))
        self.card.write_text("# Small\nFor tests.\n")

    def make(self, name: str, **options: Any) -> Path:
        """A good stick, as an integrator makes it."""
        chosen = {"model": self.model, "manifest": self.manifest, "product": PRODUCT, "card": self.card, "now": NOW}
        chosen |= options
        return desk.make(keys=self.fleet.folder, out=self.folder / name, **chosen).stick

    def keys(self, *names: str) -> tuple[Path, ...]:
        return tuple(self.fleet.keys / f"{name}.pem" for name in names)

    @property
    def anchor(self) -> bytes:
        return self.fleet.anchor.read_bytes()

    def newest(self, stick: Path, role: str) -> Path:
        """The file of a role on a stick."""
        if role == "timestamp":
            return stick / "m" / "timestamp.json"
        return max((stick / "m").glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))

    def edit(self, path: Path, change: Callable[[Any], object], *keys: str) -> Metadata[Any]:
        """Changes the signed part of a metadata file and signs it with these keys alone."""
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
        change(metadata.signed)
        metadata.signatures.clear()
        for key in self.keys(*keys):
            metadata.sign(load_signer(key), append=True)
        path.write_bytes(to_canonical(metadata))
        return metadata

    def reseal(self, stick: Path, *roles: str, key: str = "media", bump: int = 1) -> None:
        """Makes snapshot and timestamp agree with the roles' files, as somebody with the media key can."""
        snapshot_path = self.newest(stick, "snapshot")

        def of_snapshot(snapshot: Any) -> None:
            for role in roles:
                path = self.newest(stick, role)
                version = int(path.name.split(".")[0])
                snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, path.read_bytes(), [HASH])
            snapshot.version += bump

        snapshot = self.edit(snapshot_path, of_snapshot, key)
        new_path = stick / "m" / f"{snapshot.signed.version}.snapshot.json"
        snapshot_path.rename(new_path)

        def of_timestamp(timestamp: Any) -> None:
            timestamp.version += bump
            timestamp.snapshot_meta = MetaFile.from_data(snapshot.signed.version, new_path.read_bytes(), [HASH])

        self.edit(stick / "m" / "timestamp.json", of_timestamp, key)

    def edit_role(self, stick: Path, change: Callable[[Any], object], *keys: str, role: str = "acme") -> None:
        """Changes a targets role, signs it with these keys and seals the stick again."""
        self.edit(self.newest(stick, role), change, *(keys or (f"{role}-1", f"{role}-2")))
        self.reseal(stick, role)

    def edit_release(self, stick: Path, change: Callable[[dict[str, Any]], object]) -> None:
        """Rewrites release.json and signs the whole chain with all the right keys: only policy can refuse it."""
        path = next((stick / "t" / PRODUCT).glob("*.release.json"))
        body = json.loads(path.read_bytes())
        change(body)
        self.write_release(stick, json.dumps(body).encode())

    def write_release(self, stick: Path, raw: bytes) -> None:
        next((stick / "t" / PRODUCT).glob("*.release.json")).unlink()
        self.add_target(stick, "release.json", raw)

    def add_target(self, stick: Path, name: str, raw: bytes) -> str:
        """Puts a payload file on a stick and into the integrator's signed list; returns its digest."""
        info = TargetFile.from_data(f"{PRODUCT}/{name}", raw, [HASH])
        (stick / "t" / PRODUCT / f"{info.hashes[HASH]}.{name}").write_bytes(raw)
        self.edit_role(stick, lambda targets: targets.targets.update({f"{PRODUCT}/{name}": info}))
        return info.hashes[HASH]

    def add_file(self, stick: Path, name: str, role: str, raw: bytes) -> None:
        """Adds a file to the release itself: listed, signed, present. Only the type policy can object."""
        digest = self.add_target(stick, name, raw)
        entry = {"path": name, "role": role, "length": len(raw), "sha384": digest}
        self.edit_release(stick, lambda body: body["files"].append(entry))

    def replace_file(self, stick: Path, name: str, raw: bytes) -> None:
        """Puts other content under a name of the release, as a careless integrator with all the right keys can."""
        next((stick / "t" / PRODUCT).glob(f"*.{name}")).unlink()
        digest = self.add_target(stick, name, raw)

        def swap(body: dict[str, Any]) -> None:
            entry = next(file for file in body["files"] if file["path"] == name)
            entry.update(length=len(raw), sha384=digest)

        self.edit_release(stick, swap)

    def as_tar(self, stick: Path, build: Callable[[tarfile.TarFile], object] | None = None, **options: Any) -> Path:
        """The tree in one archive, plus whatever ``build`` adds to it."""
        archive = self.folder / f"{stick.name}-{len(list(self.folder.iterdir()))}.tar"
        with tarfile.open(archive, "w", format=options.get("format", tarfile.GNU_FORMAT)) as tar:
            for part in ("m", "t"):
                tar.add(stick / part, arcname=part, filter=plain)
            if build is not None:
                build(tar)
        return archive


class Device:
    """One device and what can be seen of it from outside."""

    def __init__(self, state: Path, **options: Any) -> None:
        self.state = state
        options.setdefault("self_test", passing_self_test)
        options.setdefault("hardware", frozenset({"x86_64"}))
        self.slots = Slots(state, **options)

    def seen(self) -> dict[str, bytes]:
        """Everything but the audit log and the lock."""
        files = (path for path in self.state.rglob("*") if path.is_file())
        names = {str(path.relative_to(self.state)): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith(("audit/", "lock"))}

    def audit(self) -> list[dict[str, Any]]:
        path = self.state / "audit" / "log.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def install(self, stick: Path, now_ns: int = NOW_NS, product: str = PRODUCT, **options: Any) -> Any:
        return self.slots.install(stick, product, now_ns, **options)

    def refuses(self, stick: Path, reason: str, *, product: str = PRODUCT, now_ns: int = NOW_NS) -> str:
        """Asserts everything that must hold when a stick is refused; returns the message."""
        seen, lines = self.seen(), len(self.audit())
        outside = sorted(path.name for path in self.state.parent.iterdir())
        begun, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(BundleRefused) as caught:
            self.slots.install(stick, product, now_ns)
        assert caught.value.reason == reason, str(caught.value)
        assert time.process_time() - begun < REFUSED_WITHIN_CPU_S
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < REFUSED_WITHIN_KIB
        assert caught.value.exit_code == 3
        assert reason in REASONS
        assert self.seen() == seen, "the device is not as it was"
        assert sorted(path.name for path in self.state.parent.iterdir()) == outside
        assert not (self.state / "staging").exists()
        new = self.audit()[lines:]
        assert [(line["event"], line["reason"]) for line in new] == [("bundle.refused", reason)]
        return str(caught.value)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The fleet with two good sticks: ``one`` (counter 1) and ``two`` (counter 2). Not to be changed."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    bench.make("one", version="1.0.0")
    bench.manifest.write_text(json.dumps({**MANIFEST, "name": "small-two"}))
    bench.make("two", version="2.0.0", now=NOW + timedelta(minutes=1))
    device = Device(bench.folder / "template")
    device.slots.provision(bench.anchor, unit="unit-1", groups=("north",))
    device.install(bench.folder / "one")
    return bench


@pytest.fixture
def bench(made: Bench, tmp_path: Path) -> Bench:
    """A copy of the fleet whose sticks and keys a test may change."""
    shutil.copytree(made.folder, tmp_path / "bench")
    copy = Bench.__new__(Bench)
    copy.folder = tmp_path / "bench"
    copy.fleet = Repository(folder=copy.folder / "fleet")
    copy.model, copy.manifest, copy.card = (copy.folder / name for name in ("model.onnx", "model.json", "card.md"))
    return copy


@pytest.fixture
def one(bench: Bench) -> Path:
    return bench.folder / "one"


@pytest.fixture
def two(bench: Bench) -> Path:
    return bench.folder / "two"


@pytest.fixture
def device(made: Bench, tmp_path: Path) -> Device:
    """A device with stick one installed and in service, unit-1 of group north."""
    shutil.copytree(made.folder / "template", tmp_path / "device" / "state")
    return Device(tmp_path / "device" / "state")


@pytest.fixture
def new_device(made: Bench, tmp_path: Path) -> Device:
    """A device that was provisioned and has nothing installed."""
    (tmp_path / "new").mkdir()
    device = Device(tmp_path / "new" / "state")
    device.slots.provision(made.anchor, unit="unit-1", groups=("north",))
    return device
