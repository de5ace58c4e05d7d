"""``appliance listen``: opens what an identity may open, and shows each result once.

Trusted devices are public identity files: those named by ``--trust``, and those that ``appliance keys trust`` put
beside the identity. What was shown is remembered beside the identity, so that a restart shows nothing twice.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from appliance.bus import TlsFiles
from appliance.cli.keys import read_all, read_public, trusted_folder
from appliance.cli.output import note, print_json, print_line
from appliance.errors import IdentityRefused, UsageError
from appliance.listen import EpochClosed, Listener, NothingForUs, Result
from appliance.pipeline.times import time_text
from appliance.sealing import PublicIdentity

DEFAULT_BUS: Final = "mqtt://127.0.0.1:1883"
_WAIT_S: Final = 0.25
#: Grants that hold nothing for us end the listening, unless one for us follows within this time.
NOTHING_FOR_US_S: Final = 2.0
#: A broker that was never reached for so long is told as unavailable; one that goes away later is waited for.
FIRST_CONNECTION_S: Final = 10.0
UNAVAILABLE: Final = 4
NOT_FOR_US: Final = 3


def listen(
    *,
    identity: Path,
    bus: str = DEFAULT_BUS,
    trust: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
    count: int | None = None,
    wait: float | None = None,
    state: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    passphrase_file: Path | None = None,
) -> int:
    """Open results and show them, one a line.

    Parameters
    ----------
    identity
        Your private identity file.
    bus
        The broker: mqtt://HOST:PORT, or mqtts://HOST:PORT with --ca, --certificate and --key.
    trust
        Public identity files of units to believe, beside those of `appliance keys trust`.
    json
        One JSON object a line.
    count
        End after so many results.
    wait
        End with exit code 4 where nothing came for so many seconds.
    state
        The file that remembers what was shown; beside the identity where not named.
    ca
        The CA that signed the broker's certificate.
    certificate
        Your client certificate.
    key
        Its key.
    passphrase_file
        A file whose first line unlocks the identity.
    """
    private = read_all(identity, passphrase_file)
    trusted = _trusted(identity, trust)
    seen = state or identity.with_suffix(".seen.sqlite")
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with Listener(bus, private, trusted, state=seen, tls=_tls(ca, certificate, key)) as listener:
        return _Listening(listener, bus=bus, as_json=json, count=count, wait_s=wait).run(stopping)


def _trusted(identity: Path, named: tuple[Path, ...]) -> tuple[PublicIdentity, ...]:
    folder = trusted_folder(identity)
    kept = sorted(folder.glob("*.json")) if folder.is_dir() else []
    units = {public.fingerprint: public for public in map(read_public, (*kept, *named))}
    if not units:
        raise UsageError(
            f"expected at least one trusted unit: --trust UNIT.public.json, or `appliance keys trust {identity} …`"
        )
    for public in units.values():
        if public.kind != "device":
            raise IdentityRefused(
                "kind", f"expected a unit's public identity; found that of {public.kind} {public.name}"
            )
    return tuple(units.values())


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> TlsFiles | None:
    if ca is None and certificate is None and key is None:
        return None
    if ca is None or certificate is None or key is None:
        raise UsageError("expected --ca, --certificate and --key together")
    return TlsFiles(ca=ca, certificate=certificate, key=key)


class _Listening:
    """One run of the command: what was shown, and why it may have to end."""

    def __init__(self, listener: Listener, *, bus: str, as_json: bool, count: int | None, wait_s: float | None) -> None:
        self._listener = listener
        self._bus = bus
        self._said_connected = False
        self._as_json = as_json
        self._count = count
        self._wait_s = wait_s
        self._shown = 0
        self._ours = False
        self._stranger_since: float | None = None
        self._started = self._quiet_since = time.monotonic()

    def run(self, stopping: threading.Event) -> int:
        while not stopping.is_set():
            self._say_connected()
            self._take()
            code = self._ending(time.monotonic())
            if code is not None:
                return code
        return 0

    def _say_connected(self) -> None:
        """Once: from here on nothing is missed. Scripts that start a unit themselves wait for this line."""
        if not self._said_connected and self._listener.status().state == "connected":
            self._said_connected = True
            note(f"listening on {self._bus}")

    def _take(self) -> None:
        match self._listener.take(_WAIT_S):
            case Result() as result:
                _show_result(result, as_json=self._as_json)
                self._listener.done()
                self._shown += 1
                self._ours, self._quiet_since = True, time.monotonic()
            case EpochClosed() as closed:
                self._ours = True
                _show_close(closed)
            case NothingForUs() if self._stranger_since is None:
                self._stranger_since = time.monotonic()

    def _ending(self, now: float) -> int | None:
        if self._count is not None and self._shown >= self._count:
            return 0
        if self._stranger_since is not None and not self._ours and now - self._stranger_since >= NOTHING_FOR_US_S:
            note("nothing on this bus is for this identity: no grant holds a box that it can open")
            return NOT_FOR_US
        if now - self._started >= FIRST_CONNECTION_S and self._listener.status().connections == 0:
            note(f"the broker cannot be reached: {self._listener.status().last_error}")
            return UNAVAILABLE
        if self._wait_s is not None and now - self._quiet_since >= self._wait_s:
            note(f"nothing came for {self._wait_s:g} s")
            return UNAVAILABLE
        return None


def _show_result(result: Result, *, as_json: bool) -> None:
    try:
        body = msgspec.json.decode(result.payload, type=dict[str, Any])
    except msgspec.DecodeError as e:  # sealed by a trusted unit, but no JSON: told once, never again and again
        note(f"{result.topic}, epoch {result.epoch}, counter {result.counter}: not a result that can be read: {e}")
        return
    if as_json:
        opened = time_text(result.opened_ns)
        place = {"topic": result.topic, "epoch": result.epoch, "counter": result.counter, "opened": opened}
        thin = {"index": result.index, "left_out": result.left_out} if result.left_out else {}
        print_json({**body, **place, **thin})
    else:
        for line in _lines(body):
            print_line(line)


def _lines(body: dict[str, Any]) -> Iterator[str]:
    kind = str(body.get("schema", "//")).split("/")[1]
    if kind == "entity":
        place, sources = body["position"], sorted({e["source_id"] for e in body["evidence"]})
        names = ", ".join(f"{k} {v}" for k, v in body["identities"].items() if k != "tracklet")
        what = f"{body['status']:<9}  {body['category']:<20}  {body['existence']:.2f}  {body['entity_id'][-6:]}"
        where = f"{place['lat']:10.5f} {place['lon']:11.5f}"
        yield f"{body['time'][11:21]}  {what}  {where}  {' + '.join(sources)}  {names}"
    elif kind == "position":
        place = body["position"]
        what = f"{body['status']:<9}  {body['category']:<20}        {body['entity_id'][-6:]}"
        yield f"{body['time'][11:21]}  {what}  {place['lat']:10.5f} {place['lon']:11.5f}"
    elif kind == "alert":
        yield f"{body['time'][11:21]}  ALERT      {body['dispute']['claimed']}, but {body['dispute']['observed']}"
    elif kind == "status":
        for sick in body["sick"]:
            yield f"{body['time'][11:21]}  sick       {sick}"


def _show_close(closed: EpochClosed) -> None:
    missing = sum(last - first + 1 for first, last in closed.missing)
    epoch = f"unit {closed.unit}, epoch {closed.epoch}"
    if missing:
        note(f"{epoch}: {missing} of {closed.count} results have not come")
    elif closed.results == "all":
        note(f"{epoch}: all {closed.count} results came, as the unit signed")
    elif closed.results == "forged":
        note(f"{epoch}: the results that came are not those that the unit sealed")
