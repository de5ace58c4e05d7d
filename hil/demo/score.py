"""What was opened against what was true.

At each whole second every entity stands where its newest message, carried on by its own velocity, puts it. Entities
and things are paired by the least sum of squared distances, cut off at ``CUT_M``. GOSPA is that of Rahmathullah,
García-Fernández and Svensson (2017, arXiv 1601.05585) with p = 2, α = 2. What people alone have reported (status
``reported``) and what is still tentative is no claim about the world and is not scored.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from appliance.domain import Geodetic, is_a
from hil.scene.world import Ground, Scene, Thing, motion

CUT_M = 60.0
SCORED = frozenset({"confirmed", "coasting"})
MAX_CARRY_S = 5.0
"""An entity that has not been told of for longer than this is not carried on any more."""


def nanoseconds(text: str) -> int:
    """RFC 3339 in UTC with up to nine decimals → nanoseconds since 1970, exact."""
    whole, _, part = text.removesuffix("Z").partition(".")
    seconds = int(dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC).timestamp())
    return seconds * 1_000_000_000 + int((part or "0").ljust(9, "0")[:9])


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One message as the listener printed it, and when."""

    opened_ns: int
    body: Mapping[str, Any]
    name: tuple[int, int] | None = None
    """Epoch and counter, where they are known."""

    @property
    def schema(self) -> str:
        return str(self.body.get("schema", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """One moment: which entity stands for which thing, how far apart; what was missed and what was too much."""

    time_s: float
    pairs: tuple[tuple[str, str, float], ...]
    missed: int
    false: int

    @property
    def gospa_m(self) -> float:
        return math.sqrt(sum(d * d for _, _, d in self.pairs) + CUT_M * CUT_M / 2.0 * (self.missed + self.false))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Means over the scored moments. ``category_exact`` counts the very category, ``category_right`` also a parent."""

    moments: int
    truths: int
    recall: float
    false_per_moment: float
    rmse_m: float
    gospa_m: float
    category_exact: float
    category_right: float
    changes_of_identity: int


class Judge:
    """Holds the opened entity messages of one run against the scene."""

    def __init__(self, scene: Scene, opened: Iterable[Opened]) -> None:
        self._scene = scene
        self._ground = Ground(scene.origin)
        self._told: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for message in opened:
            if message.schema.startswith("edge/entity/"):
                entity_id = str(message.body["entity_id"])
                self._told.setdefault(entity_id, []).append((nanoseconds(message.body["produced"]), message.body))

    def standing(self, at_ns: int) -> list[Mapping[str, Any]]:
        """The newest message of each entity that had been told of by then, deleted ones left out."""
        newest = []
        for told in self._told.values():
            known = [body for produced_ns, body in told if produced_ns <= at_ns]
            if known and known[-1]["status"] != "deleted":
                newest.append(known[-1])
        return newest

    def place(self, body: Mapping[str, Any], at_ns: int) -> tuple[float, float]:
        """Where an entity stands at a moment: east and north in metres."""
        position, velocity = body["position"], body["velocity_mps"]
        at = Geodetic(latitude_deg=position["lat"], longitude_deg=position["lon"])
        east, north = self._ground.to_local(at)
        ahead_s = min(MAX_CARRY_S, max(0.0, (at_ns - nanoseconds(body["time"])) / 1e9))
        return east + velocity["east"] * ahead_s, north + velocity["north"] * ahead_s

    def pairing(self, time_s: float) -> Pairing:
        """Who stands for whom at one moment of the scene."""
        at_ns = self._scene.time_ns(time_s)
        scored = [body for body in self.standing(at_ns) if body["status"] in SCORED]
        truths = [(thing, motion(thing.loop, time_s)) for thing in self._scene.things]
        if not scored:
            return Pairing(time_s=time_s, pairs=(), missed=len(truths), false=0)
        places = [self.place(body, at_ns) for body in scored]
        away = np.array([[math.hypot(e - m.east_m, n - m.north_m) for _, m in truths] for e, n in places])
        rows, columns = linear_sum_assignment(np.minimum(away, CUT_M) ** 2)
        pairs = tuple(
            (str(scored[row]["entity_id"]), truths[column][0].name, float(away[row, column]))
            for row, column in zip(rows, columns, strict=True)
            if away[row, column] < CUT_M
        )
        return Pairing(time_s=time_s, pairs=pairs, missed=len(truths) - len(pairs), false=len(scored) - len(pairs))

    def accuracy(self, from_s: float, to_s: float) -> Accuracy:
        """The means over every whole second of a span."""
        moments = [self.pairing(float(second)) for second in range(math.ceil(from_s), math.floor(to_s) + 1)]
        errors = [distance for moment in moments for _, _, distance in moment.pairs]
        truths = len(self._scene.things)
        exact, right = self._categories(moments)
        return Accuracy(
            moments=len(moments),
            truths=truths,
            recall=_share(len(errors), truths * len(moments)),
            false_per_moment=_share(sum(moment.false for moment in moments), len(moments)),
            rmse_m=math.sqrt(_share(sum(error * error for error in errors), len(errors))),
            gospa_m=_share(sum(moment.gospa_m for moment in moments), len(moments)),
            category_exact=exact,
            category_right=right,
            changes_of_identity=_changes(moments),
        )

    def _categories(self, moments: Sequence[Pairing]) -> tuple[float, float]:
        exact = right = total = 0
        for moment in moments:
            standing = {str(body["entity_id"]): body for body in self.standing(self._scene.time_ns(moment.time_s))}
            for entity_id, name, _ in moment.pairs:
                claimed, true = standing[entity_id]["category"], self._scene.thing(name).category
                exact, right, total = exact + (claimed == true), right + is_a(true, claimed), total + 1
        return _share(exact, total), _share(right, total)

    def things(self) -> tuple[Thing, ...]:
        return self._scene.things


class Latencies:
    """From the capture of a frame to the moment at which the first message that rests on it was opened.

    A message rests on a frame when the frame is the newest observation of its entity and no earlier message of the same
    entity had it. One that says that an entity coasts or is gone rests on nothing new.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._newest: dict[str, int] = {}
        self.waited: list[tuple[int, float]] = []
        """When it was opened (nanoseconds since 1970), and after how many milliseconds."""

    def add(self, message: Opened) -> None:
        """The next message in the order of opening."""
        if not message.schema.startswith("edge/entity/") or message.body["status"] in {"coasting", "deleted"}:
            return
        evidence = message.body["evidence"]
        seen = [nanoseconds(e["time"]) for e in evidence if e["source_id"].split(":")[0] == self._camera]
        entity_id = str(message.body["entity_id"])
        if seen and max(seen) > self._newest.get(entity_id, 0) and max(seen) == nanoseconds(message.body["time"]):
            self._newest[entity_id] = max(seen)
            self.waited.append((message.opened_ns, (message.opened_ns - max(seen)) / 1e6))


def latency_ms(opened: Iterable[Opened], camera: str) -> list[float]:
    """All latencies of a run, sorted. See ``Latencies``."""
    latencies = Latencies(camera)
    for message in opened:
        latencies.add(message)
    return sorted(waited for _, waited in latencies.waited)


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The nearest-rank percentile of sorted values; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _changes(moments: Sequence[Pairing]) -> int:
    """How often a thing came to be stood for by another entity than before."""
    before: dict[str, str] = {}
    changes = 0
    for moment in moments:
        for entity_id, name, _ in moment.pairs:
            changes += before.get(name, entity_id) != entity_id
            before[name] = entity_id
    return changes
