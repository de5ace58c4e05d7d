"""A TPM 2 as the keeper of a few secret bytes: systemd-creds seals them to this machine's chip, and opens them again.

What this is: the one file that calls ``systemd-creds`` (systemd 250 and later). What it is not: a TPM library. At
run time nothing here is called: the service manager opens a sealed file for the daemon (``LoadCredentialEncrypted=``)
into memory that no disk ever sees.

Rules:

- Sealed bytes open on this chip alone, and under the name that they were sealed for.
- Secrets pass through pipes, never through arguments, environment or temporary files.
- Whatever goes wrong is told with the tool's own last words; nothing falls back to another way of keeping a secret.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from appliance.errors import Unavailable

RESOURCE_MANAGER: Final = Path("/dev/tpmrm0")
"""The kernel's: there where the machine has a TPM 2."""
TOOL: Final = "systemd-creds"
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
    return _creds("encrypt", name, secret, device, f"--tpm2-pcrs={PCRS}", "--with-key=tpm2")


def unseal(name: str, sealed: bytes, *, device: str = AUTOMATIC) -> bytes:
    """What was sealed for ``name`` on this very machine. Raises: TpmUnavailable."""
    return _creds("decrypt", name, sealed, device)


def _creds(verb: str, name: str, content: bytes, device: str, *more: str) -> bytes:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"expected a plain name; found {name!r}")
    tool = shutil.which(TOOL)
    if tool is None:
        raise TpmUnavailable(f"expected {TOOL} (systemd 250 or later) to use this machine's TPM 2")
    try:
        done = subprocess.run(
            [tool, verb, f"--name={name}", f"--tpm2-device={device}", *more, "-", "-"],
            check=False,
            input=content,
            capture_output=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as e:
        raise TpmUnavailable(f"the TPM 2 did not {verb} {name} within {LIMIT_S:.0f} s") from e
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        raise TpmUnavailable(f"the TPM 2 did not {verb} {name}: {words[-1] if words else 'no reason given'}")
    return done.stdout
