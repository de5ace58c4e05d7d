"""From a model in service to an engine that may serve: find or build, load, compare. For the commands and the daemon.

    look_around ─ Site ─ ensure ─ StoredEngine ─ open_engine ─ EngineRunner ─ gate ─ Parity

Rules: the network that is built is read once and its digest checked again; one build at a time on a device; whatever a
stored engine's fault is, it is built again, and the audit log says so where somebody touched it. An engine that does
not pass the gate is taken out of the store and never serves.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from appliance.engines.binding import Binding, bind
from appliance.engines.build import Build, Limits, Plan, Tell
from appliance.engines.goldens import goldens_of
from appliance.engines.nvidia import (
    CudaDevice,
    Flavour,
    Gpu,
    find_gpu,
    installed_flavour,
    load_plan,
    tensorrt_module,
)
from appliance.engines.parity import Parity, compare, probe_batches
from appliance.engines.profiles import profiles_of
from appliance.engines.runner import EngineRunner
from appliance.engines.store import EngineStore, NotStored, StoredEngine, file_name
from appliance.engines.trt import TensorRt
from appliance.errors import EngineRefused, EngineUnavailable
from appliance.inference.runner import Runner
from appliance.slots import ActiveModel, Slots

_BUSY: Final = "another build is running on this device"


class BuildBusy(EngineUnavailable):
    """Another process builds on this device; the same call may work later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where engines are built and run: the device's store and names, TensorRT, and the GPU where there is one."""

    store: EngineStore
    slots: Slots
    unit: str
    flavour: Flavour
    trt: TensorRt
    gpu: Gpu | None
    limits: Limits

    def binding(self, model: ActiveModel) -> Binding:
        """What the engine of ``model`` must be bound to here and now."""
        return bind(
            model,
            self.unit,
            flavour=self.flavour,
            tensorrt=self.trt.__version__,
            gpu=self.gpu,
            profiles=profiles_of(model.manifest),
            workspace_bytes=self.limits.workspace_bytes,
        )


def look_around(
    state: Path, slots: Slots, *, flavour: Flavour | None = None, limits: Limits | None = None, need_gpu: bool = True
) -> Site:
    """What this machine has. Raises ``EngineUnavailable`` naming what is missing.

    TensorRT for RTX can build without a GPU; ``need_gpu`` False allows that, and such an engine runs nowhere here.
    """
    flavour = flavour or installed_flavour()
    try:
        gpu = find_gpu()
    except EngineUnavailable:
        if need_gpu or flavour != "tensorrt-rtx":
            raise
        gpu = None
    return Site(
        store=EngineStore(state),
        slots=slots,
        unit=slots.trust.unit().unit,
        flavour=flavour,
        trt=tensorrt_module(flavour),
        gpu=gpu,
        limits=limits or Limits(),
    )


def verified_network(model: ActiveModel) -> bytes:
    """The network's bytes, which are what was signed at this very reading. Raises ``EngineRefused``."""
    try:
        raw = model.model.read_bytes()
    except OSError as e:
        raise EngineUnavailable(f"model file {model.model}: {e.strerror}") from e
    if hashlib.sha384(raw).hexdigest() != model.digest:
        raise EngineRefused("engine-model", f"{model.product}: the network in slot {model.slot} is not what was signed")
    return raw


def ensure(
    site: Site,
    model: ActiveModel,
    tell: Tell,
    now_ns: int,
    *,
    again: bool = False,
    heard: Callable[[NotStored], None] = lambda _: None,
    started: Callable[[Build], None] = lambda _: None,
) -> StoredEngine:
    """The stored engine of ``model``, built first where there is none that is good here. ``again`` builds anyway.

    ``heard`` is told why there was none; ``started`` is given the build, to be able to cancel it. Raises
    ``EngineUnavailable``, ``BuildBusy``, ``BuildCancelled``, ``EngineRefused``.
    """
    binding = site.binding(model)
    with _alone(site.store.folder):
        found = site.store.find(binding)
        if isinstance(found, StoredEngine) and not again:
            return found
        if isinstance(found, NotStored):
            heard(found)
            _note_refusal(site, model, found, now_ns)
        build = Build(
            verified_network(model),
            profiles_of(model.manifest),
            site.flavour,
            limits=site.limits,
            timing_cache=site.store.timing_cache(site.flavour, site.trt.__version__, site.gpu),
        )
        started(build)
        return _kept(site, model, binding, build.run(tell), now_ns)


def _kept(site: Site, model: ActiveModel, binding: Binding, plan: Plan, now_ns: int) -> StoredEngine:
    if plan.version != site.trt.__version__:
        raise EngineUnavailable(f"expected a plan of TensorRT {site.trt.__version__}; found one of {plan.version}")
    stored = site.store.put(plan, binding, now_ns)
    site.slots.audit().append(
        "engine.built",
        now_ns,
        product=model.product,
        slot=model.slot,
        model=model.digest,
        plan=stored.digest,
        tensorrt=f"{site.flavour} {plan.version}",
        sm=binding.sm,
    )
    return stored


def _note_refusal(site: Site, model: ActiveModel, why: NotStored, now_ns: int) -> None:
    if why.suspicious:
        site.slots.audit().append(
            "engine.refused", now_ns, product=model.product, slot=model.slot, reason=why.reason, says=why.says[:1000]
        )


def open_engine(site: Site, stored: StoredEngine, model: ActiveModel) -> EngineRunner:
    """Load a stored engine on the GPU. Raises ``EngineUnavailable``, ``BundleRefused`` (``model-mismatch``)."""
    if site.gpu is None:
        raise EngineUnavailable("expected a GPU to run an engine; found none")
    device = CudaDevice(site.gpu)
    with device.active():
        runtime, engine = load_plan(site.trt, stored.plan, lambda _severity, _text: None)
    name = engine_name(site.flavour, stored.binding, stored.digest)
    return EngineRunner(site.trt, engine, device, model.manifest, name=name, keep=runtime)


def engine_name(flavour: Flavour, binding: Binding, digest: str) -> str:
    """What a receipt says of an engine: what runs it, and the digest of its plan."""
    return f"{flavour} {binding.tensorrt} sm {binding.sm} plan sha384:{digest}"


def gate(
    site: Site, model: ActiveModel, stored: StoredEngine, reference: Runner, candidate: Runner, now_ns: int
) -> Parity:
    """Hold an engine against its network and its golden outputs; one that fails leaves the store.

    Raises ``EngineRefused`` (``engine-parity``), ``EngineUnavailable`` where the reference does not answer,
    ``BundleRefused`` (``golden``).
    """
    parity = hold(model, reference, candidate)
    if parity.passed:
        return parity
    says = "; ".join(parity.faults) or "nothing could be compared"
    site.store.drop(file_name(model.product, model.slot, site.flavour))
    site.slots.audit().append(
        "engine.refused", now_ns, product=model.product, slot=model.slot, reason="engine-parity", plan=stored.digest
    )
    raise EngineRefused("engine-parity", f"{model.product}: the engine's answers are not its network's: {says}")


def hold(model: ActiveModel, reference: Runner, candidate: Runner) -> Parity:
    """Both runners on the golden pictures and on drawn ones; and the engine's golden answers as they were signed."""
    manifest = model.manifest
    goldens = goldens_of(model.model.parent, model.digest, manifest)
    batches = probe_batches(manifest) if goldens is None else chain(goldens.batches(), probe_batches(manifest))
    parity = compare(manifest, reference, candidate, batches)
    if goldens is None or parity.faults:
        return parity
    worst = goldens.hold(candidate)
    faults = () if worst.ok else (f"not the golden answer: {worst}",)
    return replace(parity, golden=str(worst), faults=faults)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time on one device; the lock ends with the process that holds it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise BuildBusy(_BUSY) from e
        yield
    finally:
        os.close(descriptor)
