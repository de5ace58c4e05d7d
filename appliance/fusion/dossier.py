"""What is kept beside one state: its name, what it rests on, what it is thought to be. By slot; dies with it.

Not here: numbers of motion (``core.py``), which slot an identity belongs to (``identity.py``).

Rules: everything is bounded: the newest few plots of each source, so many claims, so many identities. Whatever changes
a dossier's content takes back its ``words``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.domain import Claim, Estimate, Evidence, Identity, Plot
from appliance.fusion.categories import Weights, add, log_evidence, nothing_known
from appliance.fusion.ids import entity_id

MAX_SOURCES = 32
MAX_TRACKLETS = 4
MAX_NAMES = 4
MAX_QUOTE = 160
MAX_ESTIMATES = 8
MAX_PROVENANCE = 256
MAX_ALTITUDE_M = 100_000.0

Noted = tuple[Plot, float, str]
"""A plot, its log-likelihood ratio, and the runner-up's entity id or an empty string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What every telling says of an entity beside its numbers, while its dossier stays as it is."""

    category: str
    categories: Mapping[str, float]
    identities: tuple[Identity, ...]
    evidence: tuple[Evidence, ...]
    provenance: tuple[str, ...]


@dataclass(slots=True)
class Dossier:
    """The record of one entity. ``sequence`` counts all that were ever begun, so that its name can be made again."""

    unit: str
    sequence: int
    first_observation: str
    first_ns: int
    evidence_per_source: int
    claims_kept: int
    updated_ns: int = 0
    reported_ns: int = 0
    """Newest plot in which the thing itself said where it is; 0 for never."""
    observed_ns: int = 0
    """Newest plot of a sensor that saw it."""
    observed_count: int = 0
    interval_s: float = 0.0
    """Running mean between two of its own reports."""
    mobile: dict[str, Identity] = field(default_factory=dict)
    names: dict[Identity, None] = field(default_factory=dict)
    tracklets: dict[Identity, None] = field(default_factory=dict)
    plots: dict[str, deque[Noted]] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    """How many observations of each source were ever taken."""
    claims: dict[tuple[str, int], tuple[Claim, float]] = field(default_factory=dict)
    estimates: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    """Newest of each foreign entity, by unit and entity id."""
    claim_odds: float = 0.0
    denied_odds: float = 0.0
    """What people's denials took from its log-odds, a positive number."""
    sensed: Weights | None = None
    """What sensors say of its kind, as running logs."""
    sensed_sources: set[str] = field(default_factory=set)
    told: Weights | None = None
    """What people say of its kind."""
    altitude_m: float | None = None
    words: Words | None = None
    """As `telling` wrote them; None since something was taken."""
    _name: str = ""

    @property
    def entity_id(self) -> str:
        """The ULID, made when it is first asked for: most states that clutter begins never are."""
        if not self._name:
            self._name = entity_id(self.unit, self.sequence, self.first_observation, self.first_ns)
        return self._name

    @property
    def is_named(self) -> bool:
        """Whether its id was ever asked for."""
        return bool(self._name)

    def rename(self, name: str) -> None:
        """Be told by this id; an empty one is made anew when it is asked for."""
        self._name = name

    def note(self, plot: Plot, llr: float, runner_up: str, category_weight: float) -> None:
        """Take a plot as evidence, and what it says of kind, height and reporting interval."""
        self.words = None
        source, observed_ns = plot.sensor_id, plot.observed_ns
        ring = self.plots.get(source)
        if ring is None:
            ring = self._ring(source)
        ring.append((plot, llr, runner_up))
        self.noted[source] += 1
        self.updated_ns = max(self.updated_ns, observed_ns)
        if plot.altitude_m is not None and abs(plot.altitude_m) <= MAX_ALTITUDE_M:  # false for NaN too
            self.altitude_m = plot.altitude_m
        if plot.cooperative:
            self._note_report(observed_ns)
        else:
            self.observed_count += 1
            self.observed_ns = max(self.observed_ns, observed_ns)
        if plot.categories:
            self._note_category(plot, category_weight)

    def _ring(self, source: str) -> deque[Noted]:
        """Room for a new source's newest plots; the source that was first goes where there are too many."""
        if len(self.plots) >= MAX_SOURCES:
            oldest = next(iter(self.plots))
            del self.plots[oldest], self.noted[oldest]
        ring = self.plots[source] = deque(maxlen=self.evidence_per_source)
        self.noted.setdefault(source, 0)
        return ring

    def _note_report(self, observed_ns: int) -> None:
        if self.reported_ns and observed_ns > self.reported_ns:
            gap_s = (observed_ns - self.reported_ns) * 1e-9
            self.interval_s = gap_s if self.interval_s == 0.0 else 0.7 * self.interval_s + 0.3 * gap_s
        self.reported_ns = max(self.reported_ns, observed_ns)

    def _note_category(self, plot: Plot, weight: float) -> None:
        evidence = log_evidence(plot.categories)
        if evidence is None:
            return
        first = plot.sensor_id not in self.sensed_sources
        if first and len(self.sensed_sources) < MAX_SOURCES:
            self.sensed_sources.add(plot.sensor_id)
        if self.sensed is None:
            self.sensed = nothing_known()
        add(self.sensed, evidence, 1.0 if first else weight)

    def take_estimate(self, estimate: Estimate) -> bool:
        """Take another unit's estimate as evidence; whether it is the first of that entity."""
        self.words = None
        first = self.estimates.pop((estimate.unit, estimate.entity_id), None) is None
        self.estimates[estimate.unit, estimate.entity_id] = estimate
        if len(self.estimates) > MAX_ESTIMATES:
            del self.estimates[next(iter(self.estimates))]
        self.noted[estimate.sensor_id] = self.noted.get(estimate.sensor_id, 0) + 1
        self.updated_ns = max(self.updated_ns, estimate.observed_ns)
        return first

    def weigh(self, source_id: str, evidence: Weights) -> None:
        """Take what a source that is no sensor of ours says of its kind, once."""
        self.words = None
        if self.sensed is None:
            self.sensed = nothing_known()
        add(self.sensed, evidence, 1.0)
        self.sensed_sources.add(source_id)

    def provenance(self) -> tuple[str, ...]:
        """Every source as ``unit/source``; empty where no other unit's estimate is among them."""
        if not self.estimates:
            return ()
        foreign = {source for estimate in self.estimates.values() for source in estimate.provenance}
        ours = {*self.plots, *(claim.sensor_id for claim, _ in self.claims.values())}
        return tuple(sorted(foreign | {f"{self.unit}/{source}" for source in ours})[:MAX_PROVENANCE])

    def carry(self, identity: Identity) -> None:
        """This MMSI or ICAO address is its own from here on."""
        self.words = None
        self.mobile[identity.kind] = identity

    def lose(self, identity: Identity) -> None:
        """Another carries this now: a tracklet, or what it had of that kind."""
        self.words = None
        self.tracklets.pop(identity, None)
        self.mobile.pop(identity.kind, None)

    def add_tracklet(self, identity: Identity) -> Identity | None:
        """Take a sensor's running number; returns the one that had to go for it, if any."""
        self.words = None
        self.tracklets.pop(identity, None)
        self.tracklets[identity] = None
        if len(self.tracklets) > MAX_TRACKLETS:
            oldest = next(iter(self.tracklets))
            del self.tracklets[oldest]
            return oldest
        return None

    def add_name(self, identity: Identity) -> None:
        """Take a name that the thing gives itself; the newest few are kept."""
        self.words = None
        self.names.pop(identity, None)
        self.names[identity] = None
        if len(self.names) > MAX_NAMES:
            del self.names[next(iter(self.names))]

    def join(self, claim: Claim, llr: float) -> bool:
        """Take a claim as evidence; False where this claim is known already or there is no room."""
        self.words = None
        key = (claim.report_id, claim.index)
        if key in self.claims:
            return False
        if len(self.claims) >= self.claims_kept:
            del self.claims[next(iter(self.claims))]
        self.claims[key] = (claim, llr)
        return True

    def identities(self) -> tuple[Identity, ...]:
        """Everything that it is called, in a fixed order."""
        return tuple(sorted((*self.mobile.values(), *self.names, *self.tracklets)))

    def evidence(self) -> tuple[Evidence, ...]:
        """Newest plots of each source and the claims, oldest first."""
        noted = [evidence_of_plot(*entry) for ring in self.plots.values() for entry in ring]
        told = [evidence_of_claim(claim, llr) for claim, llr in self.claims.values()]
        foreign = [evidence_of_estimate(estimate) for estimate in self.estimates.values()]
        return tuple(sorted((*noted, *told, *foreign), key=lambda e: (e.observed_ns, e.source_id, e.observation_id)))


def evidence_of_plot(plot: Plot, llr: float, runner_up: str) -> Evidence:
    """A plot's evidence, in words."""
    how = "says it is here" if plot.cooperative else f"saw it ({plot.kind.replace('_', ' and ')})"
    names = ", ".join(f"{identity.kind} {identity.value}" for identity in plot.identities)
    says = f"{plot.sensor_id} {how}{f' as {names}' if names else ''}"
    if runner_up:
        says += f"; next best {runner_up}"
    return Evidence(
        source_id=plot.sensor_id,
        observation_id=plot.observation_id,
        kind="detection" if any(identity.kind == "tracklet" for identity in plot.identities) else "plot",
        observed_ns=plot.observed_ns,
        log_likelihood_ratio=llr,
        says=says,
        runner_up=runner_up,
    )


def evidence_of_estimate(estimate: Estimate) -> Evidence:
    """Another unit's estimate and what it rests on. Its ratio is 0: existence rises to what that unit believes."""
    return Evidence(
        source_id=estimate.sensor_id,
        observation_id=f"{estimate.unit}/{estimate.entity_id}",
        kind="estimate",
        observed_ns=estimate.observed_ns,
        log_likelihood_ratio=0.0,
        says=f"{estimate.unit} believes it is here, by {', '.join(estimate.provenance[:8])}",
    )


def evidence_of_claim(claim: Claim, llr: float) -> Evidence:
    """A claim's evidence: the words that it stands in, quoted as data."""
    quote = claim.text if len(claim.text) <= MAX_QUOTE else claim.text[: MAX_QUOTE - 1] + "…"
    return Evidence(
        source_id=claim.sensor_id,
        observation_id=f"{claim.report_id}#{claim.index}",
        kind="claim",
        observed_ns=claim.observed_ns,
        log_likelihood_ratio=llr,
        says=f"a person reports that there was none: “{quote}”" if claim.negated else f"a person reports: “{quote}”",
    )
