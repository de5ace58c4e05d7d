"""Builds what a mission asks for, starts it, and ends it in order. The only reader of config."""

from appliance.daemon.daemon import Daemon, Summary
from appliance.daemon.plan import path_plan

__all__ = ["Daemon", "Summary", "path_plan"]
