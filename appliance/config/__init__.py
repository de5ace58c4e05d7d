"""Mission files: what may stand in one, and everything that is wrong with a wrong one."""

from appliance.config.load import LoadedMission, load_mission, parse_mission
from appliance.config.mission import Mission, mission_schema

__all__ = ["LoadedMission", "Mission", "load_mission", "mission_schema", "parse_mission"]
