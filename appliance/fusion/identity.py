"""Which entity carries which identity. One identity is never on two entities.

MMSI and ICAO are *claimed* by the thing itself and have codes that the compiled scan compares. A tracklet is one
sensor's own running number. Names are not unique at sea; they are looked up, never locked.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.domain import MMSI_PATTERN, Identity
from appliance.estimation.bank import NONE

MOBILE_KINDS: Final = ("mmsi", "icao")
_ICAO_PATTERN: Final = re.compile(r"[0-9A-Fa-f]{6}")
_MAX_VALUE: Final = 128
_MAX_CODES: Final = 200_000


def well_formed(identity: Identity) -> bool:
    """Whether an identity can be what its kind says."""
    if not 0 < len(identity.value) <= _MAX_VALUE:
        return False
    if identity.kind == "mmsi":
        return MMSI_PATTERN.fullmatch(identity.value) is not None
    if identity.kind == "icao":
        return _ICAO_PATTERN.fullmatch(identity.value) is not None
    return identity.kind in ("tracklet", "name")


def normalised(name: str) -> str:
    """A name as it is compared: letters and digits only, case folded."""
    return "".join(c for c in name.casefold() if c.isalnum())


class IdentityBook:
    """Identity → slot, and codes for the scan. Holds only identities of living slots, plus bounded codes."""

    def __init__(self) -> None:
        self._slots: dict[Identity, int] = {}
        self._codes: dict[Identity, int] = {}

    def slot(self, identity: Identity) -> int:
        """The slot that carries it, or NONE."""
        return self._slots.get(identity, NONE)

    def bind(self, identity: Identity, slot: int) -> int:
        """Give it to ``slot``; returns the slot that had it before, or NONE."""
        before = self._slots.get(identity, NONE)
        self._slots[identity] = slot
        return before if before != slot else NONE

    def release(self, identity: Identity, slot: int) -> None:
        """Take it from ``slot``, if that has it."""
        if self._slots.get(identity) == slot:
            del self._slots[identity]

    def code(self, identity: Identity) -> int:
        """A small number for the scan; the same while it is remembered."""
        code = self._codes.get(identity)
        if code is None:
            if len(self._codes) >= _MAX_CODES:
                raise OverflowError("more identities than any picture holds")
            code = self._codes[identity] = len(self._codes)
        return code

    def codes(self, identities: tuple[Identity, ...]) -> tuple[int, int]:
        """Codes of the MMSI and ICAO among ``identities``, NONE where there is none."""
        out = [NONE, NONE]
        for identity in identities:
            if identity.kind in MOBILE_KINDS:
                out[MOBILE_KINDS.index(identity.kind)] = self.code(identity)
        return out[0], out[1]
