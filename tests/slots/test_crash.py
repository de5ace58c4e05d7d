"""Killed at every change to the file system, one after the other: the device serves the old or the new, whole.

The steps are not guessed: a first run records them, then a child process dies at each in turn, as in a power cut. After
each the device must serve one of the two releases with every digest right, the log must verify, the trust state must
be readable, and the same stick must install.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.slots import auditlog

PRODUCT = "acme/people"
KILLED = 77


def _steps(device: Any, state: Path, deed: Callable[[Any], object]) -> list[str]:
    """What a whole run does, on a copy."""
    names: list[str] = []
    copy = state.with_name("dry-run")
    shutil.copytree(state, copy)
    deed(type(device)(copy, step=names.append))
    shutil.rmtree(copy)
    return names


def _die_at(device: Any, state: Path, step: int, deed: Callable[[Any], object]) -> None:
    """Runs the deed in a child that ends without any clean-up as it comes to a step."""
    count = [0]

    def maybe_die(name: str) -> None:
        if count[0] == step:
            os._exit(KILLED)
        count[0] += 1

    child = os.fork()
    if child == 0:
        try:
            deed(type(device)(state, step=maybe_die))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def _check(device: Any, state: Path, versions: set[str]) -> str:
    after = type(device)(state)
    serving = after.slots.active(PRODUCT)
    assert serving.version in versions
    after.slots.trust.state()
    if auditlog.verify(state / "audit").beyond:
        assert len(after.audit()) == auditlog.verify(state / "audit").records
    return str(serving.version)


def test_an_installation_killed_at_any_step_leaves_the_old_or_the_new(device: Any, bench: Any, two: Path) -> None:
    def deed(which: Any) -> None:
        which.install(two)

    device.install(bench.make("three"))  # both slots are filled, so that one must be cleared
    two = bench.make("four", version="4")
    steps = _steps(device, device.state, deed)
    assert len(steps) > 25
    seen = []
    for number in range(len(steps)):
        state = device.state.with_name(f"killed-{number}")
        shutil.copytree(device.state, state)
        _die_at(device, state, number, deed)
        seen.append(_check(device, state, {"1.0.0", "4"}))
        again = type(device)(state)
        again.install(two)
        assert again.slots.active(PRODUCT).version == "4"
        assert not (state / "staging").exists()
        assert auditlog.verify(state / "audit").beyond == 0
        shutil.rmtree(state)
    assert seen == sorted(seen), "once the new release serves it goes on serving"
    assert set(seen) == {"1.0.0", "4"} or set(seen) == {"1.0.0"}


@pytest.mark.parametrize("verb", ["activate", "rollback", "confirm", "starting"])
def test_a_change_of_slot_killed_at_any_step_leaves_the_old_or_the_new(device: Any, two: Path, verb: str) -> None:
    def deed(which: Any) -> None:
        getattr(which.slots, verb)(PRODUCT, 5)

    device.install(two)
    for number in range(len(_steps(device, device.state, deed))):
        state = device.state.with_name(f"killed-{number}")
        shutil.copytree(device.state, state)
        _die_at(device, state, number, deed)
        _check(device, state, {"1.0.0", "2.0.0"})
        deed(type(device)(state))
        assert auditlog.verify(state / "audit").beyond == 0


def test_a_collection_killed_at_any_step_leaves_what_serves_and_can_be_done_again(device: Any, bench: Any) -> None:
    def deed(which: Any) -> None:
        which.slots.gc(5, previous=True)

    device.install(bench.make("three", version="3", revokes=(f"{PRODUCT}#1",)))
    (device.state / "staging" / "files").mkdir(parents=True)
    (device.state / "slots" / PRODUCT / "slots.json.new").write_bytes(b"{")
    steps = _steps(device, device.state, deed)
    assert {"remove staging", "remove a", "remove slots.json.new", "rename slots.json"} <= set(steps)
    for number in range(len(steps)):
        state = device.state.with_name(f"killed-{number}")
        shutil.copytree(device.state, state)
        _die_at(device, state, number, deed)
        assert _check(device, state, {"3"}) == "3"
        again = type(device)(state)
        deed(again)
        assert [(view.slot, view.version) for view in again.slots.list()] == [("b", "3")]
        assert not (state / "staging").exists()
        assert auditlog.verify(state / "audit").beyond == 0
        shutil.rmtree(state)


def test_a_first_installation_killed_at_any_step_can_be_done_again(new_device: Any, one: Path) -> None:
    def deed(which: Any) -> None:
        which.install(one)

    for number in range(len(_steps(new_device, new_device.state, deed))):
        state = new_device.state.with_name(f"killed-{number}")
        shutil.copytree(new_device.state, state)
        _die_at(new_device, state, number, deed)
        again = type(new_device)(state)
        again.install(one)
        assert again.slots.active(PRODUCT).version == "1.0.0"
        shutil.rmtree(state)


def test_provisioning_killed_at_any_step_can_be_done_again(new_device: Any, bench: Any, tmp_path: Path) -> None:
    def deed(which: Any) -> None:
        which.slots.provision(bench.anchor, unit="unit-1")

    (tmp_path / "blank").mkdir()
    for number in range(len(_steps(new_device, _empty(tmp_path / "blank" / "state"), deed))):
        state = _empty(tmp_path / "blank" / f"killed-{number}")
        _die_at(new_device, state, number, deed)
        again = type(new_device)(state)
        deed(again)
        assert again.slots.trust.anchor() == bench.anchor
        assert again.slots.trust.unit().unit == "unit-1"


def _empty(path: Path) -> Path:
    path.mkdir()
    return path
