"""Where sealed engines lie: one file for each product, slot and flavour, and a bound on all of them.

    state/engines/<integrator>.<product>.<slot>.<flavour>.engine   the sealed plan (`sealed`)
    state/engines/device.key                 what wraps their keys (`devicekey`)
    state/engines/timing/<version>.sm<sm>.cache   what earlier builds measured

Nothing comes in here but what this device has just built. Whatever is wrong with a file, the answer is the same: it is
not loaded, and the engine is built again; so a lookup gives a ``NoEngine`` with the reason instead of raising.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.engines.binding import NO_GPU, Binding
from appliance.engines.build import Plan
from appliance.engines.devicekey import device_key
from appliance.engines.nvidia import Flavour, Gpu
from appliance.engines.sealed import Facts, Header, open_sealed, read_header, sealed_parts
from appliance.errors import EngineRefused, EngineUnavailable

MAX_STORE_BYTES: Final = 8 * 1024**3
MAX_ENGINES: Final = 256
_SUFFIX: Final = ".engine"
_SAFE: Final = re.compile(r"[^0-9A-Za-z._-]")
_PRIVATE: Final = 0o700
_ABSENT: Final = "engine-absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEngine:
    """An engine that was found, bound to what is true now, every byte proven. ``digest`` is the plan's SHA-384."""

    binding: Binding
    facts: Facts
    plan: bytearray

    @property
    def digest(self) -> str:
        """SHA-384 of the plan: what a receipt names."""
        return self.facts.plan_sha384


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    """There is no engine to load, and why; ``reason`` is ``engine-absent`` where there never was one."""

    reason: str
    says: str

    @property
    def suspicious(self) -> bool:
        """Whether a file was touched by somebody: an officer should hear of it. Changed versions are ordinary."""
        return self.reason in {"engine-format", "engine-sealed", "engine-key", "engine-unit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file of the store; ``header`` None where it cannot be read, with the reason in ``says``."""

    name: str
    size_bytes: int
    header: Header | None
    says: str = ""


class EngineStore:
    """The engines of one device."""

    def __init__(self, state: Path, *, max_bytes: int = MAX_STORE_BYTES) -> None:
        self.folder = state / "engines"
        self._max_bytes = max_bytes

    def find(self, binding: Binding) -> StoredEngine | NotStored:
        """The engine that is bound to exactly this, or why there is none. Never raises for what a file holds."""
        path = self._path(binding)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return NotStored(reason=_ABSENT, says=f"no engine was built for {binding.product} in slot {binding.slot}")
        except OSError as e:
            return NotStored(reason="engine-format", says=f"{path.name}: {e.strerror}")
        try:
            with os.fdopen(descriptor, "rb") as file:
                header, plan = open_sealed(file, binding, device_key(self.folder))
        except EngineRefused as e:
            return NotStored(reason=e.reason, says=f"{path.name}: {str(e).removesuffix(f' [{e.reason}]')}")
        except OSError as e:
            return NotStored(reason="engine-format", says=f"{path.name}: {e.strerror}")
        return StoredEngine(binding=header.binding, facts=header.facts, plan=plan)

    def put(self, plan: Plan, binding: Binding, built_ns: int) -> StoredEngine:
        """Seal a plan that this device has just built; it replaces the one before it. Raises ``EngineUnavailable``."""
        facts = Facts(
            plan_bytes=len(plan.data),
            plan_sha384=hashlib.sha384(plan.data).hexdigest(),
            built_ns=built_ns,
            seconds=round(plan.seconds, 3),
            warnings=plan.warnings[:16],
        )
        path = self._path(binding)
        try:
            self.folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            self.gc(keep=frozenset({path.name}), room_bytes=len(plan.data))
            _write(path, sealed_parts(plan.data, binding, facts, device_key(self.folder)))
        except OSError as e:
            raise EngineUnavailable(f"{path}: the engine cannot be stored: {e.strerror}") from e
        return StoredEngine(binding=binding, facts=facts, plan=bytearray(plan.data))

    def listed(self) -> tuple[Listed, ...]:
        """Every file that calls itself an engine, by name. Headers are read, not proven."""
        return tuple(_listed(path) for path in self._files())

    def gc(self, *, keep: frozenset[str] | None = None, room_bytes: int = 0) -> tuple[str, ...]:
        """Remove unfinished files, and the oldest engines until the bound holds with ``room_bytes`` free for one more.

        With ``keep`` given, those names are never removed. Returns the names that were removed.
        """
        kept = keep or frozenset()
        removed = list(self.folder.glob(".*.engine.*"))
        files = sorted(self._files(), key=lambda path: (path.lstat().st_mtime_ns, path.name))
        taken = sum(path.lstat().st_size for path in files)
        count = len(files)
        for path in files:
            if taken + room_bytes <= self._max_bytes and count < MAX_ENGINES:
                break
            if path.name not in kept:
                removed.append(path)
                taken -= path.lstat().st_size
                count -= 1
        for path in removed:
            path.unlink(missing_ok=True)
        return tuple(path.name for path in removed)

    def drop(self, name: str) -> None:
        """Remove one engine by its name."""
        (self.folder / Path(name).name).unlink(missing_ok=True)

    def timing_cache(self, flavour: Flavour, version: str, gpu: Gpu | None) -> Path:
        """Where the timings of one TensorRT on one kind of GPU are kept; a build that was stopped goes on from them."""
        name = f"{flavour}-{version}.sm{gpu.sm if gpu else NO_GPU}.cache"
        return self.folder / "timing" / _SAFE.sub("_", name)

    def _path(self, binding: Binding) -> Path:
        return self.folder / file_name(binding.product, binding.slot, binding.flavour)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"[!.]*{_SUFFIX}"))[: 2 * MAX_ENGINES]


def file_name(product: str, slot: str, flavour: str) -> str:
    """The name of an engine's file. Products have no dots (`bundles.release`), so names cannot meet."""
    return f"{product.replace('/', '.')}.{slot}.{flavour}{_SUFFIX}"


def _write(path: Path, parts: Iterator[bytes]) -> None:
    """As ``host.files.write_whole``, in pieces: a plan can be a gigabyte, and is not held twice."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as out:
            for part in parts:
                out.write(part)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _listed(path: Path) -> Listed:
    size = path.lstat().st_size
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return Listed(name=path.name, size_bytes=size, header=read_header(file)[0])
    except EngineRefused as e:
        return Listed(name=path.name, size_bytes=size, header=None, says=str(e).removesuffix(f" [{e.reason}]"))
    except OSError as e:
        return Listed(name=path.name, size_bytes=size, header=None, says=str(e.strerror))
