"""What a thing is: a distribution over the one category tree, fused from looks that are not independent.

An atom is one node of the tree; a parent's atom means "this, of a kind not told". What a model says of a parent
speaks for its children as well, so ``vehicle`` then ``vehicle/truck`` agree rather than compete. ``unknown`` speaks
for nothing.

Rules: distributions are over `CATEGORIES` in its order and sum to one. A look counts with a weight below one
(logarithmic pooling: Genest & Zidek 1986), because looks of one model at one thing share their faults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from appliance.domain import CATEGORIES, UNKNOWN, is_a

Weights = npt.NDArray[np.float64]

INDEX: Final = {name: i for i, name in enumerate(CATEGORIES)}
_FLOOR: Final = 0.02
"""No look rules anything out: models are wrong with confidence."""
_CAP: Final = 12.0
"""Log-ratio beyond which more of the same adds nothing, so that a change of mind stays possible."""


_FIRST_UNKNOWN: Final = 0.5
_OWN_SHARE: Final = 0.3
"""Of a branch's weight, what its stem keeps for kinds that the tree does not name."""


def _prior() -> Weights:
    """Before any look: half unknown, the rest shared equally by the branches, each by its stem and its kinds."""
    roots = [name for name in CATEGORIES if "/" not in name and name != UNKNOWN]
    share = (1.0 - _FIRST_UNKNOWN) / len(roots)
    out = np.zeros(len(CATEGORIES))
    out[INDEX[UNKNOWN]] = _FIRST_UNKNOWN
    for root in roots:
        kinds = [name for name in CATEGORIES if name.startswith(root + "/")]
        out[INDEX[root]] = share * (_OWN_SHARE if kinds else 1.0)
        for kind in kinds:
            out[INDEX[kind]] = share * (1.0 - _OWN_SHARE) / len(kinds)
    return out


_PRIOR: Final = _prior()
_HOLDS: Final = np.array([[float(said != UNKNOWN and is_a(atom, said)) for atom in CATEGORIES] for said in CATEGORIES])
_ROOTS: Final = tuple(name for name in CATEGORIES if "/" not in name)
_KINDS: Final = {root: tuple(name for name in CATEGORIES if name.startswith(root + "/")) for root in _ROOTS}
_BRANCHES: Final = np.array([[float(is_a(atom, root)) for atom in CATEGORIES] for root in _ROOTS])
_UNDER: Final = {name: tuple(i for i, atom in enumerate(CATEGORIES) if is_a(atom, name)) for name in CATEGORIES}
"""Which atoms count for a name; looked up for every entity at every telling, so it is not worked out there."""
_MASS: Final = np.maximum(_HOLDS @ _PRIOR, 1e-12)


def log_evidence(said: Mapping[str, float]) -> Weights | None:
    """A look's distribution → log-likelihood of each atom; None where it says nothing usable.

    What was said is a posterior; divided by our prior it is a likelihood (Bayes the other way round), so that one look
    alone gives back what it said. What it left over, or called unknown, speaks for everything alike.
    """
    vector = np.zeros(len(CATEGORIES))
    for name, value in said.items():
        at = INDEX.get(name)
        if at is not None and math.isfinite(value) and value > 0.0:
            vector[at] += value
    total = float(vector.sum())
    if not 0.0 < total < math.inf:
        return None
    vector /= max(total, 1.0)
    left = max(1.0 - float(vector.sum() - vector[INDEX[UNKNOWN]]), _FLOOR)
    out: Weights = np.log(_HOLDS.T @ (vector / _MASS) + left)
    return out


def add(logs: Weights, evidence: Weights, weight: float) -> None:
    """Pool ``evidence`` into the running ``logs``, in place; the best atom stays at zero."""
    logs += weight * evidence
    logs -= logs.max()
    np.maximum(logs, -_CAP, out=logs)


def distribution(logs: Weights) -> Weights:
    """Logs → probabilities that sum to one."""
    weights = _PRIOR * np.exp(logs - logs.max())
    out: Weights = weights / weights.sum()
    return out


def best(weights: Weights) -> str:
    """The heaviest branch, and within it the kind that holds more than half of the branch."""
    values = weights.tolist()
    mass = {name: sum(values[i] for i in under) for name, under in _UNDER.items()}
    root = max(_ROOTS, key=lambda name: (mass[name], name))
    kinds = _KINDS[root]
    if kinds:
        kind = max(kinds, key=lambda name: (mass[name], name))
        if mass[kind] > 0.5 * mass[root]:
            return kind
    return root


def most_probably(logs: Weights, root: str) -> bool:
    """Whether ``root`` is the heaviest branch."""
    branches = _BRANCHES @ distribution(logs)
    return _ROOTS[int(branches.argmax())] == root


def as_mapping(weights: Weights) -> dict[str, float]:
    """By name, in the tree's order."""
    return dict(zip(CATEGORIES, weights.tolist(), strict=True))


def nothing_known() -> Weights:
    """Logs before any look."""
    return np.zeros(len(CATEGORIES))


def compatible(one: str, other: str) -> bool:
    """Whether one word can mean the other: the same branch of the tree, or nothing said."""
    return UNKNOWN in (one, other) or is_a(one, other) or is_a(other, one)
