"""Whether a well-formed mission makes sense: what belongs together, and whether the files it names are there.

What this is: one small function per rule, each returning the faults it found. What it is not: it opens no camera and
no socket; an absent sensor is the feed's business, because sensors come and go.
"""

from __future__ import annotations

import ipaddress
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from appliance.config.faults import without_login
from appliance.config.mission import Bus, FeedTable, Lens, Mission
from appliance.errors import ApplianceError, Fault, IdentityRefused
from appliance.feeds.uris import SCHEMES, parse_uri
from appliance.host.credentials import is_credential
from appliance.host.files import read_at_most
from appliance.sealing.identity import MAX_IDENTITY_BYTES, PrivateIdentity, PublicIdentity, StoredIdentity

Resolve = Callable[[str], Path]
Finding = tuple[str, str, str]  # key, found, expected


def sense_faults(mission: Mission, *, file: str, resolve: Resolve) -> list[Fault]:
    """Every fault of sense in a mission whose shape is right."""
    findings = [
        *_names(mission),
        *_unit(mission, resolve),
        *_bus(mission.bus, resolve),
        *_embedded(mission),
        *_models(mission),
        *_paces(mission),
    ]
    for index, feed in enumerate(mission.feeds):
        at = f"feeds[{index}]"
        findings.extend(_uri(feed, at, resolve))
        findings.extend(_units(feed, at, mission.unit.id))
        findings.extend(_camera(feed, at, mission) if feed.kind == "video" else _not_a_camera(feed, at))
    if mission.record is not None and _is_file(resolve(mission.record.path)):
        findings.append(("record.path", "a file", "a directory, which may be new"))
    return [
        Fault(file=file, key=key, found=without_login(found), expected=expected) for key, found, expected in findings
    ]


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - pathlib raises where a name is too long or a folder is closed to us


def _is_dir(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - as above


def _names(mission: Mission) -> Iterator[Finding]:
    for table, names in (("feeds", [f.name for f in mission.feeds]), ("models", [m.name for m in mission.models])):
        for name, times in Counter(names).items():
            if times > 1:
                yield f"{table}[{_last(names, name)}].name", f"'{name}' {times} times", "a name used once"


def _last(names: Sequence[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


def _unit(mission: Mission, resolve: Resolve) -> Iterator[Finding]:
    path, unit = resolve(mission.unit.identity), mission.unit.id
    # A credential is there while the service runs; before that, and for other users, there is nothing to look at.
    fault = None if is_credential(path) else _identity_fault(path, _private, "device", unit)
    if fault:
        yield "unit.identity", fault, f"the private identity of a device named '{unit}' (`appliance keys new device`)"
    if _is_file(resolve(mission.unit.state)):
        yield "unit.state", "a file", "a directory, which may be new"
    if mission.unit.position == "gnss" and all(feed.kind != "gnss" for feed in mission.feeds):
        yield "unit.position", "'gnss' without a gnss feed", "a feed of kind gnss, or 'surveyed'"


def _private(content: bytes) -> PublicIdentity:
    """Whose it is. A token is not asked: a mission is also checked where the token is not."""
    stored = StoredIdentity.from_json(content)
    if stored.form == "argon2id":
        raise IdentityRefused("locked", "locked by a passphrase, which a daemon has nobody to ask for")
    return stored.public if stored.form == "pkcs11" else PrivateIdentity.from_json(content).public


def _identity_fault(
    path: Path, read: Callable[[bytes], PublicIdentity], kind: str, name: str | None = None
) -> str | None:
    try:
        identity = read(read_at_most(path, MAX_IDENTITY_BYTES))
    except OSError as e:
        return f"{path} ({e.strerror})"
    except ApplianceError as e:
        return f"{path}: {e}"
    if identity.kind != kind:
        return f"{path}, which belongs to a {identity.kind}"
    return f"{path}, which belongs to '{identity.name}'" if name not in {None, identity.name} else None


def _bus(bus: Bus, resolve: Resolve) -> Iterator[Finding]:
    yield from _recipients(bus, resolve)
    yield from _bus_address(bus)
    secured = {"ca": bus.ca, "certificate": bus.certificate, "key": bus.key}
    wants_tls = bus.url.startswith("mqtts:")
    for key, value in secured.items():
        if wants_tls and value is None:
            yield f"bus.{key}", "nothing", "a PEM file, because mqtts:// identifies by certificate"
        elif not wants_tls and value is not None:
            yield f"bus.{key}", f"'{value}' with {bus.url}", "no certificate files, or an mqtts:// url"
        elif value is not None and not _is_file(resolve(value)):
            yield f"bus.{key}", f"{resolve(value)}, which is not there", "a PEM file"


def _recipients(bus: Bus, resolve: Resolve) -> Iterator[Finding]:
    known: set[str] = set()
    for table, names in (("recipients", bus.recipients), ("position_only", bus.position_only)):
        for index, name in enumerate(names):
            fault = _identity_fault(resolve(name), PublicIdentity.from_json, "recipient")
            if fault:
                yield f"bus.{table}[{index}]", fault, "the public identity file of a recipient"
            who = name if fault else PublicIdentity.from_json(resolve(name).read_bytes()).fingerprint
            if who in known:
                yield f"bus.{table}[{index}]", f"'{name}' again", "each recipient once"
            known.add(who)
    if bus.profile == "radio" and bus.position_only:
        yield (
            "bus.position_only",
            "recipients, with profile = 'radio'",
            "none: what a radio frame holds cannot be divided",
        )


def _embedded(mission: Mission) -> Iterator[Finding]:
    """The embedded broker lets everybody of this machine in and keeps nothing: it is for demos alone."""
    if mission.bus.url.startswith("embedded") and not mission.unit.demo:
        found = f"'{mission.bus.url}' in a mission that is not a demo"
        yield "bus.url", found, "mqtts:// of a provisioned broker, or demo = true in [unit]"


def _bus_address(bus: Bus) -> Iterator[Finding]:
    scheme, _, rest = bus.url.partition(":")
    try:
        parts = urlsplit(bus.url if scheme != "embedded" else f"mqtt://localhost:{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:  # of urllib: not a number, or beyond 65535
        host, port = "", 0
    if port == 0:
        yield "bus.url", bus.url, "a port from 1 to 65535"
    elif not host:
        yield "bus.url", bus.url, "the name or address of a broker"
    elif scheme == "mqtt" and not _is_loopback(host):
        yield "bus.url", bus.url, "mqtts:// for a broker that is not on this machine"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _models(mission: Mission) -> Iterator[Finding]:
    used = {feed.model for feed in mission.feeds}
    for index, model in enumerate(mission.models):
        if model.name not in used:
            yield f"models[{index}].name", f"'{model.name}', which no feed uses", "a model that a video feed names"


def _paces(mission: Mission) -> Iterator[Finding]:
    fast = [feed.name for feed in mission.feeds if feed.pace == "fast"]
    if not fast:
        return
    for index, feed in enumerate(mission.feeds):
        at = f"feeds[{index}]"
        if not feed.uri.startswith("file:"):
            yield f"{at}.uri", feed.uri, f"a file: uri, because '{fast[0]}' replays as fast as possible"
        elif feed.pace != "fast":
            yield f"{at}.pace", "'realtime'", f"'fast', as '{fast[0]}' has: one replay has one pace"
        elif feed.kind == "video" and feed.start is None:
            yield f"{at}.start", "nothing", "a date-time: a fast replay must come out the same each time"


def _uri(feed: FeedTable, at: str, resolve: Resolve) -> Iterator[Finding]:
    if feed.start is not None and feed.start.tzinfo is None:
        yield (
            f"{at}.start",
            f"{feed.start.isoformat()} without an offset",
            "a date-time with offset, such as …T12:00:00Z",
        )
    try:
        uri = parse_uri(feed.uri)
    except ApplianceError as e:
        yield f"{at}.uri", feed.uri, str(e)
        return
    if uri.scheme not in SCHEMES[feed.kind]:
        schemes = ", ".join(f"{scheme}:" for scheme in sorted(SCHEMES[feed.kind]))
        yield f"{at}.uri", feed.uri, f"one of {schemes} for a {feed.kind} feed"
        return
    place = resolve(uri.path)
    if uri.scheme == "file" and not _is_file(place):
        yield f"{at}.uri", f"{place}, which is not there", "a file"
    if uri.scheme == "dir" and not _is_dir(place):
        yield f"{at}.uri", f"{place}, which is not there", "a directory"


def _camera(feed: FeedTable, at: str, mission: Mission) -> Iterator[Finding]:
    if feed.model is None:
        yield f"{at}.model", "nothing", "the name of a [[models]] table"
    elif feed.model not in {model.name for model in mission.models}:
        yield f"{at}.model", f"'{feed.model}'", "the name of a [[models]] table"
    if feed.pose is None:
        yield f"{at}.pose", "nothing", "where the camera stands and looks"
    if feed.lens is None:
        yield f"{at}.lens", "nothing", "the camera's intrinsics"
    else:
        yield from _lens(feed.lens, f"{at}.lens")
        if feed.pose is not None and feed.pose.altitude_m <= feed.lens.ground_altitude_m:
            yield f"{at}.pose.altitude_m", f"{feed.pose.altitude_m}", "a camera above lens.ground_altitude_m"


def _lens(lens: Lens, at: str) -> Iterator[Finding]:
    by_focal = lens.fx_px is not None or lens.fy_px is not None
    if (lens.hfov_deg is None) == (not by_focal):
        found = "both hfov_deg and focal lengths" if by_focal else "neither hfov_deg nor focal lengths"
        yield at, found, "hfov_deg alone, or fx_px and fy_px"
    elif by_focal and (lens.fx_px is None or lens.fy_px is None):
        yield at, "one focal length", "both fx_px and fy_px"
    for key, centre, size in (("cx_px", lens.cx_px, lens.width_px), ("cy_px", lens.cy_px, lens.height_px)):
        if centre is not None and not 0 <= centre <= size:
            yield f"{at}.{key}", f"{centre}", f"a pixel of the picture, 0 to {size}"


def _units(feed: FeedTable, at: str, own: str) -> Iterator[Finding]:
    if feed.kind != "pictures":
        if feed.units:
            yield f"{at}.units", "names", f"nothing, because a {feed.kind} feed brings no other unit's picture"
    elif not feed.units:
        yield f"{at}.units", "nothing", "the names of the units whose picture this feed may bring"
    elif own in feed.units:
        yield f"{at}.units", f"'{own}', which is this unit", "other units"


def _not_a_camera(feed: FeedTable, at: str) -> Iterator[Finding]:
    for key, value in (("model", feed.model), ("pose", feed.pose), ("lens", feed.lens)):
        if value is not None:
            yield f"{at}.{key}", "a value", f"nothing, because a {feed.kind} feed has no {key}"
    if feed.site is not None and feed.kind not in {"radar", "plots"}:
        yield f"{at}.site", "a value", f"nothing, because a {feed.kind} feed has no site"
