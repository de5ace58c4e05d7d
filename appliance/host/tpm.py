"""A TPM 2 as the keeper of a few secret bytes: systemd-creds seals them to this machine's chip, and opens them again.

What this is: the one file that calls ``systemd-creds`` (systemd 250 and later) and, once, ``tpm2_dictionarylockout``
(tpm2-tools). What it is not: a TPM library. At run time nothing here is called: the service manager opens a sealed file
for the daemon (``LoadCredentialEncrypted=``) into memory that no disk ever sees.

Rules:

- Sealed bytes open on this chip alone, and under the name that they were sealed for.
- A chip that seals for us is told first not to take power cuts for guesses.
- Secrets pass through pipes, never through arguments, environment or temporary files.
- Whatever goes wrong is told with the tool's own last words; nothing falls back to another way of keeping a secret.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.errors import Unavailable

RESOURCE_MANAGER: Final = Path("/dev/tpmrm0")
"""The kernel's: there where the machine has a TPM 2."""
TOOL: Final = "systemd-creds"
GUESSES: Final = "tpm2_dictionarylockout"
AUTOMATIC: Final = "auto"
PCRS: Final = "7"
"""Secure boot's state and keys (TCG PC Client 3.3.4.8): another boot chain opens nothing, a new kernel does."""
MAX_SECRET_BYTES: Final = 64 * 1024
LIMIT_S: Final = 60.0
"""A discrete TPM takes seconds to make a primary key."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


class TpmUnavailable(Unavailable):
    """There is no TPM 2 here, or it would not seal or open."""


def has_tpm(device: Path = RESOURCE_MANAGER) -> bool:
    """Whether the kernel offers a TPM 2."""
    return device.exists()


def seal(name: str, secret: bytes, *, device: str = AUTOMATIC) -> bytes:
    """``secret`` sealed for ``name`` to the TPM; the text that ``LoadCredentialEncrypted=`` takes.

    ``device`` is ``auto`` or what systemd-creds takes for ``--tpm2-device``. Raises: TpmUnavailable.
    """
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"expected at most {MAX_SECRET_BYTES} bytes; found {len(secret)}")
    _check_name(name)
    _count_no_guesses(device)
    return _creds("encrypt", name, secret, device, f"--tpm2-pcrs={PCRS}", "--with-key=tpm2")


def unseal(name: str, sealed: bytes, *, device: str = AUTOMATIC) -> bytes:
    """What was sealed for ``name`` on this very machine. Raises: TpmUnavailable."""
    return _creds("decrypt", name, sealed, device)


def _creds(verb: str, name: str, content: bytes, device: str, *more: str) -> bytes:
    _check_name(name)
    words = [TOOL, verb, f"--name={name}", f"--tpm2-device={device}", *more, "-", "-"]
    return _run(words, "systemd 250 or later", content, f"{verb} {name}")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"expected a plain name; found {name!r}")


def _count_no_guesses(device: str) -> None:
    """Switch the chip's protection against guessing off (TPM 2.0 Library, part 1, 19.8; a recovery time of zero does).

    It counts a loss of power after a secret was opened as a failed guess, and after three of them (a few dozen in some
    chips) opens nothing for minutes or hours: a unit whose power fails would not come up again. What we seal has no
    password that could be guessed.
    """
    at = f"device:{RESOURCE_MANAGER}" if device == AUTOMATIC else f"device:{device}" if device[0] == "/" else device
    words = [GUESSES, f"--tcti={at}", "--setup-parameters", "--max-tries=32", "--recovery-time=0"]
    _run([*words, "--lockout-recovery-time=0"], "tpm2-tools", b"", "stop taking power cuts for guesses")


def _run(words: Sequence[str], package: str, content: bytes, what: str) -> bytes:
    tool = shutil.which(words[0])
    if tool is None:
        raise TpmUnavailable(f"expected {words[0]} ({package}) to use this machine's TPM 2")
    try:
        done = subprocess.run([tool, *words[1:]], check=False, input=content, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired as e:
        raise TpmUnavailable(f"the TPM 2 did not {what} within {LIMIT_S:.0f} s") from e
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        raise TpmUnavailable(f"the TPM 2 did not {what}: {said[-1] if said else 'no reason given'}")
    return done.stdout
