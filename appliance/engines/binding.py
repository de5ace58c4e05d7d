"""What an engine is bound to. Two bindings that differ anywhere are two engines; the difference has a name.

A plan is right for one network, one TensorRT, one GPU with one driver, one set of options; it belongs to one unit and
one slot. All of that stands in the header of the sealed file, and is compared with what is true now before a byte of
the plan is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from appliance.bundles.release import DIGEST_PATTERN
from appliance.engines.nvidia import Flavour, Gpu
from appliance.engines.profiles import Profile
from appliance.slots import ActiveModel

Digest = Annotated[str, Meta(pattern=DIGEST_PATTERN)]
Text = Annotated[str, Meta(max_length=256)]

NO_GPU: Final = "none"
"""An engine that was built on a machine without a GPU (TensorRT for RTX can); it runs nowhere by itself."""

FORMAT_OPTIONS: Final = "strongly-typed/1"
"""Changes whenever the builder's own settings change, so that engines of before are built again."""


class Binding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that an engine holds good for. Digests are SHA-384, lower-case hex."""

    model_sha384: Digest
    flavour: Flavour
    tensorrt: Text
    sm: Text
    gpu: Text
    driver: Text
    options_sha384: Digest
    unit: Text
    product: Text
    slot: Text

    def differs(self, other: Binding) -> str | None:
        """The first thing in which ``other`` is another engine, as a reason; None where they are one."""
        for name, reason in _REASONS.items():
            if getattr(self, name) != getattr(other, name):
                return reason
        return None


#: In the order in which they are told; the reasons are stable words.
_REASONS: Final = {
    "unit": "engine-unit",
    "product": "engine-product",
    "slot": "engine-slot",
    "model_sha384": "engine-model",
    "flavour": "engine-tensorrt",
    "tensorrt": "engine-tensorrt",
    "sm": "engine-gpu",
    "gpu": "engine-gpu",
    "driver": "engine-driver",
    "options_sha384": "engine-options",
}


def bind(
    model: ActiveModel,
    unit: str,
    *,
    flavour: Flavour,
    tensorrt: str,
    gpu: Gpu | None,
    profiles: Sequence[Profile],
    workspace_bytes: int,
) -> Binding:
    """The binding of the engine that this device would build for ``model`` now."""
    return Binding(
        model_sha384=model.digest,
        flavour=flavour,
        tensorrt=tensorrt,
        sm=gpu.sm if gpu else NO_GPU,
        gpu=gpu.name if gpu else NO_GPU,
        driver=gpu.driver if gpu else NO_GPU,
        options_sha384=options_digest(profiles, workspace_bytes),
        unit=unit,
        product=model.product,
        slot=model.slot,
    )


def options_digest(profiles: Sequence[Profile], workspace_bytes: int) -> str:
    """One digest over all that decides how a network is built, but for the network."""
    options = {
        "format": FORMAT_OPTIONS,
        "workspace_bytes": workspace_bytes,
        "profiles": [{name: (r.low, r.best, r.high) for name, r in profile.items()} for profile in profiles],
    }
    return hashlib.sha384(msgspec.json.encode(options, order="sorted")).hexdigest()
