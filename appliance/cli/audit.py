"""``appliance audit``: does the log of this device still say what it said?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from appliance.cli.output import print_json, print_line
from appliance.cli.places import STATE
from appliance.errors import UsageError
from appliance.slots.auditlog import verify as verify_log

audit_app = App(name="audit", help="The append-only audit log of this device.")

MAX_NOTE_BYTES: Final = 64 * 1024


@audit_app.command
def verify(
    *,
    state: Path = STATE,
    public_key: Path | None = None,
    checkpoint: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Verify every record against a signed checkpoint; exit 3 where the log was edited or cut.

    Parameters
    ----------
    state
        The state directory of the device.
    public_key
        The device's audit key, kept elsewhere; without it the log can only be shown to agree with itself.
    checkpoint
        A checkpoint kept elsewhere; without it the log's own.
    json
        One JSON object on standard output.
    """
    verified = verify_log(state / "audit", _read(public_key), _read(checkpoint))
    if json:
        print_json({"verified": verified, "key": "given" if public_key else "own"})
    else:
        print_line(f"{verified.origin}: {verified.records} records, root {verified.root[:16]}…, as signed")
        if public_key is None:
            print_line("  checked with the log's own key: this shows that it agrees with itself, no more")
    return 0


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_NOTE_BYTES)
    except OSError as e:
        raise UsageError(f"{path}: expected a readable file; {e.strerror}") from e
