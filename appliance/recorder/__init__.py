"""Recordings of what came in and what was told, in MCAP, so that a run can be made again."""

from appliance.recorder.recording import Arrival, Recorder, Recording, open_recording

__all__ = ["Arrival", "Recorder", "Recording", "open_recording"]
