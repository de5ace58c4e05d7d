"""Fixtures that every room may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.quiet_onnxruntime import SWITCH

os.environ[SWITCH] = "1"  # before any test imports ONNX Runtime by itself

pytest_plugins = ["tests.support.brokers", "tests.support.provisioned", "tests.support.tokens"]

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the campaigns are; ordinary runs have small ones."""
    parser.addoption("--crashes", type=int, default=40, help="starts that are killed in tests/sealing/test_nonces.py")
    parser.addoption("--moments", type=int, default=20, help="kills of each of unit, broker, listener in tests/crash")
    parser.addoption("--crash-seed", type=int, default=20, help="of the moments in tests/crash")
    parser.addoption("--minute-s", type=float, default=2.0, help="how long a minute of a full disk is in tests/crash")
    parser.addoption("--backlog", type=int, default=3000, help="frames of an hour without a broker in tests/crash")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Third-party data beside the checkout; it is never copied into the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"third-party data is not here: expected a folder at {folder}")
    return folder
