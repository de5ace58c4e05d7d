"""The audit log as files: one canonical JSON record a line, each on the medium before the deed is reported done.

    audit/log.jsonl          the records; the line without its end is the leaf of the Merkle tree
    audit/checkpoint         the signed note over all of it, replaced after every append
    audit/key.pem, public.pem   the device's audit key (ML-DSA-87)

A torn last line (power cut while appending) was never acknowledged and is cut off. A log that does not verify is set
aside under another name, never deleted, and the new log says so in its first record: a damaged log must not keep a
device from rolling back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from appliance.audit.checkpoint import MAX_CHECKPOINT_BYTES, Checkpoint, open_checkpoint, sign_checkpoint
from appliance.audit.merkle import CompactRange, leaf_hash
from appliance.errors import Refused
from appliance.slots.disk import Disk, read_small, sync_folder

MAX_LINE_BYTES: Final = 64 * 1024
MAX_KEY_BYTES: Final = 16 * 1024
LOG: Final = "log.jsonl"
CHECKPOINT: Final = "checkpoint"
PUBLIC: Final = "public.pem"
Value = str | int | bool | None | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """What a log was found to hold: its tree, and how many bytes of whole lines."""

    tree: CompactRange
    length: int


class AuditLog:
    """The log of one device. Safe against several processes: each append takes the file's lock."""

    def __init__(self, folder: Path, origin: str, disk: Disk | None = None) -> None:
        self.folder = folder
        self.origin = origin
        self._disk = disk or Disk()
        self._disk.make_folder(folder)
        self._key = self._load_key()
        with self._locked():
            self._state = self._recover()

    def append(self, event: str, now_ns: int, **fields: Value) -> int:
        """Adds one record and a checkpoint over it; returns its index. On the medium when this returns."""
        with self._locked():
            return self._append(event, now_ns, fields)

    def _append(self, event: str, now_ns: int, fields: Mapping[str, Value]) -> int:
        if (self.folder / LOG).stat().st_size != self._state.length:
            self._state = self._recover()
        index = self._state.tree.size
        line = msgspec.json.encode({"seq": index, "time_ns": now_ns, "event": event, **fields}, order="sorted")
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"an audit record has at most {MAX_LINE_BYTES} bytes; this has {len(line)}")
        self._disk.append_line(self.folder / LOG, line)
        self._state = LogState(tree=self._state.tree.append(leaf_hash(line)), length=self._state.length + len(line) + 1)
        self._checkpoint()
        return index

    def checkpoint(self) -> bytes:
        """The newest checkpoint: to put on a stick, in a close, or anywhere that outlives this disk."""
        return read_small(self.folder / CHECKPOINT, MAX_CHECKPOINT_BYTES) or b""

    def _checkpoint(self) -> None:
        tree = self._state.tree
        note = sign_checkpoint(Checkpoint(origin=self.origin, size=tree.size, root=tree.root()), self._key)
        self._disk.write_whole(self.folder / CHECKPOINT, note)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _load_key(self) -> MLDSA87PrivateKey:
        path = self.folder / "key.pem"
        raw = read_small(path, MAX_KEY_BYTES)
        if raw is None:
            key = MLDSA87PrivateKey.generate()
            self._disk.write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        else:
            loaded = load_pem_private_key(raw, None)
            if not isinstance(loaded, MLDSA87PrivateKey):
                raise Refused("audit-checkpoint", "the audit key of this device is not ML-DSA-87")
            key = loaded
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if read_small(self.folder / PUBLIC, MAX_KEY_BYTES) != public:
            self._disk.write_whole(self.folder / PUBLIC, public)
        return key

    def _recover(self) -> LogState:
        """The state of the log on disk; a torn tail is cut, a log that does not verify is set aside."""
        path = self.folder / LOG
        if not path.exists():
            path.touch(mode=0o600)
            sync_folder(self.folder)
        try:
            state = _scan(path, self.checkpoint(), self._key.public_key())
        except Refused as e:
            return self._set_aside(e)
        if state.length < path.stat().st_size:
            os.truncate(path, state.length)
        return state

    def _set_aside(self, why: Refused) -> LogState:
        number = 1
        while (self.folder / f"damaged-{number}.jsonl").exists():
            number += 1
        (self.folder / LOG).rename(self.folder / f"damaged-{number}.jsonl")
        if (self.folder / CHECKPOINT).exists():
            (self.folder / CHECKPOINT).rename(self.folder / f"damaged-{number}.checkpoint")
        (self.folder / LOG).touch(mode=0o600)
        self._state = LogState(tree=CompactRange(), length=0)
        self._append("audit.set-aside", 0, {"reason": why.reason, "file": f"damaged-{number}.jsonl"})
        return self._state


def _scan(path: Path, checkpoint: bytes, key: MLDSA87PublicKey) -> LogState:
    """Reads the whole log and holds it against the checkpoint. Records beyond the checkpoint are allowed."""
    point = open_checkpoint(checkpoint, key) if checkpoint else None
    tree, length, root_then = CompactRange(), 0, CompactRange().root()
    for line in _whole_lines(path):
        if not line.startswith(b'{"') or b'"seq":%d' % tree.size not in line:
            raise Refused("audit-edited", f"record {tree.size} is not the one that was written there")
        tree = tree.append(leaf_hash(line))
        length += len(line) + 1
        if point is not None and tree.size == point.size:
            root_then = tree.root()
    if point is not None and tree.size < point.size:
        raise Refused("audit-truncated", f"the log has {tree.size} records; its checkpoint speaks of {point.size}")
    if point is not None and root_then != point.root:
        raise Refused("audit-edited", f"the first {point.size} records are not those of the checkpoint")
    return LogState(tree=tree, length=length)


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if line.endswith(b"\n"):
                yield line[:-1]
            elif len(line) > MAX_LINE_BYTES:
                raise Refused("audit-edited", "a record is longer than a record can be")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerified:
    """What a verified log holds. ``beyond``: records after the checkpoint, not yet vouched for."""

    origin: str
    records: int
    beyond: int
    root: str


def verify(folder: Path, public_key: bytes | None = None, checkpoint: bytes | None = None) -> AuditVerified:
    """Verifies a log folder against a checkpoint: its own, or an older or newer one kept elsewhere.

    ``public_key`` is PEM; None takes the folder's own, which proves only that the folder agrees with itself.

    Raises: Refused: "audit-edited", "audit-truncated", "audit-checkpoint".
    """
    pem = public_key or read_small(folder / PUBLIC, MAX_KEY_BYTES)
    note = checkpoint or read_small(folder / CHECKPOINT, MAX_CHECKPOINT_BYTES)
    if pem is None or note is None or not (folder / LOG).is_file():
        raise Refused("audit-checkpoint", f"{folder}: expected a log, a checkpoint and a public key")
    key = load_pem_public_key(pem)
    if not isinstance(key, MLDSA87PublicKey):
        raise Refused("audit-checkpoint", "the public key is not ML-DSA-87")
    point = open_checkpoint(note, key)
    state = _scan(folder / LOG, note, key)
    return AuditVerified(
        origin=point.origin, records=state.tree.size, beyond=state.tree.size - point.size, root=state.tree.root().hex()
    )
