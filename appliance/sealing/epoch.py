"""One epoch as its recipient holds it: keys, what was seen, the tree over it, and the close once it is there.

Not here: who may sign a grant or close, and which epochs stay open (``opener``). The secrets in ``keys`` are in memory
alone: stored is the grant, from which the identity gets them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import EnvelopeRefused
from appliance.sealing.control import Close, Grant, box_info, frame_key, read_secrets, reference
from appliance.sealing.identity import PrivateIdentity
from appliance.sealing.merkle import Frontier, leaf_hash
from appliance.sealing.seen import Run, Seen
from appliance.sealing.wire import FrameParts, decode, encode, frame_aad, frame_message, frame_nonce

RootCheck = Literal["matches", "incomplete", "unchecked", "differs"]
MAX_AHEAD: Final = 1024
"""Leaf hashes kept for frames that came before the one that is next in the tree; 50 kB."""


class OpenEpoch:
    """State of one epoch. ``keys``: audience → cipher and Context IV, for the audiences that are ours."""

    def __init__(self, grant: Grant, data: bytes, header_digest: bytes, keys: dict[int, tuple[AESGCM, bytes]]) -> None:
        header = grant.header
        self.unit = header.unit
        self.epoch = header.epoch
        self.issued_ns = header.issued_ns
        self.grant_data = data
        self.close_data = b""
        self.close: Close | None = None
        self.header_digest = header_digest
        self.reference = reference(header_digest)
        self.keys = keys
        self._verify_key = Ed25519PublicKey.from_public_bytes(header.epoch_key)
        self._seen = Seen()
        self._tree: Frontier | None = Frontier()
        self._ahead: dict[int, bytes] = {}

    @classmethod
    def begin(cls, grant: Grant, data: bytes, identities: Sequence[PrivateIdentity]) -> OpenEpoch:
        """Open the boxes that are ours. Raises EnvelopeRefused (``box`` where one does not open)."""
        digest = grant.header.digest()
        secrets: dict[int, bytes] = {}
        for identity in identities:
            secrets.update(_open_box(grant, digest, identity))
        keys = {}
        for audience, secret in secrets.items():
            key, base_iv = frame_key(secret, digest, audience)
            keys[audience] = (AESGCM(key), base_iv)
        return cls(grant, data, digest, keys)

    @property
    def forgotten(self) -> int:
        """Frames in gaps that were given up."""
        return self._seen.forgotten

    @property
    def root_check(self) -> RootCheck:
        """The frames that came against the root that the close signs."""
        close, tree = self.close, self._tree
        highest = self._seen.runs[-1][1] if self._seen.runs else -1
        if close is not None and highest >= close.count:
            return "differs"
        if tree is None:
            return "unchecked"
        if close is None or tree.size < close.count:
            return "incomplete"
        return "matches" if tree.root() == close.root else "differs"

    def adopt(self, other: OpenEpoch) -> bool:
        """Take the keys of another grant with the same header; whether there was anything new."""
        new = {audience: key for audience, key in other.keys.items() if audience not in self.keys}
        self.keys.update(new)
        if new:
            self.grant_data = other.grant_data
        return bool(new)

    def verify(self, topic: str, parts: FrameParts) -> None:
        """Raises EnvelopeRefused (``signature``) unless the epoch's key signed this frame for this topic."""
        try:
            self._verify_key.verify(parts.signature, frame_message(topic, parts.signed))
        except InvalidSignature as e:
            raise EnvelopeRefused("signature", f"not signed by epoch {self.epoch} of {self.unit} for this topic") from e

    def fresh(self, counter: int) -> bool:
        """Whether a frame has not come yet. Raises EnvelopeRefused (``window`` or ``count``) where it may not come."""
        if self.close is not None and counter >= self.close.count:
            raise EnvelopeRefused("count", f"frame {counter} lies beyond the {self.close.count} that the close admits")
        if counter not in self._seen:
            return True
        if counter < self._seen.floor:
            raise EnvelopeRefused("window", f"frame {counter} is too late: what came that early is no longer known")
        return False

    def decrypt(self, topic: str, parts: FrameParts) -> bytes:
        """The payload. Raises EnvelopeRefused (``audience`` or ``decrypt``)."""
        key = self.keys.get(parts.audience)
        if key is None:
            raise EnvelopeRefused("audience", f"epoch {self.epoch} of {self.unit} gives us no key for this frame")
        cipher, base_iv = key
        try:
            return cipher.decrypt(frame_nonce(base_iv, parts.counter), parts.ciphertext, frame_aad(topic))
        except InvalidTag as e:
            raise EnvelopeRefused("decrypt", f"frame {parts.counter} of {self.unit} does not decrypt") from e

    def mark(self, counter: int, data: bytes) -> None:
        """Count a frame as seen and put it into the tree."""
        self._seen.add(counter)
        if self._tree is None:
            return
        if counter == self._tree.size:
            self._tree.append(leaf_hash(data))
            while self._ahead and (leaf := self._ahead.pop(self._tree.size, None)) is not None:
                self._tree.append(leaf)
        elif len(self._ahead) < MAX_AHEAD:
            self._ahead[counter] = leaf_hash(data)
        else:
            self._tree, self._ahead = None, {}

    def take_close(self, close: Close, data: bytes) -> bool:
        """Take a close whose signature was verified; False where it had come before.

        Raises EnvelopeRefused (``conflict``): another close than before, or one of another grant. A close that does not
        fit the frames is taken: it is signed by the device itself, and ``root_check`` tells.
        """
        if close.header_digest != self.header_digest:
            raise EnvelopeRefused("conflict", f"a close of another grant than epoch {self.epoch} of {self.unit} has")
        if self.close is not None:
            if self.close != close:
                raise EnvelopeRefused("conflict", f"epoch {self.epoch} of {self.unit} was closed otherwise before")
            return False
        self.close, self.close_data = close, data
        return True

    def missing(self) -> tuple[Run, ...]:
        """Frames of the closed epoch that were neither seen nor shed."""
        assert self.close is not None
        return self._seen.missing(self.close.count, self.close.shed)

    def seen_bytes(self) -> bytes:
        """What was seen, to store: canonical CBOR [runs, floor, forgotten, frontier, ahead]."""
        seen = self._seen
        tree = b"" if self._tree is None else self._tree.to_bytes()
        return encode([[list(run) for run in seen.runs], seen.floor, seen.forgotten, tree, self._ahead])

    def restore_seen(self, raw: bytes) -> None:
        """Take back what ``seen_bytes`` gave. Raises EnvelopeRefused (``state``) where it is damaged."""
        try:
            runs, floor, forgotten, tree, ahead = cast(Any, decode(raw))
            seen = Seen([(int(first), int(last)) for first, last in runs], floor=int(floor), forgotten=int(forgotten))
            frontier = Frontier.from_bytes(tree) if tree else None
            self._seen, self._tree, self._ahead = seen, frontier, {int(at): bytes(leaf) for at, leaf in ahead.items()}
        except (ValueError, TypeError, AttributeError) as e:
            raise EnvelopeRefused("state", f"stored state of epoch {self.epoch} of {self.unit} is damaged: {e}") from e


def _open_box(grant: Grant, digest: bytes, identity: PrivateIdentity) -> dict[int, bytes]:
    public = identity.public
    for kid, box in grant.boxes:
        if kid == public.kid:
            plaintext = identity.unwrap(box, box_info(digest, public.fingerprint))
            if plaintext is None:
                raise EnvelopeRefused("box", f"the box for {public.name} in this grant does not open")
            return read_secrets(plaintext, grant.header.audiences)
    return {}
