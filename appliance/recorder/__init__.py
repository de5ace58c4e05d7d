"""Recordings of what came in and what was told, in MCAP, so that a run can be made again."""

from appliance.recorder.recording import Arrival, NoRecording, Recorder, Recording, make_room, open_recording

__all__ = ["Arrival", "NoRecording", "Recorder", "Recording", "make_room", "open_recording"]
