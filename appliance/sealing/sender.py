"""Seals one epoch's results: the grant at its start, a frame for each payload, the close at its end.

Not here: where the epoch's number comes from (the outbox, which stores it before it is used), who sends the bytes.

Rules:

- The epoch's secrets and its Ed25519 key are made here, live in memory alone and are forgotten at the close. A process
  that starts again starts a new epoch, so no counter nonce is ever used twice under one key.
- A counter is never given back: a frame that was sealed and not sent is a gap, which the close shows.
- Not for use by two threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import EnvelopeRefused, IdentityRefused
from appliance.sealing.control import (
    MAX_CHECKPOINT_BYTES,
    MAX_SHED_RUNS,
    MAX_TIME_NS,
    SECRET_BYTES,
    Close,
    Grant,
    Header,
    box_info,
    frame_key,
    reference,
    write_close,
    write_grant,
    write_secrets,
)
from appliance.sealing.identity import PrivateIdentity, PublicIdentity
from appliance.sealing.merkle import Frontier, leaf_hash
from appliance.sealing.seen import Run
from appliance.sealing.wire import (
    CLOSE_CONTEXT,
    GRANT_CONTEXT,
    MAX_AUDIENCES,
    MAX_COUNTER,
    MAX_EPOCH,
    MAX_PAYLOAD_BYTES,
    MAX_RECIPIENTS,
    Envelope,
    address,
    control_topic,
    frame_aad,
    frame_head,
    frame_message,
    frame_nonce,
)

_RAW_SEED: Final = 32


class Sender:
    """One epoch of one unit. ``sealed`` counts its frames."""

    def __init__(
        self,
        unit: str,
        epoch: int,
        device: PrivateIdentity,
        recipients: Sequence[PublicIdentity],
        issued_ns: int,
        *,
        audiences: Sequence[Sequence[PublicIdentity]] = (),
    ) -> None:
        """``recipients`` are audience 0; each further sequence is audience 1, 2, … and need not be of audience 0.

        ``epoch`` must never have been used by this device before. Raises IdentityRefused where the device does not
        speak for ``unit``, a recipient is no recipient or stands twice, or there are none or too many.
        """
        _check_place(unit, epoch, device.public, issued_ns)
        members = [tuple(recipients), *(tuple(audience) for audience in audiences)]
        _check_members(members)
        self.unit = unit
        self.epoch = epoch
        self.sealed = 0
        self._device = device
        self._signer = Ed25519PrivateKey.from_private_bytes(os.urandom(_RAW_SEED))
        self._counts = [0] * len(members)
        self._tree = Frontier()
        header = Header(
            unit=unit,
            epoch=epoch,
            issued_ns=issued_ns,
            device_kid=device.public.kid,
            epoch_key=self._signer.public_key().public_bytes_raw(),
            audiences=len(members),
        )
        self._header_digest = header.digest()
        self._reference = reference(self._header_digest)
        secrets = [os.urandom(SECRET_BYTES) for _ in members]
        self._ciphers = [self._cipher(secret, audience) for audience, secret in enumerate(secrets)]
        self._grant = self._make_grant(header, members, secrets)
        self._closed = False

    def grant(self) -> Envelope:
        """The signed grant; the same bytes at every call."""
        return self._grant

    def seal(self, topic: str, payload: bytes, *, audience: int = 0) -> Envelope:
        """One frame for the members of ``audience``.

        Raises EnvelopeRefused: ``topic`` (not one of this unit's), ``size``, ``audience``, ``exhausted`` (2^32 frames
        were sealed: start a new epoch) or ``closed``.
        """
        self._check_seal(topic, payload, audience)
        counter = self.sealed
        self.sealed += 1  # before encryption: whatever happens below, this nonce is spent
        cipher, base_iv = self._ciphers[audience]
        ciphertext = cipher.encrypt(frame_nonce(base_iv, counter), payload, frame_aad(topic))
        signed = frame_head(self._reference, audience, counter, len(ciphertext)) + ciphertext
        data = signed + self._signer.sign(frame_message(topic, signed))
        self._tree.append(leaf_hash(data))
        self._counts[audience] += 1
        return Envelope(topic=topic, kind="frame", epoch=self.epoch, counter=counter, data=data)

    def close(self, checkpoint: bytes = b"", shed: Sequence[Run] = ()) -> Envelope:
        """The signed end of the epoch; sealing is over afterwards and the secrets are forgotten.

        ``checkpoint`` is the audit log's; ``shed`` are the counters that the outbox had to give up, as ascending runs,
        so that an honest gap can be told from a suppressed frame. Raises EnvelopeRefused (``closed`` or ``size``).
        """
        if self._closed:
            raise EnvelopeRefused("closed", f"epoch {self.epoch} was closed before")
        if len(checkpoint) > MAX_CHECKPOINT_BYTES or len(shed) > MAX_SHED_RUNS:
            raise EnvelopeRefused("size", "close: the checkpoint or the list of shed frames is too long")
        close = Close(
            unit=self.unit,
            epoch=self.epoch,
            header_digest=self._header_digest,
            count=self.sealed,
            audience_counts=tuple(self._counts),
            root=self._tree.root(),
            shed=tuple(shed),
            checkpoint=checkpoint,
        )
        body = write_close(close)
        self._closed = True
        self._ciphers = []
        data = body + self._device.sign(body, CLOSE_CONTEXT)
        return Envelope(
            topic=control_topic(self.unit, "close", self.epoch), kind="close", epoch=self.epoch, counter=0, data=data
        )

    def _check_seal(self, topic: str, payload: bytes, audience: int) -> None:
        if self._closed:
            raise EnvelopeRefused("closed", f"epoch {self.epoch} is closed")
        where = address(topic)
        if where.unit != self.unit or where.kind != "frame":
            raise EnvelopeRefused("topic", f"expected a result topic of unit {self.unit}; found {topic!r}")
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise EnvelopeRefused("size", f"expected a payload of 1 to {MAX_PAYLOAD_BYTES} bytes; found {len(payload)}")
        if not 0 <= audience < len(self._ciphers):
            raise EnvelopeRefused("audience", f"expected an audience below {len(self._ciphers)}; found {audience}")
        if self.sealed > MAX_COUNTER:
            raise EnvelopeRefused("exhausted", f"epoch {self.epoch} has sealed {self.sealed} frames: start a new epoch")

    def _cipher(self, secret: bytes, audience: int) -> tuple[AESGCM, bytes]:
        key, base_iv = frame_key(secret, self._header_digest, audience)
        return AESGCM(key), base_iv

    def _make_grant(
        self, header: Header, members: Sequence[Sequence[PublicIdentity]], secrets: Sequence[bytes]
    ) -> Envelope:
        everybody = {member.kid: member for audience in members for member in audience}
        boxes = []
        for kid, member in sorted(everybody.items()):
            mine = {number: secrets[number] for number, audience in enumerate(members) if member in audience}
            info = box_info(self._header_digest, member.fingerprint)
            boxes.append((kid, member.wrap(write_secrets(mine), info)))
        body = write_grant(Grant(header=header, boxes=tuple(boxes)))
        data = body + self._device.sign(body, GRANT_CONTEXT)
        topic = control_topic(self.unit, "grant", self.epoch)
        return Envelope(topic=topic, kind="grant", epoch=self.epoch, counter=0, data=data)


def _check_place(unit: str, epoch: int, device: PublicIdentity, issued_ns: int) -> None:
    if device.kind != "device" or device.name != unit:
        raise IdentityRefused("unit", f"expected a device named {unit!r}; found a {device.kind} named {device.name!r}")
    if not (0 <= epoch <= MAX_EPOCH and 0 <= issued_ns <= MAX_TIME_NS):
        raise EnvelopeRefused("epoch", f"epoch {epoch} or its time {issued_ns} is out of range")


def _check_members(members: Sequence[Sequence[PublicIdentity]]) -> None:
    if not members[0] and not any(members):
        raise IdentityRefused("recipients", "expected at least one recipient; found none")
    if len(members) > MAX_AUDIENCES or len({m.kid for audience in members for m in audience}) > MAX_RECIPIENTS:
        raise IdentityRefused(
            "recipients", f"expected at most {MAX_RECIPIENTS} recipients in {MAX_AUDIENCES} audiences"
        )
    for audience in members:
        if len({member.kid for member in audience}) != len(audience):
            raise IdentityRefused("recipients", "a recipient stands twice in one audience")
        for member in audience:
            if member.kind != "recipient":
                raise IdentityRefused("recipients", f"expected recipients; {member.name!r} is a {member.kind}")
