"""What a virtual device is made of, and what its image is called: values alone, nothing is opened here.

Software emulation (TCG) everywhere, also for the machine's own architecture: the same device on every desk, and none
that needs ``/dev/kvm``. The processor model is fixed, so that what is compiled at build time fits at run time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from packaging.requirements import Requirement

from appliance.errors import UsageError

Architecture = Literal["amd64", "arm64"]

SUITE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
PYTHON: Final = "3.11"
"""Debian 12's own; the wheels are chosen for it."""
#: What Debian gives to a minimal system: a service manager, Python, the broker, packet filter, clock, and what
#: systemd-creds opens a TPM 2 with. No SSH, no package of ours, no pip.
PACKAGES: Final = (
    "apparmor",
    "chrony",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "libstdc++6",
    "libtss2-esys-3.0.2-0",
    "libtss2-mu0",
    "libtss2-rc0",
    "libtss2-tcti-device0",
    "mosquitto",
    "nftables",
    "procps",
    "python3",
    "systemd-sysv",
    "tpm2-tools",
    "udev",
    "zstd",
)
RIG_ADDRESS: Final = "10.20.0.50"
"""The camera's address of the device file: QEMU gives it to the servers on the rig."""
CAMERA_PORT: Final = 554
LINES_PORT: Final = 10110
"""A TCP server of AIS sentences there, which the packet filter of a virtual device lets it reach."""
#: UDP ports that campaigns send feeds to.
FEED_PORTS: Final = (*range(8600, 8610), 10110)
DISK_BYTES: Final = 4 * 1024**3
#: Our own packages are compiled for any processor of the architecture: the emulated one is no use to tune for.
COMPILED_FOR: Final = "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One architecture: the kernel's package, the wheels' platforms, and how QEMU is told to be it."""

    architecture: Architecture
    kernel_package: str
    wheel_platforms: tuple[str, ...]
    qemu: tuple[str, ...]
    console: str
    tpm_model: str
    markers: Mapping[str, str]


def _platforms(processor: str) -> tuple[str, ...]:
    """Every manylinux that glibc 2.36 fulfils, newest first (PEP 600), and the two old names."""
    return (*(f"manylinux_2_{minor}_{processor}" for minor in range(36, 11, -1)), f"manylinux2014_{processor}",
            *((f"manylinux2010_{processor}", f"manylinux1_{processor}", f"manylinux_2_5_{processor}")
              if processor == "x86_64" else ()))  # fmt: skip


def _markers(processor: str) -> Mapping[str, str]:
    """The environment of PEP 508 in the image, whatever Python builds it."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{PYTHON}.2",
        "os_name": "posix",
        "platform_machine": processor,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{PYTHON}.2",
        "python_version": PYTHON,
        "sys_platform": "linux",
    }


MACHINES: Final[Mapping[str, Machine]] = {
    "amd64": Machine(
        architecture="amd64",
        kernel_package="linux-image-cloud-amd64",
        wheel_platforms=_platforms("x86_64"),
        # Westmere is the baseline that NumPy's wheels want (x86-64-v2), with AES. Wider vectors only cost under TCG.
        qemu=("qemu-system-x86_64", "-machine", "q35", "-cpu", "Westmere"),
        console="ttyS0",
        tpm_model="tpm-tis",
        markers=_markers("x86_64"),
    ),
    "arm64": Machine(
        architecture="arm64",
        kernel_package="linux-image-cloud-arm64",
        wheel_platforms=_platforms("aarch64"),
        qemu=("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a76"),
        console="ttyAMA0",
        tpm_model="tpm-tis-device",
        markers=_markers("aarch64"),
    ),
}


def name_of(parts: Iterable[bytes]) -> str:
    """A name for what these inputs make, in this order: 16 hex digits of SHA-384 over their lengths and contents."""
    whole = hashlib.sha384()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """One entry of the lock: the requirement, its hashes, and who asked for it."""

    requirement: Requirement
    hashes: tuple[str, ...]
    asked_by: tuple[str, ...]


def read_lock(text: str) -> tuple[Pinned, ...]:
    """The entries of a lock as ``uv pip compile --generate-hashes`` writes them.

    Raises: UsageError for an entry without a hash, which nobody could check.
    """
    entries = tuple(_entries(text))
    for entry in entries:
        if not entry.hashes:
            raise UsageError(f"requirements.lock: expected hashes for {entry.requirement}; found none")
    return entries


def runtime_part(lock: Iterable[Pinned], asked: Iterable[str], markers: Mapping[str, str]) -> tuple[Pinned, ...]:
    """What the ``asked`` distributions need at run time there, and nothing that only a desk needs.

    Raises: UsageError where the lock does not name one of them.
    """
    entries = [entry for entry in lock if _applies(entry.requirement, markers)]
    wanted = {_canonical(Requirement(one).name) for one in asked}
    if missing := sorted(wanted - {_canonical(entry.requirement.name) for entry in entries}):
        raise UsageError(f"requirements.lock: expected {', '.join(missing)}; run `make lock`")
    while grown := {
        _canonical(entry.requirement.name)
        for entry in entries
        if wanted & set(entry.asked_by) and _canonical(entry.requirement.name) not in wanted
    }:
        wanted |= grown
    return tuple(entry for entry in entries if _canonical(entry.requirement.name) in wanted)


def requirement_lines(pinned: Iterable[Pinned]) -> str:
    """A requirements file for ``pip --require-hashes``; markers are resolved already."""
    lines = (" ".join([f"{p.requirement.name}{p.requirement.specifier}", *p.hashes]) for p in pinned)
    return "\n".join(lines) + "\n"


def _entries(text: str) -> Iterator[Pinned]:
    requirement: Requirement | None = None
    hashes: list[str] = []
    asked_by: list[str] = []
    for line in [*text.splitlines(), "end==0"]:
        words = line.strip().rstrip("\\").strip()
        if line.startswith(" "):
            if words.startswith("--hash="):
                hashes.append(words)
            elif words.startswith("#"):
                asked_by.append(_canonical(words.removeprefix("#").removeprefix(" via").strip().partition(" ")[0]))
        elif words and not words.startswith("#"):
            if requirement is not None:
                yield Pinned(requirement=requirement, hashes=tuple(hashes), asked_by=tuple(asked_by))
            requirement, hashes, asked_by = Requirement(words), [], []


def _applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""})


def _canonical(name: str) -> str:
    """PEP 503."""
    return name.lower().replace("_", "-").replace(".", "-")
