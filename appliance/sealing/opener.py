"""Opens what a recipient may open, once: grants, frames and closes in any order, of any unit that it trusts.

Not here: the network, the store, frames that came before their grant (the reader holds a bounded number of them).

Rules:

- Signature first, replay second, decryption third. Nothing is parsed that was not signed by a trusted device or by the
  Ed25519 key which such a device endorsed for the epoch.
- "Nothing" has a name: ``NotForUs``, ``Duplicate``, ``NoGrant``. Everything wrong is an EnvelopeRefused with a reason.
- Several epochs of a unit stay open: after a crash the outbox still delivers frames of the epoch before. The oldest are
  given up when there are more than ``KEEP_EPOCHS``; from then on everything of them and below is refused (``stale``).
- One epoch has one grant. A second, different one is refused (``conflict``), whoever signed it.
- All state is a value: ``export`` and ``epoch_state`` give it, the constructor takes it, believing none of it that was
  not signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from appliance.errors import EnvelopeRefused, IdentityRefused
from appliance.sealing.control import Close, Grant, read_close, read_grant
from appliance.sealing.epoch import OpenEpoch, RootCheck
from appliance.sealing.identity import PrivateIdentity, PublicIdentity
from appliance.sealing.seen import Run
from appliance.sealing.wire import (
    CLOSE_CONTEXT,
    GRANT_CONTEXT,
    EnvelopeKind,
    address,
    split_frame,
    split_signed,
)

KEEP_EPOCHS = 512
"""Epochs of one unit that stay open: restarts that an outbox may have behind it and still deliver everything.

A unit that its watchdog restarts every few seconds, while nobody listens, makes some hundred an hour; each is about a
kilobyte here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A grant was accepted, and these audiences are ours."""

    unit: str
    epoch: int
    issued_ns: int
    audiences: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One result, opened. (unit, epoch, counter) names it for ever."""

    topic: str
    payload: bytes
    unit: str
    epoch: int
    counter: int
    audience: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """An epoch's end. ``missing`` are frames that were sealed and have not come; ``shed`` the unit gave up itself.

    ``root`` compares the frames that came with the signed Merkle root: they give it (``matches``), some have not come
    (``incomplete``), too many were out of order to tell (``unchecked``), or what came is not what was sealed
    (``differs``: somebody else could sign as this epoch). ``forgotten`` counts frames in gaps that were given up (see
    ``seen``), so they can no longer be told from delivered ones.
    """

    unit: str
    epoch: int
    count: int
    missing: tuple[Run, ...]
    shed: tuple[Run, ...]
    forgotten: int
    root: RootCheck
    checkpoint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NotForUs:
    """A good envelope with nothing for this identity: a grant without our box, a frame of another audience."""

    unit: str
    epoch: int
    kind: EnvelopeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A good envelope that had come before."""

    unit: str
    epoch: int
    kind: EnvelopeKind
    counter: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoGrant:
    """A frame or close whose grant has not come yet, so nothing about it could be checked."""

    unit: str
    kind: EnvelopeKind


Outcome = Granted | Opened | Closed | NotForUs | Duplicate | NoGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochState:
    """One epoch as it is stored: envelopes as they came (they are verified again), and what was seen."""

    unit: str
    epoch: int
    grant: bytes
    close: bytes
    seen: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenerState:
    """Everything that must outlive a restart. ``floors``: unit → highest epoch that was given up."""

    epochs: tuple[EpochState, ...] = ()
    floors: Mapping[str, int] = field(default_factory=dict)


class Opener:
    """A recipient's view of all units. Not for use by two threads at once."""

    def __init__(
        self,
        identity: PrivateIdentity | Sequence[PrivateIdentity],
        trusted: Sequence[PublicIdentity],
        state: OpenerState | None = None,
    ) -> None:
        """``identity`` may be several while keys rotate. ``trusted`` are devices; each speaks for the unit of its name.

        State that does not verify (another identity's, a device no longer trusted, damage) is left out, not believed.
        Raises IdentityRefused where an identity is not of the right kind.
        """
        self._identities = (identity,) if isinstance(identity, PrivateIdentity) else tuple(identity)
        for private in self._identities:
            if private.public.kind != "recipient":
                raise IdentityRefused("kind", f"expected a recipient's identity; {private.public.name!r} is a device's")
        for device in trusted:
            if device.kind != "device":
                raise IdentityRefused("kind", f"expected devices to trust; {device.name!r} is a {device.kind}")
        self._trusted = tuple(trusted)
        self._units: dict[str, dict[int, OpenEpoch]] = {}
        self._references: dict[tuple[str, bytes], OpenEpoch] = {}
        self._floors: dict[str, int] = {}
        if state is not None:
            self._restore(state)

    def accept(self, topic: str, data: bytes) -> Outcome:
        """Take one envelope as it came from the bus.

        Raises EnvelopeRefused; see ``docs/envelope.md`` for every reason. State changes only on success.
        """
        where = address(topic)
        if where.epoch is None:
            return self._accept_frame(where.unit, topic, data)
        if where.kind == "grant":
            return self._accept_grant(where.unit, where.epoch, data)
        return self._accept_close(where.unit, where.epoch, data)

    def reopen(self, topic: str, data: bytes) -> Opened:
        """Open a frame that was accepted before and stored as it came. Raises EnvelopeRefused as ``accept`` does."""
        parts = split_frame(data)
        epoch = self._references.get((address(topic).unit, parts.reference))
        if epoch is None:
            raise EnvelopeRefused("stale", "the grant of this stored frame is no longer known")
        epoch.verify(topic, parts)
        return self._opened(epoch, topic, parts.counter, parts.audience, epoch.decrypt(topic, parts))

    def closed(self, unit: str, epoch: int) -> Closed | None:
        """A closed epoch as it stands by now, late frames included; None where there is no close of it."""
        known = self._units.get(unit, {}).get(epoch)
        return None if known is None or known.close is None else self._closed(known, known.close)

    def audiences(self, unit: str, epoch: int) -> tuple[int, ...]:
        """The audiences of an open epoch that are ours."""
        known = self._units.get(unit, {}).get(epoch)
        return () if known is None else tuple(sorted(known.keys))

    def epochs(self) -> tuple[tuple[str, int], ...]:
        """The epochs that are open, by unit and number."""
        return tuple((unit, epoch) for unit in sorted(self._units) for epoch in sorted(self._units[unit]))

    def epoch_state(self, unit: str, epoch: int) -> EpochState | None:
        """One epoch's state to store, or None where it is not open (any more)."""
        known = self._units.get(unit, {}).get(epoch)
        if known is None:
            return None
        return EpochState(
            unit=unit, epoch=epoch, grant=known.grant_data, close=known.close_data, seen=known.seen_bytes()
        )

    def floors(self) -> Mapping[str, int]:
        """Unit → highest epoch that was given up."""
        return dict(self._floors)

    def export(self) -> OpenerState:
        """The whole state."""
        states = (self.epoch_state(unit, epoch) for unit, epoch in self.epochs())
        return OpenerState(epochs=tuple(state for state in states if state is not None), floors=self.floors())

    def _accept_grant(self, unit: str, number: int, data: bytes) -> Granted | NotForUs | Duplicate:
        known = self._units.get(unit, {}).get(number)
        if known is not None and known.grant_data == data:
            return Duplicate(unit=unit, epoch=number, kind="grant")
        body, signature = split_signed(data)
        device = self._signer(unit, body, signature, GRANT_CONTEXT)
        grant = read_grant(body)
        self._check_grant(grant, unit, number, device, known)
        epoch = OpenEpoch.begin(grant, data, self._identities)
        if known is not None:
            return self._widen(known, epoch)
        self._install(epoch)
        self._give_up_oldest(unit)
        return self._granted(epoch)

    def _check_grant(
        self, grant: Grant, unit: str, number: int, device: PublicIdentity, known: OpenEpoch | None
    ) -> None:
        header = grant.header
        if (header.unit, header.epoch) != (unit, number):
            raise EnvelopeRefused(
                "topic", f"a grant of {header.unit}/{header.epoch} stands on the topic of {unit}/{number}"
            )
        if header.device_kid != device.kid:
            raise EnvelopeRefused("device", f"grant {unit}/{number} names another device than the one that signed it")
        if number <= self._floors.get(unit, -1):
            raise EnvelopeRefused("stale", f"epoch {number} of {unit} was given up; epochs only go forward")
        if known is not None and known.header_digest != header.digest():
            raise EnvelopeRefused("conflict", f"epoch {number} of {unit} has another grant already")

    def _widen(self, known: OpenEpoch, again: OpenEpoch) -> Granted | NotForUs | Duplicate:
        """Another grant with the same header: one that was written for fewer recipients."""
        gains = known.adopt(again)
        if gains:
            return self._granted(known)
        return Duplicate(unit=known.unit, epoch=known.epoch, kind="grant")

    def _accept_close(self, unit: str, number: int, data: bytes) -> Closed | Duplicate | NoGrant:
        body, signature = split_signed(data)
        epoch = self._units.get(unit, {}).get(number)
        if epoch is None:
            if number <= self._floors.get(unit, -1):
                raise EnvelopeRefused("stale", f"epoch {number} of {unit} was given up; epochs only go forward")
            return NoGrant(unit=unit, kind="close")
        self._signer(unit, body, signature, CLOSE_CONTEXT)
        close = read_close(body)
        if (close.unit, close.epoch) != (unit, number):
            raise EnvelopeRefused(
                "topic", f"a close of {close.unit}/{close.epoch} stands on the topic of {unit}/{number}"
            )
        if not epoch.take_close(close, data):
            return Duplicate(unit=unit, epoch=number, kind="close")
        return self._closed(epoch, close)

    def _accept_frame(self, unit: str, topic: str, data: bytes) -> Opened | NotForUs | Duplicate | NoGrant:
        parts = split_frame(data)
        epoch = self._references.get((unit, parts.reference))
        if epoch is None:
            return NoGrant(unit=unit, kind="frame")
        epoch.verify(topic, parts)
        if not epoch.fresh(parts.counter):
            return Duplicate(unit=unit, epoch=epoch.epoch, kind="frame", counter=parts.counter)
        if parts.audience not in epoch.keys:
            epoch.mark(parts.counter, data)
            return NotForUs(unit=unit, epoch=epoch.epoch, kind="frame")
        payload = epoch.decrypt(topic, parts)
        epoch.mark(parts.counter, data)
        return self._opened(epoch, topic, parts.counter, parts.audience, payload)

    def _signer(self, unit: str, body: bytes, signature: bytes, context: bytes) -> PublicIdentity:
        candidates = [device for device in self._trusted if device.name == unit]
        if not candidates:
            raise EnvelopeRefused("untrusted", f"no trusted device speaks for unit {unit}")
        for device in candidates:
            if device.verifies(signature, body, context):
                return device
        raise EnvelopeRefused("signature", f"not signed by a trusted device of unit {unit}")

    def _install(self, epoch: OpenEpoch) -> None:
        if (epoch.unit, epoch.reference) in self._references:
            raise EnvelopeRefused("conflict", f"epoch {epoch.epoch} of {epoch.unit} has the reference of another epoch")
        self._units.setdefault(epoch.unit, {})[epoch.epoch] = epoch
        self._references[epoch.unit, epoch.reference] = epoch

    def _give_up_oldest(self, unit: str) -> None:
        epochs = self._units[unit]
        if len(epochs) > KEEP_EPOCHS:
            self._give_up(unit, min(epochs))

    def _give_up(self, unit: str, number: int) -> None:
        for old in [epoch for epoch in self._units[unit].values() if epoch.epoch <= number]:
            del self._units[unit][old.epoch], self._references[unit, old.reference]
        self._floors[unit] = max(self._floors.get(unit, -1), number)

    def _restore(self, state: OpenerState) -> None:
        self._floors.update(state.floors)
        for stored in state.epochs:
            try:
                self._restore_epoch(stored)
            except EnvelopeRefused:
                continue  # a device that is no longer trusted, or damage: nothing of that epoch opens

    def _restore_epoch(self, stored: EpochState) -> None:
        self._accept_grant(stored.unit, stored.epoch, stored.grant)
        epoch = self._units[stored.unit].get(stored.epoch)
        if epoch is None:
            return
        try:
            epoch.restore_seen(stored.seen)
        except EnvelopeRefused:
            # Without it replays of this epoch could not be told: it is given up, and so is what came before.
            self._give_up(stored.unit, stored.epoch)
            raise
        if stored.close:
            self._accept_close(stored.unit, stored.epoch, stored.close)

    @staticmethod
    def _granted(epoch: OpenEpoch) -> Granted | NotForUs:
        if not epoch.keys:
            return NotForUs(unit=epoch.unit, epoch=epoch.epoch, kind="grant")
        audiences = tuple(sorted(epoch.keys))
        return Granted(unit=epoch.unit, epoch=epoch.epoch, issued_ns=epoch.issued_ns, audiences=audiences)

    @staticmethod
    def _opened(epoch: OpenEpoch, topic: str, counter: int, audience: int, payload: bytes) -> Opened:
        return Opened(
            topic=topic, payload=payload, unit=epoch.unit, epoch=epoch.epoch, counter=counter, audience=audience
        )

    @staticmethod
    def _closed(epoch: OpenEpoch, close: Close) -> Closed:
        return Closed(
            unit=epoch.unit,
            epoch=epoch.epoch,
            count=close.count,
            missing=epoch.missing(),
            shed=close.shed,
            forgotten=epoch.forgotten,
            root=epoch.root_check,
            checkpoint=close.checkpoint,
        )
