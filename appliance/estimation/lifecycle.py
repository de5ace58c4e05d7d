"""How states begin and which are to end. Compiled; the decision to end them is the caller's.

Rules: a state begins at one plot, at the plot's own time, with the plot's covariance; its velocity is what the plot
says, or zero with a stated doubt.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from appliance.estimation.bank import Bank, Index, Look
from appliance.estimation.compiled import compiled
from appliance.estimation.gaussian import Array
from appliance.estimation.scan import fade, remember


@compiled
def begin(
    bank: Bank, slots: Index, look: Look, which: Index, weights: Array, speed_var: float, log_odds: float
) -> None:
    """Start a state at each plot of ``which``: its own position and velocity, or velocity zero ± the prior."""
    for k in range(slots.shape[0]):
        slot, j = slots[k], which[k]
        bank.mean[slot, :2] = look.z[j]
        bank.mean[slot, 2:] = 0.0
        bank.cov[slot] = 0.0
        bank.cov[slot, :2, :2] = look.r[j]
        bank.cov[slot, 2, 2] = bank.cov[slot, 3, 3] = speed_var
        if look.velocity_var[j] > 0.0:
            bank.mean[slot, 2:] = look.velocity[j]
            bank.cov[slot, 2, 2] = bank.cov[slot, 3, 3] = look.velocity_var[j]
        for m in range(weights.shape[0]):
            bank.x[slot, m], bank.p[slot, m], bank.w[slot, m] = bank.mean[slot], bank.cov[slot], weights[m]
        bank.time_s[slot] = bank.odds_s[slot] = look.time_s[j]
        bank.log_odds[slot], bank.past_next[slot] = log_odds, 0
        bank.held_s[slot] = bank.kept_s[slot] = -1e18
        bank.mobile[slot] = look.mobile[j]
        remember(bank, slot, 0.0)


@compiled
def doomed(live: Index, bank: Bank, confirmed: npt.NDArray[np.bool_], t: float, limits: Array) -> Index:
    """Slots to drop at ``t``: not believed, unseen for too long, or so vague that they say nothing.

    ``limits``: least log-odds, hold of tentative, hold of confirmed (s), greatest variance (m²), survival (s),
    log-odds to confirm. Marks the confirmed on the way.
    """
    out = np.empty(live.shape[0], np.int64)
    count = 0
    for slot in live:
        held = t < bank.held_s[slot]
        if bank.log_odds[slot] >= limits[5]:
            confirmed[slot] = True
        fade(bank, slot, t, limits[4])
        unseen = t - bank.time_s[slot]
        hold = limits[2] if confirmed[slot] else limits[1]
        vague = max(bank.cov[slot, 0, 0], bank.cov[slot, 1, 1]) > limits[3]
        silent = (unseen > hold or vague) and t >= bank.kept_s[slot]
        if (bank.log_odds[slot] < limits[0] or silent) and not held:
            out[count] = slot
            count += 1
    return out[:count]


@compiled
def without(live: Index, gone: Index) -> Index:
    """``live`` less ``gone``, which stands in it in the same order."""
    out = np.empty(live.shape[0] - gone.shape[0], np.int64)
    count, at = 0, 0
    for slot in live:
        if at < gone.shape[0] and gone[at] == slot:
            at += 1
        else:
            out[count] = slot
            count += 1
    return out
