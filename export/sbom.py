"""The bill of materials of a release: CycloneDX 1.6, for whoever must answer "what is in it, and may we use it?".

It lists the network (digest, licence, producer, size), every other file of the release with its digest, and the tools
that made them. It is made while a release is staged and travels in it, signed like the rest (role ``sbom``).

Rules: only what was read or what the manifest says; where the manifest names no licence, none is written. The same
release gives the same page but for the time, which is the caller's; the serial number follows from the digests.
"""

from __future__ import annotations

import platform
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.bundles.release import MANIFEST_FILE, Role
from appliance.errors import UsageError
from appliance.slots.disk import digest_file
from export.facts import Facts, facts_of

SBOM_FILE: Final = "sbom.json"
#: The namespace of our serial numbers: they are names, not chance.
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6#edge-release")
#: What took part in making a release, by distribution name; what is not installed here took no part.
TOOLS: Final = ("edge-appliance", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "tuf", "cryptography")
PROPERTY: Final = "edge:"
#: Long lists of operators help nobody.
MAX_OPERATORS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the page is about."""

    product: str
    version: str
    counter: int


def files(
    listed: Mapping[str, tuple[Role, Path]], subject: Subject, work: Path, now: datetime
) -> dict[str, tuple[Role, Path]]:
    """The page as a file of the release, written into ``work``; nothing where the release already has one.

    Raises: UsageError where a file cannot be read; BundleRefused for a manifest that the device would refuse.
    """
    if any(role == "sbom" for role, _ in listed.values()):
        return {}
    work.mkdir(parents=True, exist_ok=True)
    path = work / SBOM_FILE
    path.write_text(make(listed, subject, now), encoding="utf-8")
    return {SBOM_FILE: ("sbom", path)}


def make(listed: Mapping[str, tuple[Role, Path]], subject: Subject, now: datetime) -> str:
    """The page as JSON, for the files of a release by name.

    Raises: as ``files``.
    """
    digests = {name: _digest(path) for name, (_, path) in listed.items()}
    manifest = _manifest(listed[MANIFEST_FILE][1])
    parts = [_file(name, role, path, digests[name], manifest) for name, (role, path) in sorted(listed.items())]
    seed = "\n".join([f"{subject.product}#{subject.counter}", subject.version, *sorted(map(str, digests.values()))])
    whole = _whole(subject, manifest)
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, seed),
        components=parts,
        metadata=BomMetaData(
            timestamp=now.astimezone(UTC).replace(microsecond=0),
            component=whole,
            tools=ToolRepository(components=_tools()),
        ),
    )
    bom.register_dependency(whole, parts)
    page: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return page + "\n"


def _digest(path: Path) -> tuple[int, str]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return digest_file(path.resolve())


def _manifest(path: Path) -> Manifest:
    return parse_manifest(path.read_bytes())


def _whole(subject: Subject, manifest: Manifest) -> Component:
    group, _, name = subject.product.partition("/")
    return Component(
        type=ComponentType.APPLICATION,
        group=group,
        name=name,
        version=subject.version,
        bom_ref=f"{subject.product}#{subject.counter}",
        description=manifest.description or None,
    )


def _file(name: str, role: Role, path: Path, digest: tuple[int, str], manifest: Manifest) -> Component:
    network = role == "onnx"
    length, sha384 = digest
    kind = ComponentType.MACHINE_LEARNING_MODEL if network else ComponentType.DATA
    facts = {"role": role, "file": name, "bytes": str(length)}
    return Component(
        type=ComponentType.FILE if role == "card" else kind,
        name=manifest.name if network else name,
        version=sha384[:16],
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_384, content=sha384)],
        licenses=_licences(manifest.licence) if network else None,
        properties=_properties(facts | (_network(facts_of(path)) if network else {})),
    )


def _network(facts: Facts) -> dict[str, str]:
    operators = list(facts.operators.items())[:MAX_OPERATORS]
    return {
        "onnx:opset": str(facts.opset),
        "onnx:producer": facts.producer,
        "onnx:parameters": str(facts.parameters),
        "onnx:quantised": "yes" if facts.quantised else "no",
        "onnx:inputs": "; ".join(map(str, facts.inputs)),
        "onnx:outputs": "; ".join(map(str, facts.outputs)),
        "onnx:operators": ", ".join(f"{name} {count}" for name, count in operators),
    }


def _properties(values: Mapping[str, str]) -> Iterator[Any]:
    return (Property(name=PROPERTY + key, value=value) for key, value in values.items() if value)


def _licences(text: str) -> list[Any]:
    """An SPDX id or expression where it is one, else the words as they are."""
    return [LicenseFactory().make_from_string(text)] if text else []


def _tools() -> Iterator[Component]:
    yield Component(
        type=ComponentType.PLATFORM, name=platform.python_implementation(), version=platform.python_version()
    )
    for name in TOOLS:
        try:
            yield Component(type=ComponentType.LIBRARY, name=name, version=metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
