"""What can be asked of the machine from within: exposure, unit files, packet filter, ports, doctor, outbox."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from hil.devices.machine import MISSION, PROGRAM
from hil.devices.qemu import QemuDevice
from hil.vm.readings import Report

UNITS: Final = ("edge-appliance.service", "edge-broker.service", "edge-compile.service")
DAEMON_EXPOSURE, BROKER_EXPOSURE = 1.5, 2.5
DOCUMENTED_PORTS: Final = frozenset({("tcp", "10.30.0.2:8883"), ("udp", "10.20.0.2:8600"), ("udp", "10.20.0.2:10110")})
"""What a machine of this mission listens on, and nothing else: firmware_config/README.md."""


def examine(device: QemuDevice, report: Report) -> None:
    """Everything at once, into the report."""
    for unit, limit in (("edge-appliance", DAEMON_EXPOSURE), ("edge-broker", BROKER_EXPOSURE)):
        said = device.shell(f"systemd-analyze security --no-pager {unit}.service | tail -1").out
        found = re.search(r"([0-9.]+) [A-Z]+", said)
        report.take(
            f"exposure of {unit}",
            float(found[1]) if found else float("inf"),
            "of 10",
            limit,
            "systemd-analyze security",
        )
    said = device.shell(f"systemd-analyze verify {' '.join(UNITS)} 2>&1").out.strip()
    report.take("unit files that systemd-analyze verify objects to", len(said.splitlines()), "lines", 0, said[:200])
    counters(device, report)
    ports(device, report)
    doctor(device, report)


def counters(device: QemuDevice, report: Report, limit: float | None = 0) -> None:
    """What the packet filter counted since the machine started."""
    listed = json.loads(device.shell("nft -j list counters").out)
    for one in (entry["counter"] for entry in listed["nftables"] if "counter" in entry):
        leaves = one["name"] == "egress_denied"
        says = f"{one['bytes']} bytes; nft, since the machine started"
        report.take(one["name"].replace("_", " "), one["packets"], "packets", limit if leaves else None, says)


def ports(device: QemuDevice, report: Report) -> None:
    """What listens, against the documented list."""
    open_now = listening(device.shell("ss -lntuH").out)
    more, less = sorted(open_now - DOCUMENTED_PORTS), sorted(DOCUMENTED_PORTS - open_now)
    says = ", ".join(f"{protocol} {at}" for protocol, at in sorted(open_now))
    report.take("ports beside the documented ones, or missing", len(more) + len(less), "ports", 0, says)
    report.notes["ss -lntup"] = device.shell("ss -lntup").out.splitlines()


def listening(text: str) -> frozenset[tuple[str, str]]:
    """(protocol, address:port) of each line of ``ss -lntuH``."""
    rows = (line.split() for line in text.splitlines())
    return frozenset((row[0], row[4].split("%")[0]) for row in rows if len(row) > 4)


def doctor(device: QemuDevice, report: Report) -> None:
    """The doctor's own judgement."""
    ran = device.shell(f"{PROGRAM} doctor {MISSION} --json", 300.0)
    body: dict[str, Any] = json.loads(ran.out)
    bad = [f"{one['check']}: {one['says']}" for one in body["findings"] if one["verdict"] == "bad"]
    report.take("findings of the doctor that are bad", len(bad), "findings", 0, "; ".join(bad)[:300] or body["verdict"])
    report.notes["doctor"] = body
