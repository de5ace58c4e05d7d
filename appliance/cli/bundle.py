"""``appliance bundle``: what lies on a stick, whether it is to be believed, and which release serves.

Every command prints what it proved, one line for each check, signer and file, so that a security officer can keep the
output. With ``--json`` there is one object instead. A refusal ends with its reason code and exit 3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from appliance.bundles.layout import MAX_ROOT_BYTES
from appliance.bundles.release import Release
from appliance.cli.output import errors, note, print_json, print_line
from appliance.cli.places import STATE
from appliance.errors import UsageError
from appliance.host.files import read_at_most
from appliance.slots import Slots, checks
from appliance.slots.inspect import inspect as inspect_media
from appliance.slots.verify import Verified, describe
from appliance.slots.views import ActiveModel, Installed

if TYPE_CHECKING:
    from rich.progress import Progress

bundle_app = App(name="bundle", help="Signed bundles on removable media, and the slots they are installed into.")

State = Annotated[Path, Parameter(name="--state", help="Where this device keeps trust, slots and audit log.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object instead of lines for people.")]
Media = Annotated[Path, Parameter(help="The stick: a folder, or one uncompressed tar.")]
Product = Annotated[str, Parameter(help="Which product, as integrator/product.")]


@bundle_app.command
def trust(
    root: Annotated[Path, Parameter(help="The fleet's 1.root.json.")],
    *,
    unit: Annotated[str, Parameter(help="This device's unit id.")] = "",
    group: Annotated[tuple[str, ...], Parameter(help="A group of the fleet that this device belongs to.")] = (),
    state: State = STATE,
    json: Json = False,
) -> None:
    """Give a new device its root of trust, once."""
    try:
        raw = read_at_most(root, MAX_ROOT_BYTES)
    except OSError as e:
        raise UsageError(f"{root}: {e.strerror}") from e
    signers = Slots(state).provision(raw, unit=unit, groups=group)
    if json:
        print_json({"unit": unit, "groups": group, "root_keys": signers.keys, "threshold": signers.threshold})
    else:
        print_line(f"trusted: {describe(signers)}")
        print_line(f"this device is {unit or 'unnamed'}" + (f", of {', '.join(group)}" if group else ""))


@bundle_app.command
def inspect(media: Media, *, json: Json = False) -> None:
    """Say what a stick claims to hold; believes and proves nothing."""
    contents = inspect_media(media)
    if json:
        print_json(contents)
        return
    print_line(f"{contents.files} files, {contents.length} bytes; nothing of this is verified")
    for claim in contents.metadata:
        print_line(
            f"claims {claim.name}: version {claim.version}, expires {claim.expires}, {len(claim.keys)} signatures"
        )
    for release in contents.releases:
        print_line(f"claims {_release_line(release)}")
    for fault in contents.faults:
        print_line(f"unreadable {fault}")


@bundle_app.command
def verify(media: Media, product: Product, *, state: State = STATE, json: Json = False) -> None:
    """Verify every byte that an installation would use, and change nothing."""
    with _progress(json) as progress:
        verified = Slots(state).verify(media, product, time.time_ns(), say=_say(json), progress=progress)
    if json:
        print_json({"verified": True, **_facts(verified)})
    else:
        print_line(f"verified {_release_line(verified.release)}")


@bundle_app.command
def install(
    media: Media,
    product: Product,
    *,
    activate: Annotated[bool, Parameter(help="Put it in service at once.")] = True,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Verify, test and install a release into the inactive slot, and put it in service."""
    with _progress(json) as progress:
        done = Slots(state).install(
            media, product, time.time_ns(), activate=activate, say=_say(json), progress=progress
        )
    if json:
        print_json(_installed(done))
    else:
        print_line(f"installed {_release_line(done.verified.release)} in slot {done.slot}")


@bundle_app.command
def refresh(media: Media, *, state: State = STATE, json: Json = False) -> None:
    """Accept a stick's metadata without a payload: replaced and revoked keys. Older sticks are refused afterwards."""
    chain = Slots(state).refresh(media, time.time_ns(), say=_say(json))
    if json:
        print_json({"root": chain.root.signed.version, "timestamp": chain.timestamp_version, "signers": chain.signers})
    else:
        print_line(
            f"accepted root {chain.root.signed.version} and everything up to timestamp {chain.timestamp_version}"
        )


@bundle_app.command(name="list")
def list_slots(*, state: State = STATE, json: Json = False) -> None:
    """List every slot that is filled."""
    views = Slots(state).list()
    if json:
        print_json({"slots": views})
        return
    if not views:
        print_line("nothing is installed")
    for view in views:
        words = ["active" if view.active else "inactive"]
        words += ["healthy"] if view.confirmed else []
        words += ["revoked"] if view.revoked else []
        print_line(f"{view.product} slot {view.slot}: version {view.version} #{view.counter}, {', '.join(words)}")


@bundle_app.command
def activate(product: Product, *, state: State = STATE, json: Json = False) -> None:
    """Put the other slot in service, after checking every file in it."""
    _say_active(Slots(state).activate(product, time.time_ns()), json)


@bundle_app.command
def rollback(product: Product, *, state: State = STATE, json: Json = False) -> None:
    """Go back to the release that served before."""
    _say_active(Slots(state).rollback(product, time.time_ns()), json)


@bundle_app.command
def gc(
    *,
    previous: Annotated[
        bool, Parameter(negative="", help="Also the release before, once the new one is healthy.")
    ] = False,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Remove what serves nobody: unfinished installations, files without a record, revoked releases."""
    gone = Slots(state).gc(time.time_ns(), previous=previous)
    if json:
        print_json({"removed": [{"path": each.path, "bytes": each.length, "why": each.why} for each in gone]})
        return
    for each in gone:
        print_line(f"removed {each.path}: {each.why}, {each.length} bytes")
    print_line(f"{sum(each.length for each in gone)} bytes freed" if gone else "nothing to remove")


@bundle_app.command
def confirm(product: Product, *, state: State = STATE, json: Json = False) -> None:
    """Declare the release in service healthy: from then on no older one is installed from a stick."""
    slots = Slots(state)
    slots.confirm(product, time.time_ns())
    _say_active(slots.active(product), json)


def _say(json: bool) -> checks.Say:
    """Proof lines for people; with --json they are in the object."""

    def line(check: checks.Check) -> None:
        print_line(f"  {check.name}: {check.says}")

    return checks.say_nothing if json else line


@contextmanager
def _progress(json: bool) -> Iterator[checks.Progress]:
    """A bar on a terminal, a line for each tenth elsewhere."""
    if json:
        yield checks.no_progress
    elif errors().is_terminal:
        with _bar() as bar:
            task = bar.add_task("reading", total=None)
            yield lambda name, done, total: bar.update(task, description=name, completed=done, total=total)
    else:
        yield _tenths()


def _bar() -> Progress:
    from rich import progress as rich  # noqa: PLC0415 - only a terminal pays for it

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn())
    times = (rich.TransferSpeedColumn(), rich.TimeRemainingColumn())
    return rich.Progress(*columns, *times, console=errors(), transient=True)


def _tenths() -> checks.Progress:
    said = -1

    def show(name: str, done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if tenth > said:
            said = tenth
            note(f"reading {name}: {done} of {total} bytes, {10 * tenth} %")

    return show


def _say_active(model: ActiveModel, json: bool) -> None:
    if json:
        print_json(
            {
                "product": model.product,
                "version": model.version,
                "counter": model.counter,
                "slot": model.slot,
                "confirmed": model.confirmed,
                "release_sha384": model.release_digest,
                "model_sha384": model.digest,
            }
        )
        return
    print_line(f"{model.product} version {model.version} #{model.counter} is in service in slot {model.slot}")
    print_line(f"  network SHA-384 {model.digest}, checked just now")


def _installed(done: Installed) -> dict[str, Any]:
    return {
        "installed": not done.already,
        "already": done.already,
        "activated": done.activated,
        "slot": done.slot,
        **_facts(done.verified),
    }


def _facts(verified: Verified) -> dict[str, Any]:
    release = verified.release
    return {
        "product": release.product,
        "version": release.version,
        "counter": release.release_counter,
        "issued": release.issued,
        "units": release.units,
        "release_sha384": verified.release_sha384,
        "files": release.files,
        "signers": verified.signers,
        "clock": verified.reference.clock,
    }


def _release_line(release: Release) -> str:
    return (
        f"{release.product} version {release.version} #{release.release_counter}, issued {release.issued}, "
        f"for {', '.join(release.units[:4])}, {len(release.files)} files"
    )
