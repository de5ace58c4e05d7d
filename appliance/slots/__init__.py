"""Removable media, trust state and A/B slots: the rim that acts on what ``bundles`` decides.

``Slots(state_dir)`` is the door: install, activate, roll back, list, and the model that is in service.
"""

from appliance.slots.store import Slots
from appliance.slots.views import ActiveModel, Installed, SlotView

__all__ = ["ActiveModel", "Installed", "SlotView", "Slots"]
