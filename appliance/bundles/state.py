"""What the device remembers about trust, as a value: floors that never go down, and what was revoked.

The file of it is kept by the rim (``slots/trust.py``). The TUF metadata that was accepted lies beside it; this holds
what TUF does not know: time, counters per product, revocations.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from appliance.bundles.clock import BUILD_NS, raise_floor
from appliance.bundles.release import Release
from appliance.errors import BundleRefused

SCHEMA: Final = "edge-trust-state/1"
MAX_STATE_BYTES: Final = 4 * 1024 * 1024
#: A product revokes at most as many releases as it ever made; older ones are below the counter floor anyway.
MAX_REVOKED: Final = 16_384


class TrustState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Floors. ``counters`` maps a product to the counter of its last confirmed release."""

    schema: Literal["edge-trust-state/1"] = SCHEMA
    floor_ns: Annotated[int, msgspec.Meta(ge=0)] = BUILD_NS
    root_version: Annotated[int, msgspec.Meta(ge=1)] = 1
    timestamp_version: Annotated[int, msgspec.Meta(ge=0)] = 0
    counters: dict[str, int] = {}
    revoked: frozenset[str] = frozenset()

    def floor_counter(self, product: str) -> int:
        """The lowest counter that this product may still be installed with."""
        return self.counters.get(product, 0)


def parse_state(raw: bytes) -> TrustState:
    """Raises: BundleRefused ("trust-state")."""
    try:
        state = msgspec.json.decode(raw, type=TrustState)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise BundleRefused("trust-state", f"the trust state cannot be read: {e}") from e
    return msgspec.structs.replace(state, floor_ns=max(state.floor_ns, BUILD_NS))


def encode_state(state: TrustState) -> bytes:
    """Canonical: the same state is the same bytes."""
    return msgspec.json.encode(state, order="deterministic") + b"\n"


def after_install(state: TrustState, release: Release, *, root_version: int, timestamp_version: int) -> TrustState:
    """The state once a release's metadata and payload are verified: time and versions move, the counter does not."""
    own = {release_id for release_id in release.revokes if release_id.startswith(release.product + "#")}
    revoked = state.revoked | own
    if len(revoked) > MAX_REVOKED:
        raise BundleRefused("trust-state", f"more than {MAX_REVOKED} revoked releases")
    return msgspec.structs.replace(
        state,
        floor_ns=raise_floor(state.floor_ns, release.issued_ns),
        root_version=max(state.root_version, root_version),
        timestamp_version=timestamp_version,
        revoked=revoked,
    )


def after_refresh(state: TrustState, *, root_version: int, timestamp_version: int) -> TrustState:
    """The state once metadata alone was accepted, from a stick that carries revocations and no payload."""
    return msgspec.structs.replace(
        state, root_version=max(state.root_version, root_version), timestamp_version=timestamp_version
    )


def after_confirm(state: TrustState, product: str, counter: int) -> TrustState:
    """The state once a release has shown itself healthy: from here on nothing older is installed."""
    counters = {**state.counters, product: max(counter, state.floor_counter(product))}
    return msgspec.structs.replace(state, counters=counters)
