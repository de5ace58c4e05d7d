"""``python -m export``: the integrator's bench as commands, one for each person of the chain.

    import KIND …       a manifest for a network that others made: yolox, detr, any
    onnx FILE:FACTORY … a torch module as the ONNX that its manifest promises
    quantize MODEL …    INT8 for TensorRT and for the CPU, with its accuracy
    parity A B …        do two networks answer alike?
    card …              what a person must know of a model
    trust init DIR      the ceremony            root, vendor, integrators, media station
    golden …            what the network must answer on the device
    bundle …            stages a release        the integrator
    trust carry KEY …   into a token        a signer, who then signs with --key pkcs11:…
    sign STAGING --key  adds one signature      each signer, on their own machine
    merge STAGING OTHER joins their copies      the integrator
    media STAGING …     seals, writes, verifies the media station
    desk …              all of it at once       a desk where one person holds all keys

Exit codes and ``--json`` are those of ``appliance``: 0 done · 2 bad usage · 3 refused · 4 unavailable. Every command
prints what it made or proved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from appliance.errors import ApplianceError, UsageError
from export.commands.bringing import import_app
from export.commands.console import note
from export.commands.model import model_app
from export.commands.release import release_app
from export.commands.trust import trust_app

INTERRUPTED: Final = 130

app = App(
    name="export",
    help="The integrator's bench: models, keys, releases, signatures and sticks.",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
app.command(trust_app)
app.command(import_app)
app.command(model_app, name="*")
app.command(release_app, name="*")


def call(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    try:
        app(arguments)
    except CycloptsError as e:
        note(f"export: {e} [usage]")
        return UsageError.exit_code
    except ApplianceError as e:
        note(f"export: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(call())
