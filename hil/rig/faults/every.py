"""Every fault that a campaign may name."""

from __future__ import annotations

from hil.rig.faults import links, machine, power, sensors, trust
from hil.rig.faults.table import gathered

FAULTS = gathered(power.TABLE, links.TABLE, sensors.TABLE, machine.TABLE, trust.TABLE)
