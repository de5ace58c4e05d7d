"""What this device installs of all that is signed: the release policy, on values alone.

TUF says who may speak; this says what may be said. File types go by an allow-list per role. A serialised TensorRT
engine, a shared object, a script or a pickle is code: none is ever installed, however well it is signed
(DESIGN §5; NVIDIA: "serialized TensorRT engines are executable artifacts").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from appliance.bundles.golden import GOLDEN_DATA_FILE, GOLDEN_FILE
from appliance.bundles.release import MANIFEST_FILE, RELEASE_FILE, Release, ReleaseFile, Role
from appliance.errors import BundleRefused

EVERY_UNIT: Final = "*"

#: Which endings a role may have. What is not here is refused.
ALLOWED: Final[dict[Role, tuple[str, ...]]] = {
    "onnx": (".onnx",),
    "manifest": (MANIFEST_FILE,),
    "card": (".md", ".txt"),
    "calibration": (".bin", ".json"),
    "labels": (".json", ".txt"),
    "golden": (GOLDEN_FILE, GOLDEN_DATA_FILE),
    "sbom": (".json",),
}

#: Endings that are named in the refusal because they mean code.
CODE_SUFFIXES: Final = frozenset(
    {".engine", ".plan", ".trt", ".timing"}
    | {".so", ".dll", ".dylib", ".pyd", ".elf", ".exe", ".ko"}
    | {".py", ".pyc", ".whl", ".sh", ".js", ".jar", ".deb", ".rpm", ".run"}
    | {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npz", ".npy"}
)

#: First bytes that mean code or an archive, whatever the name says.
CODE_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x7fELF", "an ELF binary"),
    (b"MZ", "a Windows binary"),
    (b"#!", "a script"),
    (b"PK\x03\x04", "a zip archive (torch saves pickles in one)"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"ptrt", "a TensorRT engine"),
    (b"ftrt", "a TensorRT engine"),
    (b"\x93NUMPY", "a NumPy file, which may hold a pickle"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O binary"),
)
MAGIC_BYTES: Final = 8
#: Files of numbers without a header.
RAW_ROLES: Final[frozenset[Role]] = frozenset({"calibration", "golden"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the policy needs to know of the device. ``groups`` are the fleets that the unit belongs to."""

    unit: str
    groups: frozenset[str]
    hardware: frozenset[str]
    app_version: str


def check_release(release: Release, *, product: str, device: Device) -> None:
    """Whether this release is for this product slot and this device.

    Raises: BundleRefused: "wrong-product", "wrong-unit", "wrong-hardware", "app-too-old", and those of ``check_files``.
    """
    if release.product != product:
        raise BundleRefused("wrong-product", f"asked for {product}; release.json says {release.product}")
    names = {EVERY_UNIT, device.unit, *device.groups} - {""}
    if not names.intersection(release.units):
        raise BundleRefused(
            "wrong-unit", f"{release.release_id} is for {_some(release.units)}; this unit is {device.unit or 'unnamed'}"
        )
    if release.hw and not device.hardware.intersection(release.hw):
        raise BundleRefused(
            "wrong-hardware",
            f"{release.release_id} is for {_some(release.hw)}; this is {_some(sorted(device.hardware))}",
        )
    if _version(release.min_app) > _version(device.app_version):
        raise BundleRefused(
            "app-too-old", f"{release.release_id} needs appliance {release.min_app}; this is {device.app_version}"
        )
    check_files(release)


def check_files(release: Release) -> None:
    """Whether the file set may be installed: types by allow-list, one network, one manifest, both golden files or
    none, no name twice.

    Raises: BundleRefused: "file-type", "file-set".
    """
    paths = [file.path for file in release.files]
    if len(set(paths)) != len(paths) or RELEASE_FILE in paths:
        raise BundleRefused("file-set", f"{release.release_id}: a file is listed twice")
    for file in release.files:
        _check_type(file)
    for role in ("onnx", "manifest"):
        count = sum(file.role == role for file in release.files)
        if count != 1:
            raise BundleRefused("file-set", f"{release.release_id}: expected exactly one {role} file; found {count}")
    golden = {file.path for file in release.files if file.role == "golden"}
    if golden and golden != {GOLDEN_FILE, GOLDEN_DATA_FILE}:
        raise BundleRefused(
            "file-set", f"{release.release_id}: expected {GOLDEN_FILE} with {GOLDEN_DATA_FILE}; found {_some(golden)}"
        )


def _check_type(file: ReleaseFile) -> None:
    code = CODE_SUFFIXES.intersection("." + part for part in file.path.split(".")[1:])
    if code:
        raise BundleRefused("file-type", f"{file.path}: {min(code)} files are code and are never installed")
    if not file.path.endswith(ALLOWED[file.role]):
        raise BundleRefused("file-type", f"{file.path}: a file of role {file.role} ends in {_some(ALLOWED[file.role])}")
    if file.role == "manifest" and file.path != MANIFEST_FILE:
        raise BundleRefused("file-type", f"{file.path}: the manifest is named {MANIFEST_FILE}")


def check_content(file: ReleaseFile, head: bytes) -> None:
    """Whether the first bytes of a file mean code, whatever its name says.

    Two bytes prove nothing in raw numbers, which may begin with any: there only the longer marks count.

    Raises: BundleRefused ("file-type").
    """
    for magic, meaning in CODE_MAGIC:
        if head.startswith(magic) and (len(magic) > 2 or file.role not in RAW_ROLES):
            raise BundleRefused("file-type", f"{file.path}: the content is {meaning}")


def check_order(release: Release, *, floor_counter: int, revoked: Iterable[str]) -> None:
    """Whether the release may follow what was in confirmed service.

    Raises: BundleRefused: "counter", "revoked".
    """
    if release.release_counter < floor_counter:
        raise BundleRefused(
            "counter", f"{release.product}: counter {release.release_counter} is below the floor of {floor_counter}"
        )
    if release.release_id in revoked:
        raise BundleRefused("revoked", f"{release.release_id} has been revoked")


def _version(text: str) -> tuple[int, ...]:
    """``1.2.3`` as a comparable tuple; a development suffix (``1.2.dev0``) counts as its leading numbers."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _some(names: Iterable[str]) -> str:
    """The first few of many names, for a message."""
    listed = list(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
