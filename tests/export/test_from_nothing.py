"""The commands of docs/bundles.md, as they stand there, in a folder with a network, a manifest and a card."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.networks import MANIFEST, small_network

pytest.importorskip("onnxruntime", reason="the desk's runtime is not installed")

HEADING = "## From nothing to a release in service"
MOST_COMMANDS = 10
#: What each command must have said, in the order of the page.
PROOFS = (
    r"made 9 ML-DSA-87 keys[\s\S]*root and vendor: 2 of 3 signatures needed",
    r"golden outputs of 2 cases[\s\S]*listed model\.onnx \(onnx, \d+ bytes\) SHA-384 [0-9a-f]{96}[\s\S]*not signed yet",
    r"read every listed file; signed as acme by [0-9a-f]{16}[\s\S]*1 of 2 signatures needed",
    r"read every listed file; signed as acme by [0-9a-f]{16}[\s\S]*2 of 2 signatures needed",
    r"verified signers: acme v1: 2 of 2 keys signed, 2 needed[\s\S]*wrote stick",
    r"trusted: root v1: 2 of 3 keys signed, 2 needed[\s\S]*this device is harbour-1, of north",
    r"file: golden\.bin[\s\S]*SHA-384[\s\S]*verified acme/people version 1\.0\.0 #1",
    r"self-test: loads and answers on onnxruntime .*2 golden cases within tolerance[\s\S]*in slot a",
    r"acme/people slot a: version 1\.0\.0 #1, active",
)


def commands(page: str) -> list[list[str]]:
    """The command lines of the section's shell blocks, comments gone and continued lines joined."""
    section = page.split(HEADING, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def _run(words: list[str], folder: Path, repository: Path) -> str:
    """As a shell would, with this interpreter."""
    program = {"python": [sys.executable], "appliance": [sys.executable, "-m", "appliance"]}[words[0]]
    environment = {"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def test_from_nothing_to_an_installed_bundle_by_the_commands_of_the_page(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "people.onnx").write_bytes(small_network())
    (tmp_path / "model.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "card.md").write_text("# Small\n")
    found = commands((repository / "docs" / "bundles.md").read_text())
    assert len(found) == len(PROOFS) <= MOST_COMMANDS
    for words, proof in zip(found, PROOFS, strict=True):
        said = _run(words, tmp_path, repository)
        assert re.search(proof, said), f"{' '.join(words)} did not say {proof!r}: {said}"
