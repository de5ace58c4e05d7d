"""How states begin and end. Compiled.

Rules: a state begins at one plot, at the plot's own time, with the plot's covariance; its velocity is what the plot
says, or zero with a stated doubt. It ends when it is not believed, unseen for too long, or too vague to say anything.
"""

from __future__ import annotations

from appliance.estimation.bank import NEVER, NONE, Bank, Index, Look, Moves, Rules
from appliance.estimation.compiled import compiled, leaf
from appliance.estimation.gating import fade, remember
from appliance.estimation.gaussian import put
from appliance.estimation.shared import begin_shared


@compiled
def choose(bank: Bank, slot: int, ways: int, rules: Rules) -> None:
    """Let a slot move by this set of ways from here on: each begins from what all together said."""
    bank.ways[slot] = ways
    for m in range(rules.weights.shape[1]):
        put(bank.mean[slot], bank.cov[slot], bank.x[slot, m], bank.p[slot, m])
        bank.w[slot, m] = rules.weights[ways, m]


@compiled
def place(bank: Bank, slot: int, look: Look, j: int, rules: Rules, log_odds: float, sensor: int = NONE) -> None:
    """Set a slot to ``sensor``'s plot ``j``: its own position and velocity, or velocity zero ± the prior."""
    moves = look.velocity_var[j] > 0.0
    bank.cov[slot] = 0.0
    for a in range(2):
        bank.mean[slot, a] = look.z[j, a]
        bank.mean[slot, 2 + a] = look.velocity[j, a] if moves else 0.0
        bank.cov[slot, a, 0], bank.cov[slot, a, 1] = look.r[j, a, 0], look.r[j, a, 1]
        bank.cov[slot, 2 + a, 2 + a] = look.velocity_var[j] if moves else rules.speed_var
        bank.mobile[slot, a] = look.mobile[j, a]
    choose(bank, slot, bank.ways[slot], rules)
    bank.time_s[slot] = bank.odds_s[slot] = look.time_s[j]
    bank.log_odds[slot], bank.past_next[slot] = log_odds, 0
    bank.held_s[slot] = bank.kept_s[slot] = NEVER
    bank.numbered[slot] = NONE
    begin_shared(bank, slot, look, j, sensor)
    remember(bank, slot, 0.0)


@compiled
def begin(bank: Bank, look: Look, j: int, rules: Rules, log_odds: float, sensor: int = NONE) -> int:
    """A new state at ``sensor``'s plot ``j``; its slot, or NONE where the room is spent."""
    count, spare = bank.counts[0], bank.counts[1]
    if count >= rules.room or spare == 0:
        return NONE
    slot = bank.free[spare - 1]
    bank.live[count] = slot
    bank.counts[0], bank.counts[1] = count + 1, spare - 1
    bank.confirmed[slot] = log_odds >= rules.confirm
    bank.looked[:, slot] = NEVER
    bank.ways[slot] = 0
    place(bank, slot, look, j, rules, log_odds, sensor)
    return int(slot)


@leaf
def end(bank: Bank, moves: Moves, rules: Rules, t: float, gone: Index) -> int:
    """Fade all to ``t``, mark the believed, drop those that are not to be kept into ``gone``, oldest first; how many.

    What a dropped slot held stands in the arrays until a state begins there.
    """
    count, kept = 0, 0
    for k in range(bank.counts[0]):
        slot = bank.live[k]
        if bank.log_odds[slot] >= rules.confirm:
            bank.confirmed[slot] = True
        fade(bank, slot, t, moves.survival_s)
        unseen = t - bank.time_s[slot]
        hold = rules.confirmed_s if bank.confirmed[slot] else rules.tentative_s
        vague = max(bank.cov[slot, 0, 0], bank.cov[slot, 1, 1]) > rules.max_var
        silent = (unseen > hold or vague) and t >= bank.kept_s[slot]
        if (bank.log_odds[slot] < rules.delete or silent) and t >= bank.held_s[slot]:
            gone[count] = slot
            bank.free[bank.counts[1] + count] = slot
            bank.mobile[slot] = NONE
            count += 1
        else:
            bank.live[kept] = slot
            kept += 1
    bank.counts[0], bank.counts[1] = kept, bank.counts[1] + count
    return count
