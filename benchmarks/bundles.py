"""`appliance bundle verify` of a bundle of one gigabyte against `openssl dgst -sha384` of the same file.

    python -m benchmarks.bundles [--json] [--mebibytes N] [--runs N] [--folder DIR] [--model-signing PYTHON]

The commands run in turn, whole processes with their start-up, and the best run of each counts. Wall time is what a
person waits; CPU time is what remains to compare on a machine that does other work. ``verify of a small one`` is the
same command with a payload of a few kilobytes: its start, the chain of signatures and its end. ``model_signing`` (the
OpenSSF's) is run where a Python that has it is named: ``--model-signing VENV/bin/python`` (model-signing and pyOpenSSL
from PyPI); it signs with ECDSA P-384 and hashes with SHA-256.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from export import desk
from export.golden import Choice

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = REPOSITORY / "models" / "harbour"
PRODUCT = "acme/people"
TARGET = 0.8
MIB = 1024 * 1024
#: How often a running command is looked at; it also bounds how late its end is noticed.
LOOK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The best of some runs of one command: seconds and the most memory that any of them held."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def cost(command: Sequence[str], runs: int, environment: dict[str, str] | None = None) -> Cost:
    """Runs a command some times; it must succeed."""
    costs = [_once(command, environment) for _ in range(runs)]
    return Cost(
        wall_s=min(each.wall_s for each in costs),
        cpu_s=min(each.cpu_s for each in costs),
        peak_bytes=max(each.peak_bytes for each in costs),
    )


def _once(command: Sequence[str], environment: dict[str, str] | None) -> Cost:
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    peak = 0
    while not (waited := os.wait4(child.pid, os.WNOHANG))[0]:
        peak = max(peak, _most_held(child.pid))
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - begun
    _, status, usage = waited
    assert child.stderr is not None
    said = child.stderr.read()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}: {said.decode(errors='replace')[-500:]}")
    return Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=peak)


def _most_held(pid: int) -> int:
    """The most memory that a process has held since it became the program that it is; its ru_maxrss would count what
    held it before."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def make_stick(folder: Path, name: str, payload: Path) -> list[str]:
    """A signed stick with this payload beside the shipped network; returns the command that verifies it."""
    made = desk.make(
        model=MODEL / "harbour.onnx",
        manifest=MODEL / "model.json",
        product=PRODUCT,
        keys=folder / "fleet",
        out=folder / name,
        extra={"calibration.bin": ("calibration", payload)},
        golden=Choice(none=True),
    )
    command = [sys.executable, "-m", "appliance", "bundle"]
    state = folder / f"state-{name}"
    subprocess.run([*command, "trust", str(made.anchor), "--state", str(state)], check=True, stdout=subprocess.DEVNULL)
    return [*command, "verify", str(made.stick), PRODUCT, "--state", str(state), "--json"]


def fill(path: Path, mebibytes: int) -> None:
    """Random bytes: nothing that a disk or a file system can make small."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MIB))


def model_signing(python: str, folder: Path, payload: Path, runs: int) -> Cost:
    """`model_signing verify` of a folder with the same payload, signed with a key of its own."""
    model = folder / "signed-model"
    model.mkdir()
    os.link(payload, model / "calibration.bin")
    key = ec.generate_private_key(ec.SECP384R1())
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    signature = str(folder / "model.sig")
    environment = {**os.environ, "PYTHONPATH": ""}
    base = [python, "-m", "model_signing"]
    private_key = ["--private_key", str(folder / "key.pem")]
    subprocess.run(
        [*base, "sign", "key", str(model), *private_key, "--signature", signature],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    public_key = ["--public_key", str(folder / "public.pem")]
    return cost([*base, "verify", "key", str(model), "--signature", signature, *public_key], runs, environment)


def measure(folder: Path, mebibytes: int, runs: int, signing_python: str | None) -> dict[str, Cost]:
    """The cost of each command by name."""
    payload, little = folder / "payload.bin", folder / "little.bin"
    fill(payload, mebibytes)
    little.write_bytes(os.urandom(4096))
    small, large = make_stick(folder, "small", little), make_stick(folder, "large", payload)
    found = {
        "openssl dgst -sha384": cost(["openssl", "dgst", "-sha384", str(payload)], runs),
        "appliance bundle verify": cost(large, runs),
        "verify of a small one": cost(small, runs),
    }
    if signing_python:
        found["model_signing verify"] = model_signing(signing_python, folder, payload, runs)
    return found


def tell(found: dict[str, Cost], mebibytes: int) -> dict[str, float]:
    """Prints the table; returns the ratios."""
    floor = found["openssl dgst -sha384"]
    whole, start = found["appliance bundle verify"], found["verify of a small one"]
    ratios = {
        "wall_ratio": floor.wall_s / whole.wall_s,
        "cpu_ratio": floor.cpu_s / whole.cpu_s,
        "cpu_ratio_without_start": floor.cpu_s / max(whole.cpu_s - start.cpu_s, 1e-9),
        "payload_memory_mib": (whole.peak_bytes - start.peak_bytes) / MIB,
    }
    print(f"one payload of {mebibytes} MiB, read from the page cache\n")
    print(
        f"{'command':26s} {'wall s':>8s} {'CPU s':>8s} {'MiB/s':>8s} {'ratio':>7s} {'CPU ratio':>10s} {'peak MiB':>9s}"
    )
    for name, each in found.items():
        rate = mebibytes / each.wall_s if each is not start else 0.0
        print(
            f"{name:26s} {each.wall_s:8.2f} {each.cpu_s:8.2f} {rate:8.0f} {floor.wall_s / each.wall_s:7.2f}"
            f" {floor.cpu_s / each.cpu_s:10.2f} {each.peak_bytes / MIB:9.0f}"
        )
    print(f"\nverify to openssl: {ratios['wall_ratio']:.2f} of its speed (target ≥ {TARGET}),", end=" ")
    print(f"{ratios['cpu_ratio']:.2f} by CPU time, {ratios['cpu_ratio_without_start']:.2f} of that without its start;")
    print(f"the large payload takes {ratios['payload_memory_mib']:.0f} MiB more memory than the small one")
    if "model_signing verify" not in found:
        print("model_signing: not measured; name a Python that has it with --model-signing")
    return ratios


def main(arguments: Sequence[str] = ()) -> dict[str, float]:
    """Print the figures and return the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where there is room for the payload three times")
    parser.add_argument("--model-signing", default=os.environ.get("MODEL_SIGNING_PYTHON"), metavar="PYTHON")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bundles-", dir=asked.folder) as folder:
        found = measure(Path(folder), asked.mebibytes, asked.runs, asked.model_signing)
    ratios = tell(found, asked.mebibytes)
    if asked.json:
        print(json.dumps(ratios))
    return ratios


if __name__ == "__main__":
    main(sys.argv[1:])
