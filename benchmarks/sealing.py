"""Sealing and opening against the bare signature calls under them, in the same run on the same core.

    python benchmarks/sealing.py [--json] [--payload BYTES] [--seconds S]

The four rates are measured in turns of a few milliseconds and the best turn of each counts, so that other work on the
machine slows all of them alike. A ratio of 1 would mean that the envelope costs nothing beyond its Ed25519 signature.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.sealing import Envelope, Opened, Opener, Sender, generate

TOPIC = "edge/v1/alpha/entity/01J00000000000000000000000"
TURN = 100
SEAL_TARGET, OPEN_TARGET, OVERHEAD_TARGET = 0.5, 0.6, 110


def measure(payload: bytes, seconds: float) -> dict[str, float]:
    """Rates per second, ratios, bytes and milliseconds."""
    device, recipient = generate("device", "alpha"), generate("recipient", "reader")
    begun = time.perf_counter()
    sender = Sender("alpha", 1, device, [recipient.public], 1)
    granted = time.perf_counter()
    opener = Opener(recipient, [device.public])
    opener.accept(sender.grant().topic, sender.grant().data)
    accepted = time.perf_counter()
    rates = _rates(sender, opener, payload, seconds)
    frame = sender.seal(TOPIC, payload)
    return {
        **rates,
        "seal_ratio": rates["seal_per_s"] / rates["ed25519_sign_per_s"],
        "open_ratio": rates["open_per_s"] / rates["ed25519_verify_per_s"],
        "payload_bytes": len(payload),
        "overhead_bytes": len(frame.data) - len(payload),
        "grant_bytes": len(sender.grant().data),
        "close_bytes": len(sender.close().data),
        "grant_ms": (granted - begun) * 1e3,
        "accept_grant_ms": (accepted - granted) * 1e3,
    }


def _rates(sender: Sender, opener: Opener, payload: bytes, seconds: float) -> dict[str, float]:
    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key(), key.sign(payload)
    sealed: list[Envelope] = []
    numbers: Iterator[int] = count()

    def seal() -> None:
        sealed.append(sender.seal(TOPIC, payload))

    def open_next() -> None:
        envelope = sealed[next(numbers)]
        assert isinstance(opener.accept(envelope.topic, envelope.data), Opened)

    calls: dict[str, Callable[[], object]] = {
        "ed25519_sign_per_s": lambda: key.sign(payload),
        "seal_per_s": seal,
        "ed25519_verify_per_s": lambda: public.verify(signature, payload),
        "open_per_s": open_next,
    }
    best = dict.fromkeys(calls, 0.0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, call in calls.items():
            best[name] = max(best[name], _turn(call))
    return best


def _turn(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(TURN):
        call()
    return TURN / (time.perf_counter() - start)


def main(arguments: Sequence[str] = ()) -> dict[str, float]:
    """Print the figures and return them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--payload", type=int, default=1024, metavar="BYTES")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S")
    asked = parser.parse_args(arguments)
    figures = measure(os.urandom(asked.payload), asked.seconds)
    if asked.json:
        print(json.dumps(figures))
        return figures
    print(f"payload {figures['payload_bytes']} bytes")
    print(f"Ed25519 sign    {figures['ed25519_sign_per_s']:9.0f} /s")
    print(
        f"seal            {figures['seal_per_s']:9.0f} /s  ratio {figures['seal_ratio']:.2f}  (target ≥ {SEAL_TARGET})"
    )
    print(f"Ed25519 verify  {figures['ed25519_verify_per_s']:9.0f} /s")
    print(
        f"open            {figures['open_per_s']:9.0f} /s  ratio {figures['open_ratio']:.2f}  (target ≥ {OPEN_TARGET})"
    )
    print(f"frame           {figures['overhead_bytes']:9.0f} bytes over the payload  (target ≤ {OVERHEAD_TARGET})")
    print(f"grant           {figures['grant_bytes']:9.0f} bytes, made in {figures['grant_ms']:.1f} ms,", end=" ")
    print(f"accepted in {figures['accept_grant_ms']:.1f} ms")
    print(f"close           {figures['close_bytes']:9.0f} bytes")
    return figures


def _against(what: str, figures: dict[str, float], target: float) -> str:
    return f"{what:15s} {figures[what + '_per_s']:9.0f} /s  ratio {figures[what + '_ratio']:.2f}  (target ≥ {target})"


if __name__ == "__main__":
    main(sys.argv[1:])
