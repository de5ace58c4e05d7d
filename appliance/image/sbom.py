"""The bill of materials of a device image: CycloneDX 1.6, for whoever must answer "what is on it?".

Three kinds of parts: the overlay's files by their digests, wheels by theirs, and the distribution's packages as its own
package manager lists them. A release's page (``export.sbom``) is another: it tells of a network and travels in the
bundle. This one has no time and no chance in it: the same image gives the same page, so digests can be compared.

Rules: only what was read. A wheel's licence stands in the wheel and a package's in its copyright file; neither is
guessed here.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from appliance.errors import UsageError
from appliance.host.files import read_at_most
from appliance.image.device import Device
from appliance.image.overlay import ImageFile
from appliance.image.pack import digest

SPECIFICATION: Final = "1.6"
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6#edge-image")
MAX_PACKAGES_BYTES: Final = 4 * 1024 * 1024
MAX_WHEELS: Final = 4096
#: deb-version(7), without the epoch's odder cousins; a name and a version, and the architecture where it is told.
_PACKAGE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.+-]*)(?::[a-z0-9]+)? (?P<version>[A-Za-z0-9.+:~-]+)(?: (?P<arch>[a-z0-9]+))?"
)
_WHEEL: Final = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)-.+\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of the distribution. ``architecture`` is empty where the list does not tell it."""

    name: str
    version: str
    architecture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One wheel, by its file's digest."""

    name: str
    version: str
    sha384: str


def bill(device: Device, files: Iterable[ImageFile], wheels: Iterable[Wheel], packages: Iterable[Package]) -> str:
    """The page as JSON."""
    overlay = [_file(file) for file in files]
    parts = [*overlay, *map(_wheel, wheels), *(_package(one, device) for one in packages)]
    parts.sort(key=lambda part: str(part["bom-ref"]))
    whole = hashlib.sha384(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    body = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, device.kind + whole)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": device.kind,
                "name": device.kind,
                "version": whole[:16],
                "description": f"overlay for {device.architecture} over {device.base}",
            }
        },
        "components": parts,
        "dependencies": [{"ref": device.kind, "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_packages(path: Path) -> tuple[Package, ...]:
    """A list of ``NAME VERSION [ARCHITECTURE]`` lines, as dpkg-query prints them.

    Raises: UsageError with the line that is none.
    """
    try:
        raw = read_at_most(path, MAX_PACKAGES_BYTES)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    if len(raw) > MAX_PACKAGES_BYTES:
        raise UsageError(f"{path}: expected at most {MAX_PACKAGES_BYTES} bytes")
    packages = []
    for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), 1):
        found = _PACKAGE.fullmatch(line.strip())
        if found is None:
            raise UsageError(f"{path}:{number}: expected 'NAME VERSION [ARCHITECTURE]'; found {line[:80]!r}")
        packages.append(Package(name=found["name"], version=found["version"], architecture=found["arch"] or ""))
    return tuple(packages)


def read_wheels(folder: Path) -> tuple[Wheel, ...]:
    """Every wheel of a folder, by its digest. Raises: UsageError for no wheels, or a name that is none."""
    paths = sorted(folder.glob("*.whl"))
    if not 0 < len(paths) <= MAX_WHEELS:
        raise UsageError(f"{folder}: expected 1 to {MAX_WHEELS} wheels; found {len(paths)}")
    wheels = []
    for path in paths:
        found = _WHEEL.fullmatch(path.name)
        if found is None:
            raise UsageError(f"{path}: expected a wheel's name (PEP 427)")
        name = re.sub(r"[-_.]+", "-", found["name"]).lower()
        wheels.append(Wheel(name=name, version=found["version"], sha384=_digest_of(path)))
    return tuple(wheels)


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha384").hexdigest()
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e


def _file(file: ImageFile) -> dict[str, Any]:
    sha384 = digest(file.content)
    return {
        "type": "file",
        "bom-ref": f"overlay:/{file.path}",
        "name": f"/{file.path}",
        "version": sha384[:16],
        "hashes": [{"alg": "SHA-384", "content": sha384}],
    }


def _wheel(wheel: Wheel) -> dict[str, Any]:
    purl = f"pkg:pypi/{wheel.name}@{quote(wheel.version, safe='.')}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": wheel.name,
        "version": wheel.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-384", "content": wheel.sha384}],
    }


def _package(package: Package, device: Device) -> dict[str, Any]:
    architecture = package.architecture or device.architecture
    purl = f"pkg:deb/debian/{quote(package.name, safe='.')}@{quote(package.version, safe='.')}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}
