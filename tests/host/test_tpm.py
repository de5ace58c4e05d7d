"""A TPM 2 keeps what was sealed to it, for the name it was sealed for, and for nobody else's chip."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.host.tpm import MAX_SECRET_BYTES, TpmUnavailable, has_tpm, seal, unseal
from tests.support.chips import chip, why_not

SECRET = b'{"secret": "seeds"}\n' * 300  # as long as an identity


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with chip(tmp_path / "one") as name:
        yield name


def test_what_was_sealed_opens_on_the_same_chip_after_it_was_without_power(device: str, tmp_path: Path) -> None:
    sealed = seal("device.json", SECRET, device=device)
    assert b"seeds" not in sealed
    assert unseal("device.json", sealed, device=device) == SECRET
    with chip(tmp_path / "two") as first:
        kept = seal("device.json", SECRET, device=first)
    with chip(tmp_path / "two") as again:
        assert unseal("device.json", kept, device=again) == SECRET


def test_power_that_fails_again_and_again_is_no_guessing(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with chip(tmp_path / "one") as name:
        sealed = seal("device.json", SECRET, device=name)
    for _ in range(6):  # a chip of its own accord locks itself after three
        with chip(tmp_path / "one") as name:  # ends with SIGKILL: no orderly shutdown
            assert unseal("device.json", sealed, device=name) == SECRET


def test_a_chip_that_somebody_else_rules_seals_nothing(device: str) -> None:
    subprocess.run(["tpm2_changeauth", "-T", device, "-c", "lockout", "theirs"], check=True, capture_output=True)
    with pytest.raises(TpmUnavailable, match="did not stop taking power cuts for guesses"):
        seal("device.json", SECRET, device=device)


def test_another_chip_opens_nothing(device: str, tmp_path: Path) -> None:
    sealed = seal("device.json", SECRET, device=device)
    with chip(tmp_path / "other") as other, pytest.raises(TpmUnavailable, match=r"did not decrypt device\.json"):
        unseal("device.json", sealed, device=other)


def test_another_name_or_a_changed_byte_opens_nothing(device: str) -> None:
    sealed = seal("device.json", SECRET, device=device)
    with pytest.raises(TpmUnavailable):
        unseal("bus.key", sealed, device=device)
    middle = len(sealed) // 2
    other = b"A" if sealed[middle : middle + 1] != b"A" else b"B"
    with pytest.raises(TpmUnavailable):
        unseal("device.json", sealed[:middle] + other + sealed[middle + 1 :], device=device)


def test_a_chip_that_is_not_there_is_told(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    nowhere = "swtpm:host=127.0.0.1,port=1"
    with pytest.raises(TpmUnavailable, match=r"did not stop taking power cuts for guesses: .*127\.0\.0\.1"):
        seal("device.json", SECRET, device=nowhere)
    with pytest.raises(TpmUnavailable, match=r"did not decrypt device\.json"):
        unseal("device.json", SECRET, device=nowhere)
    assert not has_tpm(tmp_path / "tpmrm0")


def test_a_machine_without_the_tool_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TpmUnavailable, match=r"expected tpm2_dictionarylockout \(tpm2-tools\)"):
        seal("device.json", SECRET)
    with pytest.raises(TpmUnavailable, match=r"expected systemd-creds \(systemd 250"):
        unseal("device.json", SECRET)


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 65, "Ä"])
def test_a_name_that_is_none_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        seal(name, b"")


def test_more_than_a_secret_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at most"):
        seal("device.json", bytes(MAX_SECRET_BYTES + 1))
