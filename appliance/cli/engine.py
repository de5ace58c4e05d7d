"""``appliance engine``: compile the models in service for this machine, and show that they answer as their networks do.

A build shows one bar with the time left on a terminal, and a line at least every five seconds elsewhere. Ctrl-C ends it
within about a second (exit 130); what TensorRT has timed by then is kept, and the next build goes on from there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from cyclopts import App, Parameter
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from appliance.bundles.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from appliance.bundles.network import MAX_MODEL_BYTES, look_into
from appliance.cli.output import errors, note, print_json, print_line
from appliance.cli.places import STATE
from appliance.engines.bench import Timing, time_runner
from appliance.engines.binding import NO_GPU
from appliance.engines.build import DEFAULT_WORKSPACE_BYTES, Build, Limits, Plan, Tell, most_of_memory
from appliance.engines.builder import BuildCancelled
from appliance.engines.making import Site, ensure, gate, look_around, open_engine, verified_network
from appliance.engines.nvidia import FLAVOURS, Flavour, installed_flavour
from appliance.engines.parity import Parity
from appliance.engines.profiles import profiles_of
from appliance.engines.progress import Progress as BuildProgress
from appliance.engines.store import EngineStore, Listed, NotStored, StoredEngine, file_name
from appliance.errors import BundleRefused, EngineUnavailable, UsageError
from appliance.host.clock import now_ns
from appliance.host.files import read_at_most
from appliance.inference.runner import open_runner
from appliance.slots import ActiveModel, Slots

engine_app = App(name="engine", help="Compiled engines: built on this device from verified models, sealed to it.")

T = TypeVar("T")
_MIB: Final = 1024**2
#: Where there is no terminal: a line at each tenth, and after this long without one.
SILENCE_S: Final = 4.0

State = Annotated[Path, Parameter(name="--state", help="Where this device keeps trust, slots and engines.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object instead of lines for people.")]
With = Annotated[Flavour | None, Parameter(name="--with", help="Which TensorRT; the one installed where left out.")]
Workspace = Annotated[int, Parameter(name="--workspace-mib", help="Scratch memory that tactics may use, MiB.")]
Time = Annotated[float, Parameter(name="--time-limit-s", help="A build that takes longer is ended, seconds.")]
Memory = Annotated[
    int | None,
    Parameter(name="--memory-limit-mib", help="A build that takes more memory is ended, MiB; 3/4 of what there is."),
]


@engine_app.command
def build(
    *products: str,
    again: Annotated[bool, Parameter(negative="", help="Build also where a good engine is stored.")] = False,
    flavour: With = None,
    time_limit_s: Time = 3600.0,
    memory_limit_mib: Memory = None,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Compile the models in service, and seal the engines to this device."""
    site = look_around(
        state,
        Slots(state),
        flavour=flavour,
        limits=_limits(time_limit_s, memory_limit_mib),
        need_gpu=False,
    )
    done = [_build_one(site, model, again=again, json=json) for model in _in_service(site.slots, products)]
    if json:
        print_json({"engines": [_built(each) for each in done]})


@engine_app.command(name="try")
def try_(
    onnx: Annotated[Path, Parameter(help="The network.")],
    manifest: Annotated[Path, Parameter(help="Its manifest.")],
    *,
    flavour: With = None,
    workspace_mib: Workspace = 1024,
    time_limit_s: Time = 3600.0,
    memory_limit_mib: Memory = None,
    json: Json = False,
) -> None:
    """Compile a network to see whether TensorRT takes it; keeps nothing and runs nothing."""
    chosen = flavour or installed_flavour()
    page = parse_manifest(_read(manifest, MAX_MANIFEST_BYTES))
    raw = _read(onnx, MAX_MODEL_BYTES)
    look_into(raw)
    making = Build(raw, profiles_of(page), chosen, limits=_limits(time_limit_s, memory_limit_mib, workspace_mib))
    with _bar(page.name, json) as tell, _cancelled_by_signals() as started:
        started(making)
        plan = _run(lambda: making.run(tell))
    facts = _tried(page, chosen, plan)
    if json:
        print_json(facts)
        return
    size, took = len(plan.data), plan.seconds
    print_line(f"{page.name}: {chosen} {plan.version} takes it: {size} bytes in {took:.1f} s; nothing is kept")
    for warning in plan.warnings:
        note(f"  {warning}")


@engine_app.command(name="list")
def list_engines(*, state: State = STATE, json: Json = False) -> None:
    """List the sealed engines, and whether each would be loaded here and now."""
    rows = [_row(each, _verdict(state, each)) for each in EngineStore(state).listed()]
    if json:
        print_json({"engines": rows})
        return
    if not rows:
        print_line("no engine is stored")
    for row in rows:
        print_line(_row_line(row))


@engine_app.command
def parity(*products: str, flavour: With = None, state: State = STATE, json: Json = False) -> None:
    """Compare stored engines with their networks in ONNX Runtime; one that differs is refused and removed (exit 3)."""
    site = look_around(state, Slots(state), flavour=flavour)
    done = {model.product: _parity_of(site, model) for model in _in_service(site.slots, products)}
    if json:
        print_json({"parity": done})
        return
    for product, report in done.items():
        print_line(
            f"{product}: the same: {report.pictures} pictures, {report.matched} candidates matched; "
            f"scores within {report.worst_score:.4f}, boxes within {report.worst_box_px:.2f} px"
        )
        print_line(f"  golden: {report.golden}")


@engine_app.command
def bench(
    *products: str,
    seconds: Annotated[float, Parameter(help="How long each is run.")] = 3.0,
    flavour: With = None,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Time stored engines beside ONNX Runtime on the CPU, in the same run."""
    site = look_around(state, Slots(state), flavour=flavour)
    timings = [row for model in _in_service(site.slots, products) for row in _bench_of(site, model, seconds)]
    if json:
        print_json({"timings": timings})
        return
    for row in timings:
        print_line(
            f"{row.model}, batch {row.batch}, {row.provider[:60]}: median {row.median_ms:.2f} ms, "
            f"worst of 100 {row.p99_ms:.2f} ms, {row.pictures_per_s:.1f} pictures/s"
        )


@engine_app.command
def gc(*, state: State = STATE, json: Json = False) -> None:
    """Remove unfinished files, engines of slots that are empty, and the oldest ones beyond the bound."""
    store, slots = EngineStore(state), Slots(state)
    filled = {file_name(view.product, view.slot, each) for view in slots.list() for each in FLAVOURS}
    stray = [each.name for each in store.listed() if each.name not in filled]
    for name in stray:
        store.drop(name)
    removed = (*stray, *store.gc())
    if json:
        print_json({"removed": removed})
    else:
        print_line(f"removed {', '.join(removed)}" if removed else "nothing to remove")


# --- one model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """An engine of one product, and why it was built; ``why`` None where the stored one was good."""

    stored: StoredEngine
    why: NotStored | None


def _build_one(site: Site, model: ActiveModel, *, again: bool, json: bool) -> _Done:
    why: list[NotStored] = []
    with _bar(model.product, json) as tell, _cancelled_by_signals() as started:
        stored = _run(lambda: ensure(site, model, tell, now_ns(), again=again, heard=why.append, started=started))
    done = _Done(stored=stored, why=why[0] if why else None)
    if not json:
        _say_built(site, done, again=again)
    return done


def _say_built(site: Site, done: _Done, *, again: bool) -> None:
    binding, facts = done.stored.binding, done.stored.facts
    if done.why is None and not again:
        print_line(f"{binding.product}: the stored engine is good: {site.flavour} {binding.tensorrt}, sm {binding.sm}")
    else:
        if done.why is not None:
            print_line(f"{binding.product}: {done.why.says} [{done.why.reason}]")
        print_line(
            f"{binding.product} slot {binding.slot}: built with {site.flavour} {binding.tensorrt} for sm {binding.sm}: "
            f"{facts.plan_bytes} bytes in {facts.seconds:.1f} s, sealed"
        )
    print_line(f"  plan SHA-384 {facts.plan_sha384}")
    print_line(f"  network SHA-384 {binding.model_sha384}")
    if site.gpu is None:
        note("  this machine has no GPU: the engine was built ahead of time, is not compared and does not run here")


def _parity_of(site: Site, model: ActiveModel) -> Parity:
    stored = _stored(site, model)
    reference = open_runner(verified_network(model), model.manifest)
    return gate(site, model, stored, reference, open_engine(site, stored, model), now_ns())


def _bench_of(site: Site, model: ActiveModel, seconds: float) -> Iterator[Timing]:
    runners = (open_runner(verified_network(model), model.manifest), open_engine(site, _stored(site, model), model))
    for runner in runners:
        yield from time_runner(runner, model.manifest, seconds)


def _stored(site: Site, model: ActiveModel) -> StoredEngine:
    found = site.store.find(site.binding(model))
    if isinstance(found, NotStored):
        raise EngineUnavailable(f"{model.product}: {found.says} [{found.reason}]: appliance engine build")
    return found


def _in_service(slots: Slots, products: tuple[str, ...]) -> list[ActiveModel]:
    chosen = products or tuple(view.product for view in slots.list() if view.active)
    if not chosen:
        raise BundleRefused("slot-empty", "no model is in service: appliance bundle install")
    return [slots.active(product) for product in chosen]


def _limits(
    time_limit_s: float, memory_limit_mib: int | None, workspace_mib: int = DEFAULT_WORKSPACE_BYTES // _MIB
) -> Limits:
    memory_bytes = most_of_memory() if memory_limit_mib is None else memory_limit_mib * _MIB
    if min(workspace_mib, memory_bytes) < 1 or not time_limit_s > 0:
        raise UsageError("expected limits above zero")
    return Limits(time_s=time_limit_s, memory_bytes=memory_bytes, workspace_bytes=workspace_mib * _MIB)


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_at_most(path, limit)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e


# --- progress and cancelling


@contextmanager
def _bar(name: str, json: bool) -> Iterator[Tell]:
    """A bar with the time left on a terminal; elsewhere lines on standard error, never long apart."""
    if not errors().is_terminal or json:
        yield _Lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=errors(), transient=True) as bar:
        task = bar.add_task(f"building {name}", total=1.0, left="")
        yield lambda p: bar.update(task, completed=p.fraction, left=f"{_left(p)}  {p.phase}")


class _Lines:
    """Progress as plain lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tenth = -1
        self._due_s = 0.0

    def __call__(self, progress: BuildProgress) -> None:
        tenth = int(10 * progress.fraction)
        if tenth > self._tenth or progress.elapsed_s >= self._due_s:
            self._tenth, self._due_s = tenth, progress.elapsed_s + SILENCE_S
            note(f"building {self._name}: {100 * progress.fraction:.0f} %, {_left(progress)}, {progress.phase}")


def _left(progress: BuildProgress) -> str:
    if progress.left_s is None:
        return "time left not known yet"
    minutes, seconds = divmod(round(progress.left_s), 60)
    return f"about {minutes} min {seconds:02} s left" if minutes else f"about {seconds} s left"


@contextmanager
def _cancelled_by_signals() -> Iterator[Callable[[Build], None]]:
    """Ctrl-C and SIGTERM cancel the build that was started, kindly: its timings are kept."""
    running: list[Build] = []

    def cancel(*_: object) -> None:
        for each in running:
            each.cancel()
        if not running:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield running.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(work: Callable[[], T]) -> T:
    started_s = time.monotonic()
    try:
        return work()
    except BuildCancelled:
        note(f"cancelled after {time.monotonic() - started_s:.1f} s; the next build goes on from what was timed")
        raise KeyboardInterrupt from None


# --- what is printed


def _verdict(state: Path, listed: Listed) -> NotStored | StoredEngine | str:
    """What a lookup says of a file now; text where that cannot be asked here."""
    header = listed.header
    if header is None:
        return NotStored(reason="engine-format", says=listed.says)
    if listed.name != file_name(header.binding.product, header.binding.slot, header.binding.flavour):
        return NotStored(reason="engine-product", says=f"{listed.name}: the header speaks of another engine")
    try:
        site = look_around(state, Slots(state), flavour=header.binding.flavour, need_gpu=False)
        model = site.slots.active(header.binding.product)
    except (EngineUnavailable, BundleRefused) as e:
        return str(e)
    if model.slot != header.binding.slot:
        return "its slot is not in service"
    return site.store.find(site.binding(model))


def _row(listed: Listed, verdict: NotStored | StoredEngine | str) -> Mapping[str, Any]:
    good = isinstance(verdict, StoredEngine)
    says = _says(verdict)
    reason = verdict.reason if isinstance(verdict, NotStored) else None
    row: dict[str, Any] = {
        "file": listed.name,
        "size_bytes": listed.size_bytes,
        "good": good,
        "reason": reason,
        "says": says,
    }
    if listed.header is not None:
        row["binding"] = listed.header.binding
        row["facts"] = listed.header.facts
    return row


def _says(verdict: NotStored | StoredEngine | str) -> str:
    match verdict:
        case StoredEngine():
            runs = verdict.binding.sm != NO_GPU
            return "good here" if runs else "good, but built without a GPU: it runs nowhere"
        case NotStored():
            return verdict.says
    return verdict


def _row_line(row: Mapping[str, Any]) -> str:
    binding = row.get("binding")
    what = f"{binding.flavour} {binding.tensorrt}, sm {binding.sm}" if binding is not None else "unreadable"
    reason = f" [{row['reason']}]" if row["reason"] else ""
    return f"{row['file']}: {what}, {row['size_bytes']} bytes: {row['says']}{reason}"


def _built(done: _Done) -> dict[str, Any]:
    return {
        "built": done.why is not None,
        "why": done.why.reason if done.why else None,
        "binding": done.stored.binding,
        "facts": done.stored.facts,
    }


def _tried(page: Manifest, flavour: Flavour, plan: Plan) -> dict[str, Any]:
    return {
        "model": page.name,
        "flavour": flavour,
        "tensorrt": plan.version,
        "plan_bytes": len(plan.data),
        "seconds": round(plan.seconds, 3),
        "warnings": plan.warnings,
    }
