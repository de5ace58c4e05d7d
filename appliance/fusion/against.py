"""What speaks against an entity: looks that missed it, sources that call it something else, disputes, denials.

Not here: what speaks for it, which is its evidence. Nothing here changes what is believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from appliance.domain import UNKNOWN, Dispute, Objection
from appliance.fusion import categories
from appliance.fusion.dossier import Dossier
from appliance.fusion.state import State
from appliance.fusion.telling import category_weights
from appliance.fusion.watch import Missed, Watch


def objections(
    state: State, dossier: Dossier, slot: int | None, watch: Watch | None, disputes: Sequence[Dispute]
) -> tuple[Objection, ...]:
    """Everything that is held against one entity, in a fixed order. ``slot`` None: it rests on claims alone."""
    missed = watch.missed(slot) if watch is not None and slot is not None else {}
    return (
        *(_missed(state, source, looks) for source, looks in sorted(missed.items())),
        *_other_kinds(dossier),
        *(_disputed(dispute) for dispute in disputes if dispute.entity_id == dossier.entity_id),
        *_denied(dossier),
    )


def _missed(state: State, source: str, missed: Missed) -> Objection:
    times = "once" if missed.looks == 1 else f"{missed.looks} times"
    return Objection(
        kind="missed",
        source_id=source,
        count=missed.looks,
        observed_ns=state.nanoseconds(missed.newest_s),
        log_likelihood_ratio=missed.log_odds,
        says=f"{source} looked at its place and did not see it, {times}",
    )


def _other_kinds(dossier: Dossier) -> Iterator[Objection]:
    """Sources whose own word for it lies on another branch of the tree."""
    named = categories.best(category_weights(dossier))
    for source, ring in sorted(dossier.plots.items()):
        logs, count, newest_ns = categories.nothing_known(), 0, 0
        for plot, _, _ in ring:
            evidence = categories.log_evidence(plot.categories)
            if evidence is not None:
                categories.add(logs, evidence, 1.0)
                count, newest_ns = count + 1, max(newest_ns, plot.observed_ns)
        word = categories.best(categories.distribution(logs)) if count else UNKNOWN
        if not categories.compatible(word, named):
            yield _called(source, word, named, count, newest_ns)
    for claim, _ in dossier.claims.values():
        if not claim.negated and not categories.compatible(claim.category, named):
            yield _called(claim.sensor_id, claim.category, named, 1, claim.observed_ns)


def _called(source: str, word: str, named: str, count: int, newest_ns: int) -> Objection:
    return Objection(
        kind="category",
        source_id=source,
        count=count,
        observed_ns=newest_ns,
        log_likelihood_ratio=0.0,
        says=f"{source} takes it for {word}, not {named}",
    )


def _disputed(dispute: Dispute) -> Objection:
    return Objection(
        kind="dispute",
        source_id=", ".join(dispute.sources),
        count=1,
        observed_ns=dispute.raised_ns,
        log_likelihood_ratio=0.0,
        says=f"in dispute: {dispute.claimed}; {dispute.observed}",
    )


def _denied(dossier: Dossier) -> Iterator[Objection]:
    for claim, llr in dossier.claims.values():
        if claim.negated:
            yield Objection(
                kind="denial",
                source_id=claim.sensor_id,
                count=1,
                observed_ns=claim.observed_ns,
                log_likelihood_ratio=min(llr, 0.0) if math.isfinite(llr) else 0.0,
                says=f"a person reports that there was none: “{claim.text}”",
            )
