"""Entities keep their names when late plots have had everything read again.

Rules: an entity of the second reading takes the name of that of the first with which it shares most plots; each name
goes to one entity. What shares none keeps a name of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from appliance.fusion.dossier import Dossier
from appliance.fusion.state import State

_Plots = frozenset[tuple[str, str, int]]


def keep_names(before: State, after: State) -> None:
    """Give the entities of ``after`` the names that those of ``before`` were told by."""
    told = [dossier for dossier in _dossiers(before) if dossier.is_named]
    of_plot = {plot: k for k, dossier in enumerate(told) for plot in _plots(dossier)}
    new = list(_dossiers(after))
    pairs = sorted(
        (-shared, told[k].entity_id, i, k)
        for i, dossier in enumerate(new)
        for k, shared in Counter(of_plot[plot] for plot in _plots(dossier) if plot in of_plot).items()
    )
    named: dict[int, str] = {}
    given: set[int] = set()
    for _, name, i, k in pairs:
        if i not in named and k not in given:
            named[i] = name
            given.add(k)
    taken = set(named.values())
    for i, dossier in enumerate(new):
        if i in named:
            dossier.rename(named[i])
        else:
            while dossier.is_named and dossier.entity_id in taken:
                dossier.rename("")
                dossier.sequence = after.next_sequence()


def _dossiers(state: State) -> Iterable[Dossier]:
    yield from state.dossiers.values()
    yield from (dossier for _, _, dossier, _, _ in state.deleted)


def _plots(dossier: Dossier) -> _Plots:
    rings = dossier.plots.values()
    foreign = ((unit, entity_id, 0) for unit, entity_id in dossier.estimates)
    return frozenset(foreign) | frozenset(
        (plot.sensor_id, plot.observation_id, plot.observed_ns) for ring in rings for plot, *_ in ring
    )
