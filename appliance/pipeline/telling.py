"""Decides what is told, and when: entities as they change, the picture at its interval, disputes at once.

What this is: the memory of what recipients were last told. What it is not: it makes no entities, and what counts as
a change stands in ``significance``. Time is an argument, so a replay tells the same things at the same moments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.domain import Dispute, Entity, Picture, Receipt
from appliance.pipeline.results import Result, alert_result, entity_result, picture_result
from appliance.pipeline.significance import Significance, Told, is_news

#: A tentative entity may still be clutter; recipients are told once it is believed.
TOLD = frozenset({"confirmed", "coasting", "reported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TellingSettings:
    """Intervals in nanoseconds, and what counts as a change."""

    picture_interval_ns: int
    entity_interval_ns: int
    change: Significance = field(default_factory=Significance)


class Teller:
    """What was told to recipients, and what is due."""

    def __init__(self, unit: str, settings: TellingSettings) -> None:
        self._unit = unit
        self._settings = settings
        self._told: dict[str, Told] = {}
        self._disputes: set[tuple[str, int]] = set()
        self._entities_ns: int | None = None
        self._picture_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Whether anything may be told now; asking is cheap."""
        return _is_over(self._entities_ns, self._settings.entity_interval_ns, now_ns)

    def tell(
        self,
        entities: Sequence[Entity],
        disputes: Sequence[Dispute],
        *,
        now_ns: int,
        receipt: Receipt,
        last: bool = False,
    ) -> tuple[Result, ...]:
        """The results that are due: alerts first, then changed entities, then the picture."""
        self._entities_ns = now_ns
        believed = tuple(entity for entity in entities if entity.status in TOLD)
        results = [alert_result(d, unit=self._unit, produced_ns=now_ns) for d in self._fresh(disputes)]
        results += [
            entity_result(entity, unit=self._unit, produced_ns=now_ns, receipt=receipt)
            for entity in (*self._changed(believed, disputes, now_ns), *self._gone(believed))
        ]
        if last or _is_over(self._picture_ns, self._settings.picture_interval_ns, now_ns):
            self._picture_ns = now_ns
            results.append(
                picture_result(
                    Picture(
                        unit=self._unit,
                        produced_ns=now_ns,
                        entities=believed,
                        disputes=tuple(disputes),
                        receipt=receipt,
                    )
                )
            )
        return tuple(results)

    def _fresh(self, disputes: Sequence[Dispute]) -> list[Dispute]:
        fresh = [d for d in disputes if (d.entity_id, d.raised_ns) not in self._disputes]
        self._disputes = {(d.entity_id, d.raised_ns) for d in disputes}
        return fresh

    def _changed(self, believed: Sequence[Entity], disputes: Sequence[Dispute], now_ns: int) -> list[Entity]:
        in_dispute = {dispute.entity_id for dispute in disputes}
        changed = []
        for entity in believed:
            before, disputed = self._told.get(entity.entity_id), entity.entity_id in in_dispute
            if before is None or is_news(
                before, entity, now_ns=now_ns, disputed=disputed, limits=self._settings.change
            ):
                self._told[entity.entity_id] = Told(entity=entity, at_ns=now_ns, disputed=disputed)
                changed.append(entity)
        return changed

    def _gone(self, believed: Sequence[Entity]) -> list[Entity]:
        present = {entity.entity_id for entity in believed}
        gone = [self._told.pop(entity_id).entity for entity_id in sorted(self._told.keys() - present)]
        return [dataclasses.replace(entity, status="deleted", existence=0.0) for entity in gone]


def _is_over(since_ns: int | None, interval_ns: int, now_ns: int) -> bool:
    """A clock that was set back ends an interval, or nothing would be told until it has caught up."""
    return since_ns is None or not 0 <= now_ns - since_ns < interval_ns
