"""The virtual device's own campaign: build, boot, provision, install, run, cut power in the middle, judge.

    image ─ power ─ first boot ─ bundle ─ mission ─┬─ cut ─ boot ─ first result ─┬─ drained ─ inside ─ report
                                                   └────────── ten times ────────┘

Truth about what must not be lost is the unit's own disk: what its outbox holds as acknowledged, or as sealed and
waiting, is read before each cut and again at the end, and every one of those frames must have been opened by the
recipient on the rig. Beside it, counters of an epoch without a hole show that nothing in between is missing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError
from appliance.sealing.identity import PublicIdentity
from hil.devices.device import DeviceFailed
from hil.devices.machine import HOME, MISSION
from hil.devices.qemu import UNIT, QemuDevice
from hil.rig.books import read_books
from hil.rig.ear import Ear
from hil.rig.record import Name
from hil.scene.harbour import harbour
from hil.vm import inside
from hil.vm.air import Air
from hil.vm.build import Image
from hil.vm.readings import Report, worst
from hil.vm.site import PRODUCT, RECIPIENT, Site, prepare

BOOT_LIMIT_S: Final = 90.0
RECOVERY_LIMIT_S: Final = 20.0
FIRST_RESULT_S: Final = 300.0
DRAIN_S: Final = 180.0
SEED: Final = 7
KEEP_S: Final = 60.0
"""Nothing here looks at what results say."""
OUTBOX: Final = "/var/lib/edge-appliance/outbox.sqlite"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for. Seconds of running between cuts are drawn between the two."""

    cuts: int = 10
    least_s: float = 15.0
    most_s: float = 40.0
    mission_s: float = 60.0
    """How long it runs undisturbed, before the first cut."""
    film_s: float = 600.0
    patience: float = 1.0
    """What limits of waiting are multiplied by, for a slower processor. Limits that are judged stay."""


def campaign(image: Image, folder: Path, plan: Plan, report: Report, say: Say) -> None:
    """Fill the report. What breaks the run off is told in it as its error."""
    site = prepare(folder / "site", harbour(SEED), unit=UNIT, film_s=plan.film_s, say=say)
    device = QemuDevice(image, folder / "device", stick=site.stick, tpm=True)
    try:
        device.power_on()
        report.take("first boot", device.wait_booted(BOOT_LIMIT_S * 4 * plan.patience), "s", None, "power to shell")
        unit = provision(device, report, say, plan.patience)
        _mission(device, site, unit, plan, report, say, installed_ns=time.time_ns())
    except (ApplianceError, OSError, ValueError, KeyError) as e:
        report.error = f"{type(e).__name__}: {e}"
        report.notes["console"] = device.console(40).splitlines()
    finally:
        report.facts.update(device.facts)
        device.power_off()


def provision(device: QemuDevice, report: Report, say: Say, patience: float) -> PublicIdentity:
    """The first boot and the bundle, from the stick, as a person would do it."""
    say("first boot: identity, broker, recipients, trust")
    began = time.monotonic()
    device.checked("mkdir -p /run/stick && mount -o ro,nosuid,nodev,noexec /dev/vdb /run/stick")
    device.checked(f"install -d -o edge -g edge {HOME}")
    device.checked("install -o edge -g edge -m 600 /run/stick/film.mp4 /var/lib/edge-appliance/film.mp4")
    report.notes["provision"] = device.first_boot("/run/stick/site", 300 * patience)
    report.take("provisioning", time.monotonic() - began, "s")
    say("bundle from the stick")
    began = time.monotonic()
    ran = device.appliance("bundle", "install", "/run/stick/bundle", PRODUCT, timeout_s=300 * patience)
    if ran.code != 0:
        raise DeviceFailed(f"the bundle was refused with {ran.code}: {(ran.out + ran.err).strip()[-400:]}")
    report.take("verifying and installing the bundle", time.monotonic() - began, "s")
    return PublicIdentity.from_json(device.fetch("/etc/edge-appliance/device.public.json"))


def _mission(
    device: QemuDevice, site: Site, unit: PublicIdentity, plan: Plan, report: Report, say: Say, *, installed_ns: int
) -> None:
    tls = device.reader_tls(RECIPIENT)
    scene_s = plan.mission_s + plan.cuts * (plan.most_s + BOOT_LIMIT_S + FIRST_RESULT_S) + 600.0
    ear = Ear(device.bus_url, site.reader, unit, site.folder / "seen.sqlite", tls, KEEP_S)
    air = Air(harbour(SEED), scene_s, device.udp_at(8600), device.udp_at(10110))
    with ear, air:
        say("mission")
        device.start(MISSION)  # unless it has started by itself, once its bundle was there
        found = _first_after(ear, -1, FIRST_RESULT_S * plan.patience)
        if found is None:
            raise DeviceFailed(f"no result within {FIRST_RESULT_S * plan.patience:.0f} s\n{device.log('daemon')}")
        report.take("bundle installed to first result", (found[1] - installed_ns) / 1e9, "s")
        time.sleep(plan.mission_s)
        inside.examine(device, report)
        owed = _cuts(device, ear, plan, report, say)
        owed |= _drain(device, ear, say)
        _judge(ear, owed, report)


def _cuts(device: QemuDevice, ear: Ear, plan: Plan, report: Report, say: Say) -> frozenset[Name]:
    """Cut, boot, wait for the first result, ten times. Returns the frames that the unit's disk had before each cut."""
    dice = random.Random(SEED)
    owed: frozenset[Name] = frozenset()
    boots: list[float] = []
    recoveries: list[float] = []
    for number in range(1, plan.cuts + 1):
        time.sleep(dice.uniform(plan.least_s, plan.most_s))
        owed |= read_books(device, OUTBOX)[0]
        epoch = ear.look(lambda heard: heard.newest_epoch)
        device.power_off()
        device.power_on()
        boots.append(device.wait_booted(BOOT_LIMIT_S * 4 * plan.patience))
        booted_ns = device.powered_ns + int(boots[-1] * 1e9)
        found = _first_after(ear, epoch, FIRST_RESULT_S * plan.patience)
        if found is None:
            raise DeviceFailed(f"cut {number}: no result within {FIRST_RESULT_S:.0f} s\n{device.log('daemon')}")
        recoveries.append(max(0.0, (found[1] - booted_ns) / 1e9))
        say(f"cut {number}: boot {boots[-1]:.1f} s, first result {recoveries[-1]:.1f} s after it")
    if plan.cuts:
        report.take("power cuts", plan.cuts, "cuts")
        report.take("boot, longest", worst(boots), "s", BOOT_LIMIT_S, "power to shell and broker")
        report.take("recovery, longest", worst(recoveries), "s", RECOVERY_LIMIT_S, "booted to first opened result")
        report.notes |= {"boot_s": boots, "recovery_s": recoveries}
    return owed


def _first_after(ear: Ear, epoch: int, limit_s: float) -> tuple[int, int] | None:
    """(epoch, when its first result was opened) of the first epoch after ``epoch``; None where none came in time."""
    if not ear.wait(lambda heard: heard.newest_epoch > epoch, limit_s):
        return None
    return ear.look(lambda heard: min((e, at_ns) for e, at_ns in heard.first_ns.items() if e > epoch))  # type: ignore[no-any-return]


def _drain(device: QemuDevice, ear: Ear, say: Say) -> frozenset[Name]:
    """End the daemon in order, and let what its outbox still holds come through."""
    say("drained")
    time.sleep(5.0)
    owed, _ = read_books(device, OUTBOX)
    ear.wait(lambda heard: owed <= heard.names, DRAIN_S)
    device.stop(120.0)
    time.sleep(3.0)
    return owed


def _judge(ear: Ear, owed: frozenset[Name], report: Report) -> None:
    opened, doubled = ear.look(lambda heard: (frozenset(heard.names), heard.said_twice))
    lost = owed - opened
    report.take("frames that the unit's disk had when power went, or at the end", len(owed), "frames")
    report.take("frames opened", len(opened), "frames")
    report.take("owed and never opened", len(lost), "frames", 0, str(sorted(lost)[:5]) if lost else "")
    report.take("holes in the counters of an epoch", holes(opened), "frames", 0)
    report.take("opened more than once", doubled, "results", 0)


def holes(opened: frozenset[Name]) -> int:
    """Counters that are missing below the highest that was opened, over all epochs."""
    highest: dict[int, int] = {}
    for epoch, counter in opened:
        highest[epoch] = max(counter, highest.get(epoch, -1))
    return sum(top + 1 for top in highest.values()) - len(opened)
