"""From nothing to a disk: Debian's packages, the wheels, the overlay, compilation, one ext4 file system.

Two layers in the cache, each named by the digest of what went into it: the stock system (debootstrap, minutes) and the
image over it. Root is needed: a file system with owners is made, and tools run in it by chroot. What the emulated
processor would do too slowly at its first start (byte code, the compiled path) is done here, where the architecture is
this machine's own; another one has to do it itself, when it first starts.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from appliance.image import pack, render
from appliance.image.device import Connect, Device, Listen, read_device
from appliance.image.sbom import bill, read_packages, read_wheels
from hil.vm import wheelhouse
from hil.vm.recipe import (
    COMPILED_FOR,
    DISK_BYTES,
    FEED_PORTS,
    LINES_PORT,
    MACHINES,
    MIRROR,
    PACKAGES,
    PYTHON,
    RIG_ADDRESS,
    SUITE,
    Architecture,
    name_of,
)
from hil.vm.steps import BuildFailed, run

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CACHE: Final = REPOSITORY / ".cache" / "vm"
GUEST: Final = Path(__file__).parent / "guest"
PROGRAM: Final = "opt/edge-appliance"
SITE: Final = f"{PROGRAM}/lib/python{PYTHON}/site-packages"
#: One more with each change of how an image is put together.
EDITION: Final = b"7"
_OWN: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A disk that boots, never written again: machines run on copies. ``kernel`` and ``initrd`` are given to QEMU."""

    architecture: Architecture
    name: str
    disk: Path
    kernel: Path
    initrd: Path
    packages: Path
    """Debian's packages, one ``name version architecture`` a line."""
    sbom: Path
    """The bill of materials: overlay, wheels, packages."""
    compiled: bool
    """Whether the path lies compiled in the image."""


def build(
    architecture: Architecture, *, cache: Path = CACHE, mirror: str = MIRROR, say: Callable[[str], None]
) -> Image:
    """The image for these sources, from the cache where it lies there.

    Raises: BuildFailed (a tool, its last words), UsageError (lock or device file that do not fit).
    """
    machine = MACHINES[architecture]
    requirements = wheelhouse.runtime_requirements(REPOSITORY, machine)
    device = device_of(architecture)
    files = render(device, REPOSITORY / "firmware_config")
    overlay = pack(files)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        own = wheelhouse.own_wheel(REPOSITORY, Path(work))
        guest = b"".join(path.read_bytes() for path in sorted(GUEST.iterdir()) if path.is_file())
        base_name = name_of([SUITE.encode(), architecture.encode(), *map(str.encode, _packages(architecture))])
        name = name_of([EDITION, base_name.encode(), requirements.encode(), own.read_bytes(), overlay, guest])
        folder = cache / f"{architecture}-{name}"
        if not folder.is_dir():
            if os.geteuid() != 0:
                raise BuildFailed("expected to be root: a file system with owners is made")
            base = _base(architecture, cache / f"base-{architecture}-{base_name}", mirror, say)
            wheels = cache / f"wheels-{architecture}-{name_of([requirements.encode()])}"
            say("wheels")
            wheelhouse.fetch(requirements, machine, wheels)
            with _aside(folder) as made:
                root = made / "root"
                say("the stock system, copied")
                run(["cp", "--archive", "--reflink=auto", base, root])
                say("wheels, laid out")
                wheelhouse.lay_out(requirements, wheels, own, machine, root / SITE)
                _assemble(root, overlay, say)
                compiled = cache / f"compiled-{architecture}-{_sources_name(root, requirements)}"
                if is_own(architecture):
                    _compile(root, compiled, say)
                    (made / "compiled").touch()
                _finish(made, root, say)
                parts = (*read_wheels(wheels), *read_wheels(Path(work)))
                page = bill(device, files, parts, read_packages(made / "packages.txt"))
                (made / "image.cdx.json").write_text(page, encoding="utf-8")
    return _image(architecture, folder)


def device_of(architecture: Architecture) -> Device:
    """The generic kind as it is shipped, and a few more ports for the feeds of campaigns."""
    kind = read_device(REPOSITORY / "firmware_config" / "devices" / f"generic-{architecture}.toml")
    open_already = {rule.port for rule in kind.listen}
    more = tuple(Listen(link="sensors", protocol="udp", port=port) for port in FEED_PORTS if port not in open_already)
    lines = Connect(link="sensors", protocol="tcp", address=RIG_ADDRESS, port=LINES_PORT)
    return msgspec.structs.replace(
        kind, kind=f"virtual-{architecture}", listen=(*kind.listen, *more), connect=(*kind.connect, lines)
    )


def _packages(architecture: Architecture) -> tuple[str, ...]:
    return (*PACKAGES, MACHINES[architecture].kernel_package)


def _image(architecture: Architecture, folder: Path) -> Image:
    return Image(
        architecture=architecture,
        name=folder.name,
        disk=folder / "disk.raw",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd",
        packages=folder / "packages.txt",
        sbom=folder / "image.cdx.json",
        compiled=(folder / "compiled").exists(),
    )


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder that has its name only once all of it is there."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as made:
        inner = Path(made) / "made"
        inner.mkdir()
        yield inner
        inner.rename(folder)


def _base(architecture: Architecture, folder: Path, mirror: str, say: Callable[[str], None]) -> Path:
    """Debian's packages, installed and nothing else. Another architecture's scripts run by QEMU's user emulation."""
    if folder.is_dir():
        return folder
    say(f"Debian {SUITE} for {architecture}, from {mirror}")
    with _aside(folder) as made:
        foreign = [] if is_own(architecture) else ["--foreign"]
        include = ",".join(_packages(architecture))
        run(["debootstrap", "--variant=minbase", f"--arch={architecture}", *foreign, f"--include={include}",
             SUITE, made, mirror])  # fmt: skip
        if foreign:
            _emulated(made)
            run(["chroot", made, "/debootstrap/debootstrap", "--second-stage"])
    return folder


def is_own(architecture: Architecture) -> bool:
    """Whether this machine runs programs of that architecture by itself."""
    return _OWN.get(platform.machine()) == architecture


def _emulated(root: Path) -> None:
    """Let the kernel run arm64 programs in ``root`` (binfmt_misc with the flag F, as qemu-user-static registers it)."""
    register = Path("/proc/sys/fs/binfmt_misc")
    if not (register / "status").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", register])
    if not (register / "qemu-aarch64").exists():
        run(["update-binfmts", "--enable", "qemu-aarch64"])
    done = run(["chroot", root, "/bin/true"], may_fail=True)
    if "Exec format error" in done:
        raise BuildFailed("expected this kernel to run arm64 programs (qemu-user-static, binfmt_misc)")


def _assemble(root: Path, overlay: bytes, say: Callable[[str], None]) -> None:
    """The appliance in a stock system: program, overlay, what only the virtual device has, settled and compiled."""
    for link in ("python", "python3"):
        _link(root / PROGRAM / "bin" / link, f"/usr/bin/python{PYTHON}")
    (root / PROGRAM / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}.2\n", encoding="utf-8"
    )
    command = root / PROGRAM / "bin" / "appliance"
    command.write_text(f"#!/{PROGRAM}/bin/python\nfrom appliance.cli import main\n\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    unpacked = root.parent / "overlay.tar"
    unpacked.write_bytes(overlay)
    run(["tar", "-xf", unpacked, "-C", root])  # as its README says; Debian 12's tarfile knows no filters
    unpacked.unlink()
    _virtual(root)
    say("settled")
    run(["chroot", root, "/usr/lib/edge-appliance/settle", "--image"])
    run(["chroot", root, "systemctl", "enable", "edge-rig.service"])
    say("byte code")
    run(["chroot", root, f"/usr/bin/python{PYTHON}", "-m", "compileall", "-q", f"/{SITE}"], may_fail=True)


def _virtual(root: Path) -> None:
    """What only the virtual device has: the rig's hands, one disk, and a compiler that is told which processor."""
    agent = root / "usr/lib/edge-rig/agent.py"
    agent.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(GUEST / "agent.py", agent)
    shutil.copy(GUEST / "edge-rig.service", root / "etc/systemd/system/edge-rig.service")
    for unit in ("edge-appliance", "edge-compile"):
        folder = root / f"etc/systemd/system/{unit}.service.d"
        folder.mkdir(exist_ok=True)
        shutil.copy(GUEST / "60-virtual.conf", folder)
    (root / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime,errors=remount-ro 0 1\n", encoding="ascii")
    (root / "etc/hostname").write_text("edge-virtual\n", encoding="ascii")
    (root / "etc/hosts").write_text("127.0.0.1 localhost edge-virtual\n", encoding="ascii")
    (root / "etc/machine-id").write_text("", encoding="ascii")  # each machine makes its own
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)


def _finish(made: Path, root: Path, say: Callable[[str], None]) -> None:
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        shutil.copy(max((root / "boot").glob(pattern)), made / name)
    listed = run(
        [
            "dpkg-query",
            f"--admindir={root}/var/lib/dpkg",
            "--show",
            "--showformat=${Package} ${Version} ${Architecture}\\n",
        ]
    )
    (made / "packages.txt").write_text(listed, encoding="utf-8")
    say("the disk")
    disk = made / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "edge", "-d", root, disk])
    shutil.rmtree(root)


def _sources_name(root: Path, requirements: str) -> str:
    """What compiled code follows from: our own sources, and the compiler's version in the lock."""
    sources = sorted((root / SITE / "appliance").rglob("*.py"))
    return name_of([EDITION, requirements.encode(), *(path.read_bytes() for path in sources)])


def _compile(root: Path, kept: Path, say: Callable[[str], None]) -> None:
    """The path for any processor of this architecture, as the daemon's user will look for it; kept for next time."""
    cache = "/var/cache/edge-appliance"
    if kept.is_dir():
        shutil.rmtree(root / cache[1:])
        run(["cp", "--archive", kept, root / cache[1:]])
        return
    say("the path, compiled")
    run(
        ["chroot", root, "setpriv", "--reuid", "edge", "--regid", "edge", "--clear-groups",
         f"/{PROGRAM}/bin/python", "-m", "appliance.pipeline.warm"],
        environment={
            "HOME": cache, "NUMBA_CACHE_DIR": cache, "NUMBA_CPU_NAME": COMPILED_FOR, "OMP_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        },
    )  # fmt: skip
    with _aside(kept) as made:
        made.rmdir()
        run(["cp", "--archive", root / cache[1:], made])


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
